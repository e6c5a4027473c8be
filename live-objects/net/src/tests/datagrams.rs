//! Datagrams between nodes that have no link.

use super::*;

impl Player {
    /// Waits until something was counted so often.
    async fn expect(&self, name: &str, count: u64) {
        let counted = async {
            while self.count(name).await < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counted).await.expect("it is counted in time");
        assert_eq!(self.count(name).await, count);
    }

    async fn expect_no_link(&mut self) {
        assert_eq!(self.count("net.dialled").await, 0);
        while let Ok(input) = self.heard.try_recv() {
            assert!(!matches!(input, Input::Link { .. }), "{input:?}");
        }
    }

    /// As [`Player::know`], at these addresses and in a life that may be another.
    fn know_at(&self, other: &Self, incarnation: Incarnation, addresses: Vec<SocketAddr>) {
        let (member, credential) = (other.node.member(), other.credential.clone());
        let member = Member { incarnation, ..member };
        self.act(move |io| io.introduce(member, &addresses, &credential));
    }
}

/// Two nodes of one cluster that do not know each other.
async fn strangers() -> (Player, Player) {
    let authority = Authority::create();
    let one = Player::start(localhost(), authority.issue()).await;
    (one, Player::start(localhost(), authority.issue()).await)
}

#[tokio::test]
async fn members_need_no_link() {
    let (mut one, mut other) = pair(localhost()).await;
    for round in 0..100 {
        let text = "a".repeat(round * 11);
        one.send(other.id(), Via::Datagram, text.clone());
        assert_eq!(other.hear_bytes().await, text);
        other.send(one.id(), Via::Datagram, text.clone());
        assert_eq!(one.hear_bytes().await, text);
    }
    for player in [&mut one, &mut other] {
        player.expect_no_link().await;
        player.expect("net.datagram_sealed", 100).await;
    }
    // Messages make a link, and datagrams go over it then.
    one.send(other.id(), Via::Control, "a message");
    assert_eq!(other.hear_bytes().await, "a message");
    assert_eq!(one.hear_link().await, (other.id(), Link::Up));
    one.send(other.id(), Via::Datagram, "a datagram");
    assert_eq!(other.hear_bytes().await, "a datagram");
    one.expect("net.datagram_sealed", 100).await;
}

#[tokio::test]
async fn the_longest_datagram_gets_through() {
    let (one, mut other) = pair(localhost()).await;
    let id = other.id();
    one.act(move |io| {
        let longest = vec![7; io.datagram_max(id)];
        io.send(Target::Node(id), Via::Datagram, longest.into()).expect("datagrams have room");
    });
    let max = crate::wire::DATAGRAM_BYTES_MAX - live_objects::Envelope::LEN;
    assert_eq!(other.hear_bytes().await, vec![7; max]);
    other.expect_no_link().await;
}

#[tokio::test]
async fn a_stranger_introduces_itself() {
    let (mut one, mut other) = strangers().await;
    one.know(&other);
    one.send(other.id(), Via::Datagram, "here I am");
    assert_eq!(other.hear_bytes().await, "here I am");
    // Where it was heard from is where it is answered.
    other.send(one.id(), Via::Datagram, "welcome");
    assert_eq!(one.hear_bytes().await, "welcome");
    one.expect("net.seal_asked", 0).await;
    one.expect_no_link().await;
    other.expect_no_link().await;
}

#[tokio::test]
async fn a_stranger_that_did_not_is_asked() {
    let (mut one, mut other) = strangers().await;
    one.know(&other);
    one.send(other.id(), Via::Datagram, vec![7; TOO_LONG_TO_INTRODUCE]);
    one.expect("net.seal_asked", 1).await;
    other.expect("net.seal_unknown", 1).await;
    one.send(other.id(), Via::Datagram, "here I am");
    assert_eq!(other.hear_bytes().await, "here I am");
    one.expect_no_link().await;
    other.expect_no_link().await;
}

#[tokio::test]
async fn a_datagram_too_long_to_be_introduced_takes_a_link() {
    let (mut one, mut other) = strangers().await;
    one.know(&other);
    one.send(other.id(), Via::Datagram, vec![7; TOO_LONG_TO_INTRODUCE]);
    one.expect("net.seal_asked", 1).await;
    one.send(other.id(), Via::Datagram, vec![8; TOO_LONG_TO_INTRODUCE]);
    assert_eq!(other.hear_bytes().await, vec![8; TOO_LONG_TO_INTRODUCE]);
    assert_eq!(one.hear_link().await, (other.id(), Link::Up));
}

#[tokio::test]
async fn a_peers_next_life_is_found_by_a_link() {
    let (mut one, mut other) = strangers().await;
    let former = Incarnation::from_bytes([1; Incarnation::LEN]);
    one.know_at(&other, former, vec![other.node.address()]);
    for asked in 1..=2 {
        one.send(other.id(), Via::Datagram, "lost");
        one.expect("net.seal_asked", asked).await;
    }
    one.send(other.id(), Via::Datagram, "which life is it?");
    assert_eq!(other.hear_bytes().await, "which life is it?");
    assert_eq!(one.hear_link().await, (other.id(), Link::Up));
    other.expect("net.seal_broken", 2).await;
}

#[tokio::test]
async fn each_address_has_its_turn_until_one_answers() {
    let (mut one, mut other) = pair(localhost()).await;
    let nowhere = UdpSocket::bind(localhost()).unwrap();
    let afar = "[2001:db8::1]:7400".parse().unwrap();
    let addresses = vec![nowhere.local_addr().unwrap(), afar, other.node.address()];
    one.know_at(&other, other.node.member().incarnation, addresses);
    for text in ["nowhere", "afar", "here"] {
        one.send(other.id(), Via::Datagram, text);
    }
    assert_eq!(other.hear_bytes().await, "here");
    one.expect("net.address_unusable", 1).await;
    other.send(one.id(), Via::Datagram, "here indeed");
    assert_eq!(one.hear_bytes().await, "here indeed");
    for text in ["a", "b"] {
        one.send(other.id(), Via::Datagram, text);
        assert_eq!(other.hear_bytes().await, text);
    }
    one.expect_no_link().await;
}

#[tokio::test]
async fn a_foreigner_is_not_sealed_for() {
    let mut one = Player::start(localhost(), Authority::create().issue()).await;
    let other = Player::start(localhost(), Authority::create().issue()).await;
    one.know(&other);
    one.send(other.id(), Via::Datagram, "hello");
    assert_eq!(one.hear_link().await, (other.id(), Link::Down(Down::Silent)));
    assert_eq!(one.count("net.datagram_sealed").await, 0);
    assert_eq!(one.count("net.credential_refused").await, 1);
    assert_eq!(one.count("net.handshake_refused").await, 1);
}

#[tokio::test]
async fn what_is_neither_sealed_nor_quic_is_counted() {
    let (one, mut other) = pair(localhost()).await;
    let socket = UdpSocket::bind(localhost()).unwrap();
    let say = |noise: &[u8]| {
        socket.send_to(noise, other.node.address()).unwrap();
    };
    [&[], &[0][..], &[0x3f; 500], &[0x11; 141], &[0x10; 1_300]].into_iter().for_each(say);
    other.expect("net.seal_malformed", 4).await;
    say(&[0x10; 100]);
    other.expect("net.seal_unknown", 1).await;
    let mut answer = [0; 100];
    assert_eq!(socket.recv(&mut answer).unwrap(), 21, "who?");
    one.send(other.id(), Via::Datagram, "still there?");
    assert_eq!(other.hear_bytes().await, "still there?");
}

const TOO_LONG_TO_INTRODUCE: usize = 1_100;
