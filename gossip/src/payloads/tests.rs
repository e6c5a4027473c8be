//! Whom a node asks, whom it answers, and that no table of payloads grows beyond its bound.

use super::*;
use crate::entry::tests::entry;
use crate::news::tests::message;
use live_objects::ObjectId;

const PERIOD: Duration = Duration::from_millis(200);

fn node(number: u8) -> NodeId {
    entry(number, 1).member.node
}

fn id(number: u64) -> MessageId {
    message(9, number, b"").id
}

/// A message of another origin.
fn id_of(origin: u8, number: u64) -> MessageId {
    message(origin, number, b"").id
}

fn topic() -> Topic {
    Topic::new(ObjectId::from_bytes([7; ObjectId::LEN]), 1)
}

fn announcement(len: usize) -> Announcement {
    Announcement::of(&vec![7; len])
}

fn payloads() -> Payloads {
    Payloads::new(PERIOD)
}

fn at(payloads: &mut Payloads, periods: u32) {
    payloads.age(Time::ZERO + PERIOD * periods);
}

/// It was announced by this one, and is wanted.
fn want(payloads: &mut Payloads, number: u64, len: usize, teller: u8) -> bool {
    want_of(payloads, id(number), len, teller)
}

fn want_of(payloads: &mut Payloads, id: MessageId, len: usize, teller: u8) -> bool {
    let has_room = payloads.announce(id, (topic(), announcement(len)), node(teller));
    payloads.want(id);
    has_room
}

fn asked(payloads: &mut Payloads) -> Vec<Ask> {
    payloads.asks(|_| true).into_iter().map(|(_, ask)| ask).collect()
}

fn ask(to: u8, offset: usize, accepts: Accepts) -> Ask {
    Ask { to: node(to), offset, accepts }
}

#[test]
fn the_teller_is_asked_first_then_who_says_that_it_has_it_then_the_origin() {
    let mut payloads = payloads();
    assert!(want(&mut payloads, 0, 9_000, 1));
    assert_eq!(asked(&mut payloads), [ask(1, 0, Accepts::Later)]);
    payloads.also_has(id(0), node(2));
    payloads.also_has(id(0), node(3));
    payloads.also_has(id(0), node(1));
    assert_eq!(asked(&mut payloads), []);
    assert_eq!(payloads.on_piece(node(1), id(0), 0, &[7; 4_000]), Came::Part);
    assert_eq!(payloads.on_piece(node(2), id(0), 4_000, &[7; 4_000]), Came::Unasked);
    payloads.on_lacking(node(1), id(0));
    assert_eq!(asked(&mut payloads), [ask(3, 4_000, Accepts::Pieces)]);
    payloads.on_link_down(node(3));
    assert_eq!(asked(&mut payloads), [ask(2, 4_000, Accepts::Pieces)]);
    payloads.on_lacking(node(2), id(0));
    assert_eq!(asked(&mut payloads), [ask(3, 4_000, Accepts::Pieces)], "its link may be back");
    payloads.on_lacking(node(3), id(0));
    assert_eq!(asked(&mut payloads), [], "the origin is left alone for a moment");
    at(&mut payloads, 2);
    assert_eq!(asked(&mut payloads), [ask(9, 4_000, Accepts::Pieces)]);
    let whole = Came::Whole(topic(), vec![7; 9_000].into());
    assert_eq!(payloads.on_piece(node(9), id(0), 4_000, &[7; 5_000]), whole);
    assert_eq!(payloads.on_piece(node(9), id(0), 4_000, &[7; 5_000]), Came::Unasked);
    assert!(!payloads.is_moving());
}

#[test]
fn who_brings_hardly_anything_is_left_and_told_so() {
    let mut payloads = payloads();
    assert!(want(&mut payloads, 0, 100_000, 1));
    assert_eq!(asked(&mut payloads).len(), 1);
    // Enough in five periods, then a byte in each.
    payloads.on_piece(node(1), id(0), 0, &[7; 5_000]);
    at(&mut payloads, 5);
    assert_eq!(payloads.on_round().0, []);
    for period in 6..10 {
        at(&mut payloads, period);
        let offset = 5_000 + period as usize - 6;
        assert_eq!(payloads.on_piece(node(1), id(0), offset, &[7]), Came::Part);
        assert_eq!(payloads.on_round().0, []);
    }
    at(&mut payloads, 10);
    let no_more = ask(1, 100_000, Accepts::Pieces);
    assert_eq!(payloads.on_round().0, [(id(0), no_more)]);
    assert_eq!(payloads.on_piece(node(1), id(0), 5_004, &[7]), Came::Unasked);
}

#[test]
fn who_will_have_it_is_asked_again_for_a_while() {
    let mut payloads = payloads();
    assert!(want(&mut payloads, 0, 9_000, 1));
    assert_eq!(asked(&mut payloads).len(), 1);
    let mut again = 0;
    for turn in 1..50 {
        payloads.on_later(node(1), id(0));
        at(&mut payloads, 5 * turn);
        match payloads.on_round().0[..] {
            [(_, ask)] if ask.accepts == Accepts::Later => again += 1,
            _ => break,
        }
    }
    assert_eq!(again, 23, "24 times in all");
    // Who may say later for ever is waited for no longer than a payload lives.
    const { assert!(5 * 24 < LIFE_PERIODS) };
}

#[test]
fn who_gave_what_is_wrong_is_not_asked_again() {
    let mut payloads = payloads();
    assert!(want(&mut payloads, 0, 1_001, 1));
    for liar in 1..=3 {
        payloads.also_has(id(0), node(liar));
        assert_eq!(asked(&mut payloads)[0].to, node(liar));
        assert_eq!(payloads.give_up(id(0)), None);
        assert_eq!(payloads.on_piece(node(liar), id(0), 0, &[8; 1_001]), Came::Wrong);
        payloads.also_has(id(0), node(liar));
        assert_eq!(asked(&mut payloads), [], "it begins anew, from another");
    }
    assert_eq!(payloads.on_need(node(4), (id(0), 0), Accepts::Later), Some(Reply::Later));
    assert_eq!(payloads.give_up(id(0)), Some(vec![(node(4), id(0))]));
    assert!(payloads.all.is_empty() && !payloads.is_moving());
}

/// Of two that gave parts of it one is the origin, which would not lie of what it said.
#[test]
fn the_origin_is_asked_again_if_another_gave_a_part() {
    let mut payloads = payloads();
    assert!(want(&mut payloads, 0, 1_001, 1));
    assert_eq!(asked(&mut payloads).len(), 1);
    assert_eq!(payloads.on_piece(node(1), id(0), 0, &[8; 1_000]), Came::Part);
    payloads.on_lacking(node(1), id(0));
    at(&mut payloads, 2);
    assert_eq!(asked(&mut payloads), [ask(9, 1_000, Accepts::Pieces)]);
    assert_eq!(payloads.on_piece(node(9), id(0), 1_000, &[7]), Came::Wrong);
    at(&mut payloads, 4);
    assert_eq!(asked(&mut payloads), [ask(9, 0, Accepts::Pieces)]);
    assert_eq!(payloads.on_piece(node(9), id(0), 0, &[7; 1_002]), Came::Amiss, "it never ends");
}

#[test]
fn so_many_are_known_and_pulled_and_of_one_a_quarter() {
    let mut payloads = payloads();
    for number in 0..PAYLOADS_MAX as u64 {
        let teller = (number / (PAYLOADS_MAX / ONE_OF) as u64) as u8;
        assert!(want_of(&mut payloads, id_of(teller, number), 1_001, teller));
        let is_last = number % (PAYLOADS_MAX / ONE_OF) as u64 == (PAYLOADS_MAX / ONE_OF) as u64 - 1;
        if is_last {
            let refused = id(u64::MAX - number);
            let (what, teller) = ((topic(), announcement(1_001)), node(teller));
            assert!(!payloads.announce(refused, what, teller), "one has a quarter");
        }
    }
    assert!(!want(&mut payloads, 99_999, 1_001, 7));
    assert_eq!((payloads.pulled.len(), payloads.all.len()), (PULLS_MAX, PAYLOADS_MAX));
    // One is done: one that waited takes its place.
    assert_eq!(asked(&mut payloads).len(), PULLS_MAX);
    assert_eq!(
        payloads.on_piece(node(0), id_of(0, 0), 0, &[7; 1_001]),
        Came::Whole(topic(), vec![7; 1_001].into())
    );
    assert_eq!(payloads.pulled.len(), PULLS_MAX);
    at(&mut payloads, LIFE_PERIODS);
    assert_eq!(payloads.all.values().filter(|it| it.waited > 0).count(), 0);
    let _ = payloads.on_round();
    assert!(payloads.all.is_empty() && !payloads.is_moving());
}

/// Who announces what nobody wants keeps out nobody, and what this node says itself stays.
#[test]
fn what_nobody_wants_gives_way() {
    let mut payloads = payloads();
    let announced = |payloads: &mut Payloads, number: u64, teller: u8| {
        payloads.announce(id(number), (topic(), announcement(1_001)), node(teller))
    };
    for number in 0..PAYLOADS_MAX as u64 {
        at(&mut payloads, u32::from(number > 0));
        assert!(announced(&mut payloads, number, (number % 8) as u8));
    }
    assert!(announced(&mut payloads, 9_999, 9));
    assert!(!payloads.has(id(0)) && payloads.has(id(1)), "the first that was heard of");
    for number in 1..PAYLOADS_MAX as u64 {
        payloads.want(id(number));
    }
    payloads.want(id(9_999));
    assert!(!announced(&mut payloads, 7_777, 9), "all are wanted");
    let bytes = Bytes::from(vec![7; 1_001]);
    let waiting = payloads.keep_own(id(8_888), (topic(), announcement(1_001)), bytes);
    assert!(waiting.is_empty() && payloads.whole(id(8_888)).is_some());
}

#[test]
fn so_many_bytes_are_pulled_and_of_one_a_quarter() {
    let mut payloads = payloads();
    for number in 0..20 {
        assert!(want(&mut payloads, number, 1 << 20, 1));
    }
    assert_eq!(payloads.pulled.len() << 20, PULLED_LEN_MAX / ONE_OF);
    for number in 20..60 {
        assert!(want(&mut payloads, number, 1 << 20, number as u8));
    }
    assert_eq!(payloads.pulled.len() << 20, PULLED_LEN_MAX / ONE_OF, "one said all of them");
    for origin in 20..60 {
        assert!(want_of(&mut payloads, id_of(origin, 0), 1 << 20, origin));
    }
    assert_eq!(payloads.pulled.len() << 20, PULLED_LEN_MAX);
}

/// Many origins, by way of many who only pass on what they heard, and hardly anything comes.
fn full_of_slow() -> Payloads {
    let mut payloads = payloads();
    for number in 0..16 {
        assert!(want_of(&mut payloads, id_of(20 + number, 0), 1 << 20, number / 4));
    }
    assert_eq!(payloads.pulled.len() << 20, PULLED_LEN_MAX);
    assert_eq!(asked(&mut payloads).len(), 16);
    payloads
}

#[test]
fn what_is_slow_gives_way_to_what_waits() {
    let mut payloads = full_of_slow();
    assert!(want_of(&mut payloads, id_of(9, 0), 1 << 20, 3));
    assert!(want_of(&mut payloads, id_of(9, 1), 1 << 20, 7));
    // One comes well, the others hardly.
    for period in 1..5 {
        at(&mut payloads, period);
        assert_eq!(payloads.on_round(), (Vec::new(), Vec::new()));
    }
    for number in 0..16 {
        let piece = vec![7; if number == 12 { 40_000 } else { 4_096 }];
        let came = payloads.on_piece(node(number / 4), id_of(20 + number, 0), 0, &piece);
        assert_eq!(came, Came::Part);
    }
    at(&mut payloads, 5);
    let no_more = |number: u8| (id_of(20 + number, 0), ask(number / 4, 1 << 20, Accepts::Pieces));
    assert_eq!(payloads.on_round().0, [no_more(13), no_more(14)], "what was pulled for longest");
    assert_eq!(asked(&mut payloads), [ask(3, 0, Accepts::Later), ask(7, 0, Accepts::Later)]);
    let waiting = payloads.wanted.iter().map(|id| id.origin.node);
    assert_eq!(waiting.collect::<Vec<_>>(), [33, 34].map(node));
    // What gave way is pulled again when there is room.
    let whole = payloads.on_piece(node(7), id_of(9, 1), 0, &vec![7; 1 << 20]);
    assert!(matches!(whole, Came::Whole(..)));
    assert_eq!(asked(&mut payloads), [ask(3, 0, Accepts::Later)]);
}

/// Nor does what one sender says give way to more of that.
#[test]
fn what_is_slow_goes_on_while_nobody_else_waits() {
    let mut payloads = payloads();
    (0..8).for_each(|number| assert!(want(&mut payloads, number, 1 << 20, 1)));
    assert_eq!(asked(&mut payloads).len(), 4);
    for period in 1..50 {
        (0..4).for_each(|number| payloads.on_later(node(1), id(number)));
        at(&mut payloads, period);
        let again = |(_, ask): &(_, Ask)| ask.accepts == Accepts::Later;
        assert!(payloads.on_round().0.iter().all(again));
    }
    assert_eq!(payloads.pulled, (0..4).map(id).collect());
}

#[test]
fn what_waits_for_room_lives_for_longer() {
    const { assert!(LIFE_PERIODS + WAITED_PERIODS_MAX < 200) };
    let mut payloads = payloads();
    (0..8).for_each(|number| assert!(want(&mut payloads, number, 1 << 20, 1)));
    for period in 1..LIFE_PERIODS {
        at(&mut payloads, period);
        let _ = payloads.on_round();
    }
    at(&mut payloads, LIFE_PERIODS);
    let _ = payloads.on_round();
    assert_eq!(payloads.pulled, (4..8).map(id).collect(), "those that were pulled are over");
    at(&mut payloads, LIFE_PERIODS + WAITED_PERIODS_MAX);
    let _ = payloads.on_round();
    assert!(payloads.all.is_empty() && !payloads.is_moving());
}

#[test]
fn the_oldest_of_those_kept_give_way() {
    let mut payloads = payloads();
    for number in 0..=32_u32 {
        at(&mut payloads, number);
        let (what, bytes) = ((topic(), announcement(1 << 20)), vec![7; 1 << 20].into());
        let waiting = payloads.keep_own(id(number.into()), what, bytes);
        assert_eq!(waiting.is_empty(), number < 32);
        if number == 0 {
            let given = payloads.on_need(node(1), (id(0), 0), Accepts::Pieces);
            assert_eq!((given, payloads.own_given_len()), (Some(Reply::Pieces), 1 << 20));
        }
    }
    assert_eq!(payloads.all.len() << 20, KEPT_LEN_MAX);
    assert_eq!((payloads.next_piece(node(1), 9), payloads.own_given_len()), (None, 0));
    let lacking = payloads.on_need(node(1), (id(0), 0), Accepts::Pieces);
    assert_eq!(lacking, Some(Reply::Lacking));
}

#[test]
fn pieces_go_on_where_they_ended_and_end() {
    let mut payloads = payloads();
    let (what, bytes) = ((topic(), announcement(2_000)), Bytes::from(vec![7; 2_000]));
    assert_eq!(payloads.keep_own(id(0), what, bytes.clone()), []);
    assert_eq!(payloads.on_need(node(1), (id(0), 500), Accepts::Later), Some(Reply::Pieces));
    for (offset, len) in [(500, 1_000), (1_500, 500)] {
        let piece = payloads.next_piece(node(1), 1_000);
        assert_eq!(piece, Some((id(0), offset, bytes.slice(..len))));
        payloads.on_given(node(1), id(0), len);
    }
    assert_eq!(payloads.next_piece(node(1), 1_000), None);
    assert!(payloads.receivers().is_empty() && !payloads.is_moving());
    // Who needs no more of it gets no more.
    assert_eq!(payloads.on_need(node(1), (id(0), 0), Accepts::Later), Some(Reply::Pieces));
    assert_eq!(payloads.on_need(node(1), (id(0), 2_000), Accepts::Later), None);
    assert_eq!(payloads.next_piece(node(1), 1_000), None);
    // Who takes none is given up.
    assert_eq!(payloads.on_need(node(1), (id(0), 0), Accepts::Later), Some(Reply::Pieces));
    assert_eq!(payloads.end_stalled(), 0);
    at(&mut payloads, KEEP_PERIODS);
    assert_eq!(payloads.end_stalled(), 1);
    assert!(!payloads.is_moving());
    let _ = payloads.on_round();
    assert!(payloads.all.is_empty(), "nobody had any use for it");
}

#[test]
fn so_many_are_given_and_wait() {
    let mut payloads = payloads();
    for number in 0..100 {
        let what = (topic(), announcement(1_001));
        let _ = payloads.keep_own(id(number), what, vec![7; 1_001].into());
    }
    let far = |number: u64| NodeId::from_public_key(&number.to_be_bytes());
    let given = |payloads: &mut Payloads, to: NodeId, number: u64| {
        payloads.on_need(to, (id(number), 0), Accepts::Pieces) == Some(Reply::Pieces)
    };
    let his = (0..100).filter(|number| given(&mut payloads, node(1), *number)).count();
    assert_eq!(his, gives::GIVES_OF_ONE_MAX);
    let all = (0..2_000).filter(|number| given(&mut payloads, far(*number), number % 100)).count();
    assert_eq!(his + all, gives::GIVES_MAX);
    // Of what is yet to come.
    assert!(want(&mut payloads, 200, 1_001, 1));
    let waits = |payloads: &mut Payloads, from: NodeId| {
        payloads.on_need(from, (id(200), 0), Accepts::Later) == Some(Reply::Later)
    };
    assert!(!waits(&mut payloads, node(1)), "who announced it does not wait for it");
    assert_eq!(payloads.on_need(node(2), (id(200), 0), Accepts::Pieces), Some(Reply::Lacking));
    let waiting = (0..2_000).filter(|number| waits(&mut payloads, far(*number))).count();
    assert_eq!(waiting, WAITING_MAX);
}
