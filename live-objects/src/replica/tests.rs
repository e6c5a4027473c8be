//! Replicas, fed by hand, and snapshots read in every way.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;
use sha2::Digest;

use super::*;
use crate::budget::Budget;
use crate::doorbell::{Doorbell, Ring};
use crate::name::Name;
use crate::node::{Incarnation, NodeId};
use crate::view::{ClusterId, Epoch, View};

/// A state of two collections: how many of each item there are, and all that was ever said.
#[derive(Clone, Default, PartialEq, Debug)]
struct Shop {
    stock: Map<u8, u32>,
    log: List<Vec<u8>>,
}

/// An item, and how long a line to log.
type Sale = (u8, u8);

impl State for Shop {
    type Update = Sale;
    type Reply = u32;

    fn apply(&mut self, _by: Member, (item, line): Sale) -> u32 {
        let count = self.stock.get(&item).map_or(0, |count| *count) + 1;
        if line == 0 {
            self.stock.remove(&item);
        } else {
            self.stock.insert(item, count);
        }
        self.log.push(vec![item; line.into()]);
        count
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        match record.split_first() {
            Some((0, record)) => self.stock.restore(record),
            Some((1, record)) => self.log.restore(record),
            _ => Err(RestoreError::Record),
        }
    }
}

impl Frozen for Shop {
    fn records(&self) -> Records {
        let tagged = |tag: u8| move |record: Bytes| Bytes::from([&[tag], &record[..]].concat());
        Box::new(self.stock.records().map(tagged(0)).chain(self.log.records().map(tagged(1))))
    }
}

fn me() -> Member {
    let node = NodeId::from_bytes([1; NodeId::LEN]);
    Member { node, incarnation: Incarnation::from_bytes([1; Incarnation::LEN]) }
}

fn shop(sales: &[Sale]) -> Shop {
    let mut shop = Shop::default();
    sales.iter().for_each(|sale| {
        shop.apply(me(), *sale);
    });
    shop
}

/// A replica, its port (which reads as its module would), and the bell of both.
struct Rig {
    replica: Replica<Shop>,
    port: Port,
    doorbell: Doorbell,
}

impl Rig {
    fn new() -> Self {
        let object = "/shop".parse::<Name>().unwrap().id();
        let doorbell = Doorbell::default();
        let port = Port::new(object, usize::MAX, Budget::new(usize::MAX), doorbell.clone());
        Self { replica: Replica::new(port.clone(), Shop::default), port, doorbell }
    }

    fn founded() -> Self {
        let mut rig = Self::new();
        assert_eq!(rig.hear(ReplicatedEvent::Founded), []);
        rig
    }

    fn hear(&mut self, event: ReplicatedEvent) -> Vec<(u64, u32)> {
        self.replica.on_event(&Event::Replicated(event))
    }

    fn update(&mut self, own: Option<u64>, sale: Sale) {
        let bytes = postcard::to_allocvec(&sale).unwrap().into();
        assert_eq!(self.hear(ReplicatedEvent::Update { from: me(), own, bytes }), []);
    }

    /// Gives the replica a stream, cut into pieces of these sizes over and over.
    fn restore(&mut self, stream: &[u8], sizes: &[usize]) {
        let mut sizes = sizes.iter().cycle();
        let mut offset = 0;
        while offset < stream.len() {
            let end = stream.len().min(offset + sizes.next().unwrap());
            self.piece(offset as u64, &stream[offset..end], end == stream.len());
            offset = end;
        }
    }

    fn piece(&mut self, offset: u64, bytes: &[u8], last: bool) {
        let bytes = Bytes::copy_from_slice(bytes);
        assert_eq!(self.hear(ReplicatedEvent::Restore { offset, bytes, last }), []);
    }

    fn view(&mut self, number: u64) {
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number };
        self.hear(ReplicatedEvent::View(View { epoch, members: vec![me()] }));
    }
}

fn snapshot(shop: &Shop) -> Snapshot {
    Snapshot::new(shop.freeze())
}

fn stream(snapshot: &mut Snapshot) -> Bytes {
    let chunk = snapshot.read(0, usize::MAX);
    assert!(chunk.last);
    chunk.bytes
}

fn sales() -> impl Strategy<Value = Vec<Sale>> {
    prop::collection::vec((0..20_u8, 0..9_u8), 0..40)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..50_usize, 1..9)
}

proptest! {
    #[test]
    fn a_read_at_any_offset_gives_the_same_stream(
        sales in sales(),
        reads in prop::collection::vec((any::<prop::sample::Index>(), 1..99_usize), 1..30),
    ) {
        let shop = shop(&sales);
        let whole = stream(&mut snapshot(&shop));
        let mut snapshot = snapshot(&shop);
        for (offset, bytes_max) in reads {
            // Every read is read on from, as a joiner does.
            let mut offset = offset.index(whole.len() + 1);
            for _ in 0..3 {
                let end = whole.len().min(offset + bytes_max);
                let chunk = snapshot.read(offset as u64, bytes_max);
                prop_assert_eq!(&chunk.bytes, &whole[offset..end]);
                prop_assert_eq!(chunk.last, end == whole.len());
                prop_assert!(snapshot.cursors.len() <= Snapshot::CURSORS_MAX);
                offset = end;
            }
        }
    }

    #[test]
    fn however_it_is_cut_a_stream_restores_the_same_state(sales in sales(), sizes in sizes()) {
        let shop = shop(&sales);
        let mut rig = Rig::new();
        rig.restore(&stream(&mut snapshot(&shop)), &sizes);
        prop_assert_eq!(rig.replica.state(), Some(&shop));
        prop_assert_eq!(rig.replica.hash(), Some(snapshot::hash(&shop)));
        prop_assert!(!rig.replica.is_stale());
    }

    #[test]
    fn a_joiner_goes_on_with_another_provider(sales in sales(), sizes in sizes()) {
        let shop = shop(&sales);
        let mut providers = [snapshot(&shop), snapshot(&shop), snapshot(&shop)];
        let mut rig = Rig::new();
        let (mut offset, mut last) = (0, false);
        for (turn, bytes_max) in sizes.iter().cycle().enumerate() {
            let chunk = providers[turn % 3].read(offset, *bytes_max);
            rig.piece(offset, &chunk.bytes, chunk.last);
            offset += chunk.bytes.len() as u64;
            last |= chunk.last;
            if last {
                break;
            }
        }
        prop_assert_eq!(rig.replica.state(), Some(&shop));
    }

    #[test]
    fn a_damaged_stream_gives_no_state(
        sales in sales(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        sizes in sizes(),
    ) {
        let mut bytes = stream(&mut snapshot(&shop(&sales))).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut rig = Rig::new();
        rig.restore(&bytes, &sizes);
        prop_assert_eq!(rig.replica.state(), None);
        prop_assert!(rig.replica.broken().is_some());
    }

    #[test]
    fn noise_gives_no_state(noise in prop::collection::vec(any::<u8>(), 1..200), sizes in sizes()) {
        let mut rig = Rig::new();
        rig.restore(&noise, &sizes);
        prop_assert_eq!(rig.replica.state(), None);
    }

    /// What members have in common is what they applied, not how they came to it.
    #[test]
    fn members_that_applied_the_same_freeze_to_the_same_bytes(
        before in sales(),
        after in sales(),
    ) {
        let mut old = Rig::founded();
        before.iter().for_each(|sale| old.update(None, *sale));
        let mut joined = Rig::new();
        joined.restore(&stream(&mut snapshot(&shop(&before))), &[7]);
        for rig in [&mut old, &mut joined] {
            after.iter().for_each(|sale| rig.update(None, *sale));
            rig.hear(ReplicatedEvent::Freeze { cut: 3 });
        }
        let [a, b] = [&old, &joined].map(|rig| rig.port.read_frozen(3, 0, usize::MAX));
        prop_assert_eq!(a, b);
        prop_assert_eq!(old.replica.hash(), joined.replica.hash());
    }

    #[test]
    fn what_is_applied_later_does_not_change_a_snapshot(before in sales(), after in sales()) {
        let whole = stream(&mut snapshot(&shop(&before)));
        let mut rig = Rig::founded();
        before.iter().for_each(|sale| rig.update(None, *sale));
        rig.hear(ReplicatedEvent::Freeze { cut: 1 });
        prop_assert_eq!(rig.doorbell.rings(), [(rig.port.object(), Ring::Frozen)]);
        let mut offset = 0;
        for sale in after {
            rig.update(None, sale);
            let chunk = rig.port.read_frozen(1, offset as u64, 9).unwrap();
            prop_assert_eq!(&chunk.bytes, &whole[offset..whole.len().min(offset + 9)]);
            offset += chunk.bytes.len();
        }
    }
}

/// The stream goes over the wire: a change here is a change of the wire.
#[test]
fn golden_bytes() {
    let mut list = List::new();
    list.push(7_u8);
    let mut golden = vec![0, 0, 0, 1, 7];
    let hash = sha2::Sha256::digest(&golden);
    golden.put_slice(&[0xff; 4]);
    golden.put_slice(&hash);
    assert_eq!(stream(&mut Snapshot::new(Box::new(list))), golden);
}

#[test]
fn a_state_that_ends_too_early_too_late_or_has_a_gap_is_none() {
    let whole = stream(&mut snapshot(&shop(&[(1, 1), (2, 2)])));
    let mut rig = Rig::new();
    rig.piece(0, &whole[..whole.len() - 1], true);
    assert_eq!(rig.replica.broken(), Some(&RestoreError::End));
    rig.restore(&[&whole[..], b"x"].concat(), &[usize::MAX >> 1]);
    assert_eq!(rig.replica.broken(), Some(&RestoreError::End));
    rig.piece(0, &whole[..9], false);
    assert_eq!(rig.replica.broken(), None);
    rig.piece(10, &whole[10..], true);
    assert_eq!(rig.replica.broken(), Some(&RestoreError::Gap { offset: 10, expected: 9 }));
    rig.piece(9, &whole[9..], true);
    assert!(rig.replica.broken().is_some(), "the rest of what failed");
    rig.piece(0, &[0xff, 0xff, 0xff, 0xfe], false);
    assert_eq!(rig.replica.broken(), Some(&RestoreError::TooLong(u32::MAX - 1)));
    rig.restore(&whole, &[3]);
    assert_eq!(rig.replica.state(), Some(&shop(&[(1, 1), (2, 2)])), "it begins anew");
}

#[test]
fn a_founded_state_answers_own_updates_once_they_are_stable() {
    let mut rig = Rig::new();
    assert_eq!((rig.replica.state(), rig.replica.hash()), (None, None));
    assert!(rig.replica.is_stale());
    rig.view(1);
    rig.update(None, (9, 9));
    assert_eq!(rig.replica.state(), None, "there is nothing yet that it could be applied to");
    rig.hear(ReplicatedEvent::Founded);
    assert_eq!(rig.replica.state(), Some(&Shop::default()));
    assert_eq!(rig.replica.update(&(5, 1)), Ok(0));
    assert_eq!(rig.replica.update(&(5, 1)), Ok(1));
    let taken = rig.port.take(99).unwrap().command.payload().clone();
    let first = ReplicatedEvent::Update { from: me(), own: Some(0), bytes: taken };
    assert_eq!(rig.hear(first), []);
    rig.update(None, (5, 1));
    rig.update(Some(1), (5, 1));
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 0 }), [(0, 1)]);
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 1 }), [(1, 3)]);
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 9 }), []);
}

#[test]
fn who_is_outside_keeps_a_stale_state_until_it_is_restored() {
    let mut rig = Rig::founded();
    rig.update(Some(0), (5, 1));
    rig.hear(ReplicatedEvent::Outside);
    assert!(rig.replica.is_stale());
    assert_eq!(rig.replica.hash(), None, "it is compared with nobody's");
    rig.view(2);
    rig.update(None, (6, 1));
    rig.hear(ReplicatedEvent::Freeze { cut: 2 });
    assert_eq!(rig.port.read_frozen(2, 0, 9), None, "what is stale is given to nobody");
    let whole = stream(&mut snapshot(&shop(&[(5, 1), (7, 1)])));
    rig.piece(0, &whole[..9], false);
    assert_eq!(rig.replica.state(), Some(&shop(&[(5, 1)])));
    rig.restore(&whole, &[4]);
    assert!(!rig.replica.is_stale());
    assert_eq!(rig.replica.state(), Some(&shop(&[(5, 1), (7, 1)])));
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 0 }), [], "restored, not answered");
    rig.update(Some(1), (5, 1));
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 1 }), [(1, 2)]);
    rig.hear(ReplicatedEvent::Outside);
    rig.hear(ReplicatedEvent::Founded);
    assert_eq!(rig.replica.state(), Some(&Shop::default()), "nobody who lives holds another");
}

#[test]
fn a_state_that_is_restored_over_is_stale_and_its_replies_are_void() {
    let mut rig = Rig::founded();
    rig.update(Some(0), (5, 1));
    let whole = stream(&mut snapshot(&shop(&[(7, 1)])));
    rig.piece(0, &whole[..9], false);
    assert_eq!((rig.replica.is_stale(), rig.replica.state()), (true, Some(&shop(&[(5, 1)]))));
    rig.piece(9, &whole[9..], true);
    assert_eq!((rig.replica.is_stale(), rig.replica.state()), (false, Some(&shop(&[(7, 1)]))));
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 0 }), []);
}

#[test]
fn an_update_that_cannot_be_decoded_is_passed_over() {
    let mut rig = Rig::founded();
    let bytes = Bytes::from_static(&[1]);
    rig.hear(ReplicatedEvent::Update { from: me(), own: Some(0), bytes });
    assert_eq!((rig.replica.skipped(), rig.replica.state()), (1, Some(&Shop::default())));
    assert_eq!(rig.hear(ReplicatedEvent::Stable { message: 0 }), []);
}

#[test]
fn who_knows_nothing_of_the_state_can_drive_it() {
    let rig = Rig::new();
    let mut replica: Box<dyn Replicate> = Box::new(rig.replica);
    assert_eq!(replica.hash(), None);
    replica.on_event(&Event::Replicated(ReplicatedEvent::Founded));
    assert_eq!(replica.hash(), Some(snapshot::hash(&Shop::default())));
    assert_eq!(replica.port().object(), rig.port.object());
}

/// Cursors are few: a reader too many begins anew, and still reads the same.
#[test]
fn more_readers_than_cursors_all_read_the_whole() {
    let shop = shop(&[(1, 8), (2, 8), (3, 8), (4, 8)]);
    let whole = stream(&mut snapshot(&shop));
    let mut snapshot = snapshot(&shop);
    let mut readers = vec![Vec::new(); Snapshot::CURSORS_MAX + 2];
    while readers[0].len() < whole.len() {
        for read in &mut readers {
            read.extend(snapshot.read(read.len() as u64, 5).bytes);
            assert!(snapshot.cursors.len() <= Snapshot::CURSORS_MAX);
        }
    }
    assert!(readers.iter().all(|read| *read == whole));
}

#[test]
fn collections_do_what_they_say() {
    let mut map = Map::new();
    ["b", "a", "c", "a"].into_iter().zip(0..).for_each(|(key, n)| map.insert(key.to_owned(), n));
    let clone = map.clone();
    assert!(map.remove("b") && !map.remove("b"));
    assert_eq!(map.iter().map(|(key, n)| (&key[..], *n)).collect::<Vec<_>>(), [("a", 3), ("c", 2)]);
    assert_eq!((map.len(), clone.len(), clone.get("b")), (2, 3, Some(&0)));
    assert!(!map.contains("b") && !map.is_empty() && Map::<u8, u8>::default().is_empty());
    let mut list = List::default();
    let clone = list.clone();
    list.push(4);
    list.push(5);
    assert_eq!((list.get(1), list.get(2), list.len(), clone.is_empty()), (Some(&5), None, 2, true));
    assert_eq!(list.iter().sum::<i32>(), 9);
}
