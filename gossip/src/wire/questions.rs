//! The sections of a question, and of its answer; records that belong to it stand beside it, in the
//! section of records (`wire/news.rs`), and what is known to whoever is asked in a search in one of
//! its own.
//!
//! ```text
//!  tag 26, question: kind u8, then
//!                    0, 1 find by key, by what keys begin with: object [16], key …
//!                    2 keep:  nothing
//!                    3 check: depth u8, count u32, sum u64
//!                    4 search: object [16], bits u8, predicate in postcard's form …
//!                    5 why:   node [16]
//!                    6 claim: nothing
//!  tag 27, answer:   verdict u8 (0 whole, 1 long, 2 not), depth u8
//!  tag 32, clue:     count u8, levels u8 …, and if whoever answers matches:
//!                    attributes in postcard's form …
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::{Attributes, NodeId, ObjectId, Predicate};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{PacketError, SECTION_LEN, put_section, take_array};
use crate::entry::Absurd;
use crate::question::{Answer, Clue, Question, Verdict};
use crate::records::Sought;

/// How long the section of a question is.
pub(super) fn question_section_len(question: &Question) -> usize {
    SECTION_LEN + question_len(question)
}

fn question_len(question: &Question) -> usize {
    1 + match question {
        Question::Find { sought, .. } => ObjectId::LEN + sought.key().len(),
        Question::Keep | Question::Claim => 0,
        Question::Check { .. } => 1 + 4 + 8,
        Question::Search { matching, .. } => ObjectId::LEN + 1 + written(matching).len(),
        Question::Why(_) => NodeId::LEN,
    }
}

pub(super) fn put_question(out: &mut BytesMut, question: &Question) {
    put_section(out, TAG_QUESTION, question_len(question));
    match question {
        Question::Find { object, sought } => {
            out.put_u8(if let Sought::Key(_) = sought { FIND } else { LIST });
            out.put_slice(object.as_bytes());
            out.put_slice(sought.key());
        }
        Question::Keep => out.put_u8(KEEP),
        Question::Claim => out.put_u8(CLAIM),
        Question::Check { depth, count, sum } => {
            out.put_u8(CHECK);
            out.put_u8(*depth);
            out.put_u32(*count);
            out.put_u64(*sum);
        }
        Question::Search { object, bits, matching } => {
            out.put_u8(SEARCH);
            out.put_slice(object.as_bytes());
            out.put_u8(*bits);
            out.put_slice(&written(matching));
        }
        Question::Why(node) => {
            out.put_u8(WHY);
            out.put_slice(node.as_bytes());
        }
    }
}

pub(super) fn take_question(body: &mut &[u8]) -> Result<Question, PacketError> {
    Ok(match body.try_get_u8()? {
        kind @ (FIND | LIST) => {
            let object = ObjectId::from_bytes(take_array(body)?);
            let key = Bytes::copy_from_slice(std::mem::take(body));
            let sought = if kind == FIND { Sought::Key(key) } else { Sought::Prefix(key) };
            Question::Find { object, sought }
        }
        KEEP => Question::Keep,
        CLAIM => Question::Claim,
        CHECK => Question::Check {
            depth: body.try_get_u8()?,
            count: body.try_get_u32()?,
            sum: body.try_get_u64()?,
        },
        SEARCH => {
            let object = ObjectId::from_bytes(take_array(body)?);
            let bits = body.try_get_u8()?;
            if u32::from(bits) > u128::BITS {
                return Err(Absurd::Reach(bits).into());
            }
            Question::Search { object, bits, matching: take_written::<Predicate>(body)? }
        }
        WHY => Question::Why(NodeId::from_bytes(take_array(body)?)),
        unknown => return Err(PacketError::UnknownQuestion(unknown)),
    })
}

pub(super) fn put_answer(out: &mut BytesMut, answer: Answer) {
    put_section(out, TAG_ANSWER, ANSWER_SECTION_LEN - SECTION_LEN);
    out.put_u8(answer.verdict as u8);
    out.put_u8(answer.depth);
}

pub(super) fn take_answer(body: &mut &[u8]) -> Result<Answer, PacketError> {
    let verdict = match body.try_get_u8()? {
        0 => Verdict::Whole,
        1 => Verdict::Long,
        2 => Verdict::Not,
        unknown => return Err(PacketError::UnknownVerdict(unknown)),
    };
    Ok(Answer { verdict, depth: body.try_get_u8()? })
}

/// How long the section of a clue is.
pub(super) fn clue_section_len(clue: &Clue) -> usize {
    SECTION_LEN + clue_len(clue)
}

fn clue_len(Clue { levels, attributes }: &Clue) -> usize {
    1 + levels.len() + attributes.as_ref().map_or(0, |attributes| written(attributes).len())
}

pub(super) fn put_clue(out: &mut BytesMut, clue: &Clue) {
    put_section(out, TAG_CLUE, clue_len(clue));
    out.put_u8(u8::try_from(clue.levels.len()).expect("ids have no more bits"));
    out.put_slice(&clue.levels);
    clue.attributes.iter().for_each(|attributes| out.put_slice(&written(attributes)));
}

pub(super) fn take_clue(body: &mut &[u8]) -> Result<Clue, PacketError> {
    let count = usize::from(body.try_get_u8()?);
    let levels = body.split_off(..count).ok_or(PacketError::Truncated)?.to_vec();
    let is_level = |level: &u8| u32::from(*level) < u128::BITS;
    if let Some(level) = levels.iter().find(|level| !is_level(level)) {
        return Err(Absurd::Reach(*level).into());
    }
    if let Some(pair) = levels.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Absurd::Level(pair[1], pair[0]).into());
    }
    let attributes = if body.is_empty() { None } else { Some(take_written::<Attributes>(body)?) };
    Ok(Clue { levels, attributes })
}

fn written<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("memory takes every value")
}

/// All the rest of a section.
fn take_written<T: DeserializeOwned>(body: &mut &[u8]) -> Result<T, PacketError> {
    let (value, rest) = postcard::take_from_bytes(body).map_err(|_| Absurd::Attributes)?;
    *body = rest;
    Ok(value)
}

const FIND: u8 = 0;
const LIST: u8 = 1;
const KEEP: u8 = 2;
const CHECK: u8 = 3;
const SEARCH: u8 = 4;
const WHY: u8 = 5;
const CLAIM: u8 = 6;

pub(super) const TAG_QUESTION: u8 = 26;
pub(super) const TAG_ANSWER: u8 = 27;
pub(super) const TAG_CLUE: u8 = 32;
pub(super) const ANSWER_SECTION_LEN: usize = SECTION_LEN + 1 + 1;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::{Leg, Packet, tests::hex};
    use proptest::prelude::*;

    /// Any question at all.
    pub(crate) fn questions() -> impl Strategy<Value = Question> {
        let key = prop::collection::vec(any::<u8>(), 0..40);
        let find = (any::<[u8; 16]>(), key, any::<bool>()).prop_map(|(object, key, is_whole)| {
            let sought = if is_whole { Sought::Key } else { Sought::Prefix };
            Question::Find { object: ObjectId::from_bytes(object), sought: sought(key.into()) }
        });
        let check = any::<(u8, u32, u64)>().prop_map(|(depth, count, sum)| Question::Check {
            depth,
            count,
            sum,
        });
        let search = any::<([u8; 16], u8, bool)>().prop_map(|(object, bits, is_two)| {
            let mut matching = Predicate::equal("role", "db").unwrap();
            if is_two {
                matching = matching.and(Predicate::equal("cores", 64.0).unwrap()).unwrap();
            }
            let object = ObjectId::from_bytes(object);
            Question::Search { object, bits: bits % 129, matching }
        });
        let why = any::<[u8; 16]>().prop_map(|node| Question::Why(NodeId::from_bytes(node)));
        prop_oneof![find, Just(Question::Keep), check, search, why, Just(Question::Claim)]
    }

    /// Any clue at all.
    pub(crate) fn clues() -> impl Strategy<Value = Clue> {
        let levels = prop::collection::btree_set(0..128_u8, 0..128);
        let attributes = prop::option::of("[a-z]{1,9}")
            .prop_map(|text| text.map(|text| Attributes::default().with("role", text).unwrap()));
        (levels, attributes).prop_map(|(levels, attributes)| Clue {
            levels: levels.into_iter().collect(),
            attributes,
        })
    }

    /// Any answer at all.
    pub(crate) fn answers() -> impl Strategy<Value = Answer> {
        let verdicts = vec![Verdict::Whole, Verdict::Long, Verdict::Not];
        (prop::sample::select(verdicts), any::<u8>())
            .prop_map(|(verdict, depth)| Answer { verdict, depth })
    }

    #[test]
    fn golden_bytes() {
        let asked = |question: Question| {
            let packet = Packet { question: Some(question), ..Packet::new(Leg::Ask { number: 7 }) };
            hex(&packet.encode())
        };
        let object = ObjectId::from_bytes([3; ObjectId::LEN]);
        let find = |sought: Sought| asked(Question::Find { object, sought });
        let (head, three) = ("110000000700100000", "03".repeat(16));
        assert_eq!(find(Sought::Key("k".into())), format!("{head}1a001200{three}6b"));
        assert_eq!(find(Sought::Prefix("".into())), format!("{head}1a001101{three}"));
        assert_eq!(asked(Question::Keep), format!("{head}1a000102"));
        assert_eq!(asked(Question::Claim), format!("{head}1a000106"));
        let why = Question::Why(NodeId::from_bytes([3; NodeId::LEN]));
        assert_eq!(asked(why), format!("{head}1a001105{three}"));
        let check = Question::Check { depth: 4, count: 2, sum: 9 };
        assert_eq!(asked(check), format!("{head}1a000e0304000000020000000000000009"));
        let matching = Predicate::equal("role", "db").unwrap();
        let search = asked(Question::Search { object, bits: 5, matching });
        let predicate = "010104726f6c650000026462";
        assert_eq!(search, format!("{head}1a001e04{three}05{predicate}"));
        let answer = Some(Answer { verdict: Verdict::Long, depth: 4 });
        let answered = Packet { answer, ..Packet::new(Leg::Answer { number: 7 }) };
        assert_eq!(hex(&answered.encode()), "1200000007001000001b00020104");
        let attributes = Some(Attributes::default().with("role", "db").unwrap());
        let clue = |clue: Clue| {
            let packet = Packet { clue: Some(clue), ..Packet::new(Leg::Answer { number: 7 }) };
            hex(&packet.encode())
        };
        let head = "12000000070010000020";
        let both = clue(Clue { levels: vec![5, 9], attributes });
        assert_eq!(both, format!("{head}000d0205090104726f6c6500026462"));
        assert_eq!(clue(Clue::default()), format!("{head}000100"));
    }

    #[test]
    fn each_fault_has_its_name() {
        let decode = |packet: &Packet, byte: u8| {
            let mut bytes = packet.encode().to_vec();
            bytes[9 + SECTION_LEN] = byte;
            Packet::decode(&bytes).expect_err("damaged")
        };
        let asked =
            Packet { question: Some(Question::Keep), ..Packet::new(Leg::Ask { number: 7 }) };
        assert_eq!(decode(&asked, 7), PacketError::UnknownQuestion(7));
        assert_eq!(decode(&asked, CHECK), PacketError::Truncated);
        assert_eq!(decode(&asked, WHY), PacketError::Truncated);
        let answer = Some(Answer { verdict: Verdict::Not, depth: 4 });
        let answered = Packet { answer, ..Packet::new(Leg::Answer { number: 7 }) };
        assert_eq!(decode(&answered, 3), PacketError::UnknownVerdict(3));
    }

    #[test]
    fn searches_that_nobody_can_ask_are_refused() {
        let taken = |body: &[u8]| take_question(&mut &body[..]);
        let head = [&[SEARCH][..], &[3; ObjectId::LEN]].concat();
        let search = |rest: &[u8]| taken(&[&head, rest].concat());
        assert!(search(&[128, 1, 0]).is_ok());
        assert_eq!(search(&[129, 1, 0]), Err(Absurd::Reach(129).into()));
        // Two truths are left.
        assert_eq!(search(&[0, 2, 0, 0]), Err(Absurd::Attributes.into()));
        let long = [&[0, 65][..], &[0], &[3; 64]].concat();
        assert_eq!(search(&long), Err(Absurd::Attributes.into()));
        let clue = |body: &[u8]| take_clue(&mut &body[..]);
        assert!(clue(&[2, 5, 127]).is_ok());
        assert_eq!(clue(&[1, 128]), Err(Absurd::Reach(128).into()));
        assert_eq!(clue(&[2, 5, 5]), Err(Absurd::Level(5, 5).into()));
        assert_eq!(clue(&[2, 5]), Err(PacketError::Truncated));
        assert_eq!(clue(&[0, 9]), Err(Absurd::Attributes.into()));
    }
}
