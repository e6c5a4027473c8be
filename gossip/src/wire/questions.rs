//! The sections of a question, and of its answer; records that belong to it stand beside it, in the
//! section of records (`wire/news.rs`).
//!
//! ```text
//!  tag 26, question: kind u8, then
//!                    0, 1 find by key, by what keys begin with: object [16], key …
//!                    2 keep:  nothing
//!                    3 check: depth u8, count u32, sum u64
//!  tag 27, answer:   verdict u8 (0 whole, 1 long, 2 not), depth u8
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use live_objects::ObjectId;

use super::{PacketError, SECTION_LEN, put_section, take_array};
use crate::question::{Answer, Question, Verdict};
use crate::records::Sought;

/// How long the section of a question is.
pub(super) fn question_section_len(question: &Question) -> usize {
    SECTION_LEN + question_len(question)
}

fn question_len(question: &Question) -> usize {
    1 + match question {
        Question::Find { sought, .. } => ObjectId::LEN + sought.key().len(),
        Question::Keep => 0,
        Question::Check { .. } => 1 + 4 + 8,
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
        Question::Check { depth, count, sum } => {
            out.put_u8(CHECK);
            out.put_u8(*depth);
            out.put_u32(*count);
            out.put_u64(*sum);
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
        CHECK => Question::Check {
            depth: body.try_get_u8()?,
            count: body.try_get_u32()?,
            sum: body.try_get_u64()?,
        },
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

const FIND: u8 = 0;
const LIST: u8 = 1;
const KEEP: u8 = 2;
const CHECK: u8 = 3;

pub(super) const TAG_QUESTION: u8 = 26;
pub(super) const TAG_ANSWER: u8 = 27;
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
        prop_oneof![find, Just(Question::Keep), check]
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
        let check = Question::Check { depth: 4, count: 2, sum: 9 };
        assert_eq!(asked(check), format!("{head}1a000e0304000000020000000000000009"));
        let answer = Some(Answer { verdict: Verdict::Long, depth: 4 });
        let answered = Packet { answer, ..Packet::new(Leg::Answer { number: 7 }) };
        assert_eq!(hex(&answered.encode()), "1200000007001000001b00020104");
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
        assert_eq!(decode(&asked, 4), PacketError::UnknownQuestion(4));
        assert_eq!(decode(&asked, CHECK), PacketError::Truncated);
        let answer = Some(Answer { verdict: Verdict::Not, depth: 4 });
        let answered = Packet { answer, ..Packet::new(Leg::Answer { number: 7 }) };
        assert_eq!(decode(&answered, 3), PacketError::UnknownVerdict(3));
    }
}
