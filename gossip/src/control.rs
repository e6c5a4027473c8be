//! The messages of the streams: tables in pieces, records, long questions, soft states.
//!
//! These are few and not counted byte by byte, so they are written by serde and postcard. A message
//! is at most [`READ_LEN_MAX`] long, which bounds what reading it can allocate; those that can be
//! made in pieces are at most [`MESSAGE_LEN_MAX`]. The variants are
//! numbered by position on the wire: new ones go last.

use bytes::Bytes;
use live_objects::soft::{Difference, Store, Summary};
use live_objects::{NodeId, ObjectId};
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::question::{Answer, Question};
use crate::records::{Collection, Hashes, Inventory, Record};

/// The longest message: a piece of a table that is written, sent and read in one go.
pub(crate) const MESSAGE_LEN_MAX: usize = 64 << 10;

/// The longest message that is read: what is lacking of a soft state is told in one, whatever it
/// is, since pieces of it say something else than the whole. Its context may be in that twice, and
/// its dots once.
pub(crate) const READ_LEN_MAX: usize = 2 * Store::MERGED_BYTES_MAX;

/// By how many hashes a peer is told what is known, in one message.
pub(crate) const HASHES_MAX: usize = 12_000;

/// What goes over a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// Here I am, and this is what I know of these nodes; send me what I lack, and ask for what you
    /// lack.
    Pull { entry: Entry, known: Known },
    /// A piece of the table, and whether it is the last.
    Table { entries: Vec<Entry>, last: bool },
    /// A piece of what I have of the records; send me what I lack there, and ask for what you lack.
    Inventory(Collection, Inventory),
    /// Send me the records that have these hashes.
    Want(Collection, Hashes),
    /// Records that you lack.
    Records { records: Vec<Record> },
    /// What I have of the records, summed up; send me pieces of what you have where that differs.
    Sums(Collection, Hashes),
    /// Send me the entries that have these hashes.
    Fetch(Vec<u32>),
    /// I gave much already; pull from one of these.
    Busy { entries: Vec<Entry> },
    /// A question whose answer is longer than a datagram.
    Ask { number: u32, question: Question },
    /// A piece of its answer, and whether it is the last.
    Answer { number: u32, answer: Answer, records: Vec<Record>, last: bool },
    /// What I have of a soft state, of the type of this hash, summed up; tell me what I lack.
    Compare { object: ObjectId, ty: u64, summary: Summary },
    /// What you lack of it; and, if you asked, what I have, so that you tell me what I lack.
    Differ { object: ObjectId, ty: u64, difference: Difference, own: Option<Summary> },
    /// I keep all whose ids begin with so many bits as mine, and a few others: if you are none of
    /// the former pull from one of these.
    View { depth: u8, entries: Vec<Entry> },
    /// Of these members, by their hashes, I have no tombstone any more; the oldest first.
    Buried { hashes: Vec<u32> },
}

/// The hashes of all entries of the nodes behind one, up to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) behind: Option<NodeId>,
    pub(crate) up_to: NodeId,
    pub(crate) hashes: Vec<u32>,
}

impl Control {
    /// A piece of a table: as many entries as are sure to fit into `len_max` bytes, but at least
    /// one of those there are.
    pub(crate) fn table(entries: impl Iterator<Item = Entry>, len_max: usize) -> Self {
        let mut entries = entries.peekable();
        let mut piece = Vec::new();
        let mut len = TABLE_LEN_MAX;
        while let Some(entry) = entries.peek() {
            len += entry_len_max(entry);
            if len > len_max && !piece.is_empty() {
                break;
            }
            piece.extend(entries.next());
        }
        Self::Table { entries: piece, last: entries.peek().is_none() }
    }

    /// Records, in as many messages as they take.
    pub(crate) fn records(records: Vec<Record>) -> Vec<Self> {
        Self::pieces(records).into_iter().map(|records| Self::Records { records }).collect()
    }

    /// An answer, in as many messages as it takes, but at least one.
    pub(crate) fn answer(number: u32, answer: Answer, records: Vec<Record>) -> Vec<Self> {
        let mut pieces = Self::pieces(records);
        let rest = pieces.pop().unwrap_or_default();
        let message = |records, last| Self::Answer { number, answer, records, last };
        let messages = pieces.into_iter().map(|records| message(records, false));
        messages.chain([message(rest, true)]).collect()
    }

    fn pieces(records: Vec<Record>) -> Vec<Vec<Record>> {
        let mut messages: Vec<Vec<Record>> = Vec::new();
        let mut room = 0;
        for record in records {
            let len = RECORD_LEN_MAX + record.len();
            if len > room {
                messages.push(Vec::new());
                room = MESSAGE_LEN_MAX - RECORDS_LEN_MAX;
            }
            room -= len;
            messages.last_mut().expect("just seen to").push(record);
        }
        messages
    }

    /// Writes it.
    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("memory takes every message").into()
    }

    /// Reads one.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        if bytes.len() > READ_LEN_MAX {
            return Err(postcard::Error::SerializeBufferFull);
        }
        postcard::from_bytes(bytes)
    }
}

/// The most bytes that an entry takes: node, incarnation, a generation of 63 bits, standing, count,
/// and for each address its family, itself, and a port; a credential and its length; an accuser.
fn entry_len_max(entry: &Entry) -> usize {
    let address_len = |v4: bool| if v4 { 1 + 4 + 3 } else { 1 + 16 + 3 };
    let addresses = entry.addresses.iter().map(|address| address_len(address.is_ipv4()));
    let shown = 2 + entry.credential.bytes().len();
    16 + 16 + 9 + 1 + 1 + addresses.sum::<usize>() + shown + 1 + 5
}

/// What a table takes beside its entries: variant, count, last.
const TABLE_LEN_MAX: usize = 1 + 3 + 1;

/// What a message of records, or a piece of an answer, takes beside them: variant, count; number,
/// verdict, depth, last.
const RECORDS_LEN_MAX: usize = 1 + 3 + 5 + 1 + 1 + 1;

/// The most bytes that a record takes beside key and value: object, publisher, a version of 63
/// bits, both lengths, and whether there is a value.
const RECORD_LEN_MAX: usize = 16 + 16 + 16 + 9 + 2 + 2 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::{entries, entry};
    use crate::members::GRAVES_MAX;
    use crate::question::Verdict;
    use crate::records::Version;
    use crate::records::tests::{record, records};
    use crate::wire::questions::tests::questions;
    use live_objects::CREDENTIAL_BYTES_MAX;
    use live_objects::soft::{Author, Context, Holder, Set};
    use proptest::prelude::*;

    fn known(hashes: usize) -> Known {
        let up_to = NodeId::from_bytes([0xff; NodeId::LEN]);
        Known { behind: None, up_to, hashes: vec![7; hashes] }
    }

    /// As many hashes as are asked by in one go fit a message, however they are written.
    #[test]
    fn the_longest_pull_fits() {
        let mut long = known(HASHES_MAX);
        (long.behind, long.hashes) = (Some(long.up_to), vec![u32::MAX; HASHES_MAX]);
        let longest = entry_len_max(&entry(1, 300)) + 3 * 20 + CREDENTIAL_BYTES_MAX;
        let pull = Control::Pull { entry: entry(1, 300), known: long };
        assert!(pull.encode().len() + longest <= MESSAGE_LEN_MAX);
    }

    #[test]
    fn the_hashes_of_all_who_are_buried_fit() {
        let buried = Control::Buried { hashes: vec![u32::MAX; GRAVES_MAX] };
        assert!(buried.encode().len() <= MESSAGE_LEN_MAX);
    }

    /// A state as large as any, whose context is as large as any and whose numbers are as long.
    fn worst_state() -> Store {
        let number = (1_u64 << 62) - 1;
        let context = |authors: u64| -> Vec<(Author, Vec<(u64, u64)>)> {
            (0..authors).map(|author| (Author::new(author << 32), vec![(number, number)])).collect()
        };
        let one: Context =
            postcard::from_bytes(&postcard::to_allocvec(&context(1)).unwrap()).unwrap();
        let authors = Store::BYTES_MAX / one.size();
        let len = Store::BYTES_MAX / authors;
        // Beside key and value a dot counts for 20 bytes.
        let entry = |author: u32| {
            let key = Bytes::copy_from_slice(&author.to_be_bytes());
            (key, vec![(author, number, Bytes::from(vec![7; len - 24]))])
        };
        let entries: Vec<_> = (0..authors as u32).map(entry).collect();
        let flat = (context(authors as u64), entries);
        Store::decode(&postcard::to_allocvec(&flat).unwrap()).unwrap()
    }

    /// What another is told of the worst state, be it that it lacks all, or that it has seen all
    /// and has other dots of it.
    #[test]
    fn the_longest_difference_is_read() {
        let store = worst_state();
        let sizes = (store.context().size(), store.size());
        let near = |bytes: usize, max: usize| (max - max / 50..=max).contains(&bytes);
        assert!(near(sizes.0, Store::BYTES_MAX) && near(sizes.1, Store::MERGED_BYTES_MAX));
        let sums = vec![u64::MAX; Summary::BUCKETS_MAX];
        for context in [Store::default().context(), store.context()] {
            let asks = postcard::to_allocvec(&(context, &sums)).unwrap();
            let asks: Summary = postcard::from_bytes(&asks).unwrap();
            let (object, ty) = (ObjectId::from_bytes([0xff; 16]), u64::MAX);
            let (difference, own) = (asks.answer(&store), Some(Summary::of(&store)));
            let message = Control::Differ { object, ty, difference, own };
            let bytes = message.encode();
            assert!(bytes.len() > 2 * Store::BYTES_MAX, "{} bytes", bytes.len());
            assert_eq!(Control::decode(&bytes), Ok(message), "{} bytes", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(entries in prop::collection::vec(entries(), 1..9), last: bool) {
            for message in [
                Control::Pull { entry: entries[0].clone(), known: known(3) },
                Control::Fetch(known(3).hashes),
                Control::Buried { hashes: known(3).hashes },
                Control::Busy { entries: entries.clone() },
                Control::View { depth: 8, entries: entries.clone() },
                Control::Table { entries, last },
            ] {
                prop_assert_eq!(Control::decode(&message.encode()), Ok(message));
            }
        }

        #[test]
        fn a_piece_fits_and_pieces_join(
            given in prop::collection::vec(entries(), 0..40),
            len_max in 300..2_000_usize,
        ) {
            let mut got = Vec::new();
            loop {
                let piece = Control::table(given[got.len()..].iter().cloned(), len_max);
                prop_assert!(piece.encode().len() <= len_max);
                let Control::Table { entries, last } = piece else { unreachable!() };
                got.extend(entries);
                if last {
                    break;
                }
            }
            prop_assert_eq!(got, given);
        }

        #[test]
        fn records_are_read_as_written(records in prop::collection::vec(records(), 0..9)) {
            let hashes = Hashes(records.iter().map(Record::hash).collect());
            let inventory = Inventory { from: 0, to: u64::MAX, hashes: hashes.clone() };
            let answer = Answer { verdict: Verdict::Whole, depth: 4 };
            for message in [
                Control::Inventory(Collection::Claims, inventory),
                Control::Want(Collection::Entries, hashes.clone()),
                Control::Sums(Collection::Entries, hashes),
                Control::Records { records: records.clone() },
                Control::Answer { number: 7, answer, records, last: false },
            ] {
                prop_assert_eq!(Control::decode(&message.encode()), Ok(message));
            }
        }

        #[test]
        fn records_damaged_never_panic(
            records in prop::collection::vec(records(), 1..9),
            at: prop::sample::Index,
            bits in 1..=255_u8,
        ) {
            let mut bytes = Control::Records { records }.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            let _ = Control::decode(&bytes);
            let _ = Control::decode(&bytes[..at]);
        }

        #[test]
        fn questions_are_read_as_written(question in questions(), number: u32) {
            let asked = Control::Ask { number, question };
            prop_assert_eq!(Control::decode(&asked.encode()), Ok(asked));
        }

        #[test]
        fn what_is_said_of_a_soft_state_is_read_as_written(
            items in prop::collection::vec(any::<u32>(), 1..20),
            ty: u64,
            at: prop::sample::Index,
            bits in 1..=255_u8,
        ) {
            let mut holder = Holder::<Set<u32>>::new(Author::new(7));
            let empty = Summary::of(holder.store());
            for item in &items {
                let ((), delta) = holder.write(|set, writer| set.insert(writer, item)).unwrap();
                holder.merge(&delta);
            }
            let object = ObjectId::from_bytes([3; 16]);
            let summary = Summary::of(holder.store());
            let difference = empty.answer(holder.store());
            let own = Some(summary.clone());
            for message in [
                Control::Compare { object, ty, summary },
                Control::Differ { object, ty, difference, own },
            ] {
                let mut bytes = message.encode().to_vec();
                prop_assert_eq!(Control::decode(&bytes), Ok(message));
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
                let _ = Control::decode(&bytes);
                let _ = Control::decode(&bytes[..at]);
            }
        }

        #[test]
        fn messages_of_records_fit_and_join(lens in prop::collection::vec(0..1_000_usize, 0..300)) {
            let long = |len: usize| Record {
                value: Some(vec![7; len].into()),
                ..record(1, b"", u64::from(Version::MAX))
            };
            let given: Vec<Record> = lens.into_iter().map(long).collect();
            let mut got = Vec::new();
            for message in Control::records(given.clone()) {
                prop_assert!(message.encode().len() <= MESSAGE_LEN_MAX);
                let Control::Records { records } = message else { unreachable!() };
                got.extend(records);
            }
            prop_assert_eq!(&got, &given);
            got.clear();
            let answer = Answer { verdict: Verdict::Whole, depth: 4 };
            let mut is_over = false;
            for message in Control::answer(u32::MAX, answer, given.clone()) {
                prop_assert!(!is_over && message.encode().len() <= MESSAGE_LEN_MAX);
                let Control::Answer { records, last, .. } = message else { unreachable!() };
                got.extend(records);
                is_over = last;
            }
            prop_assert!(is_over);
            prop_assert_eq!(got, given);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Control::decode(&bytes);
        }

        #[test]
        fn never_panics_on_damage(
            entries in prop::collection::vec(entries(), 1..9),
            at: prop::sample::Index,
            bits in 1..=255_u8,
        ) {
            let mut bytes = Control::Table { entries, last: true }.encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            let _ = Control::decode(&bytes);
            let _ = Control::decode(&bytes[..at]);
        }
    }

    #[test]
    fn golden_bytes() {
        let hex = |message: &Control| -> String {
            message.encode().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let (node, life) = ("10".repeat(16), "01".repeat(16));
        let written = format!("{node}{life}ac020001000a000001d8360000");
        let pull = Control::Pull { entry: entry(1, 300), known: known(2) };
        let all = "ff".repeat(16);
        assert_eq!(hex(&pull), format!("00{written}00{all}020707"));
        assert_eq!(hex(&Control::Fetch(vec![7])), "060107");
        assert_eq!(hex(&Control::Buried { hashes: vec![7] }), "0d0107");
        let busy = Control::Busy { entries: vec![entry(1, 300)] };
        assert_eq!(hex(&busy), format!("0701{written}"));
        let table = Control::Table { entries: vec![entry(1, 300)], last: true };
        assert_eq!(hex(&table), format!("0101{written}01"));
        let (object, ty) = (ObjectId::from_bytes([3; 16]), 7);
        let summary = Summary::of(&Store::default());
        let difference = summary.answer(&Store::default());
        let compare = Control::Compare { object, ty, summary };
        assert_eq!(hex(&compare), format!("0a{}07000100", "03".repeat(16)));
        let differ = Control::Differ { object, ty, difference, own: None };
        assert_eq!(hex(&differ), format!("0b{}07000001000000", "03".repeat(16)));
        let inventory = Inventory { from: 1, to: 300, hashes: Hashes(vec![7]) };
        let piece = Control::Inventory(Collection::Claims, inventory);
        assert_eq!(hex(&piece), "020001ac02010000000000000007");
        let hashes = || Hashes(vec![7]);
        let [want, sums] =
            [Control::Want, Control::Sums].map(|it| it(Collection::Entries, hashes()));
        assert_eq!(hex(&want), "0301010000000000000007");
        assert_eq!(hex(&sums), "0501010000000000000007");
        let asked = Control::Ask { number: 7, question: Question::Keep };
        assert_eq!(hex(&asked), "080701");
        let answer = Answer { verdict: Verdict::Not, depth: 4 };
        let answered = Control::Answer { number: 7, answer, records: Vec::new(), last: true };
        assert_eq!(hex(&answered), "09070204".to_owned() + "0001");
        let told = Control::Records { records: vec![record(1, b"k", 7)] };
        let golden = format!("0401{}{node}{life}07016b010576616c7565", "03".repeat(16));
        assert_eq!(hex(&told), golden);
    }

    #[test]
    fn what_is_too_long_or_absurd_is_refused() {
        assert!(Control::decode(&vec![0; READ_LEN_MAX + 1]).is_err());
        let endless = [1, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(Control::decode(&endless).is_err(), "four billion entries in no bytes");
        let mut absurd = Control::Pull { entry: entry(1, 1), known: known(0) }.encode().to_vec();
        absurd.splice(33..34, [[0xff; 9].as_slice(), &[1]].concat());
        assert!(Control::decode(&absurd).is_err(), "generation u64::MAX");
        let mut many = Control::Pull { entry: entry(1, 1), known: known(0) }.encode().to_vec();
        assert_eq!(many[35], 1);
        many[35] = 5;
        many.extend([0; 99]);
        assert!(Control::decode(&many).is_err(), "five addresses");
        let long = Control::Table { entries: vec![entry(1, 1)], last: true }.encode();
        let (head, tail) = long.split_at(long.len() - 3);
        assert_eq!(tail, [0, 0, 1], "no credential, no accuser, and nothing more");
        let shows = |len: u8| [head, &[len, 1], &vec![7; usize::from(len)], &[0, 1]].concat();
        assert!(Control::decode(&shows(0x80)).is_ok(), "a credential of 128 bytes");
        assert!(Control::decode(&shows(0x81)).is_err(), "a longer one");
    }
}
