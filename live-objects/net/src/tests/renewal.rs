//! Nodes whose identities change while they run: rotated authorities, revoked nodes.

use std::fs;

use live_objects::{Down, Incarnation, Link, Via};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{PATIENCE, Player, localhost, rogue};
use crate::link::{Reason, dial, greet};
use crate::tally::Tally;
use crate::tls::PROTOCOL;
use crate::{Authority, Identity, RenewError};

/// An authority in its folder, and the nodes that it signed.
struct Cluster {
    folder: TempDir,
    authority: Authority,
}

impl Cluster {
    fn create() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create();
        authority.save(folder.path()).unwrap();
        Self { folder, authority }
    }

    fn sign(&self) -> Identity {
        self.authority.sign(self.folder.path()).unwrap()
    }

    fn sign_again(&self, identity: &Identity) -> Identity {
        let node = tempfile::tempdir().unwrap();
        identity.save(node.path()).unwrap();
        self.authority.sign_again(self.folder.path(), node.path()).unwrap()
    }

    /// The identity, with what all nodes are given anew of the authority's folder.
    fn update(&self, identity: &Identity) -> Identity {
        self.hand_out(&["ca.pem", "ca.crl"], identity)
    }

    /// The identity, with the certificates that are trusted now, and without who is revoked.
    fn update_authorities(&self, identity: &Identity) -> Identity {
        self.hand_out(&["ca.pem"], identity)
    }

    fn hand_out(&self, files: &[&str], identity: &Identity) -> Identity {
        let folder = tempfile::tempdir().unwrap();
        identity.save(folder.path()).unwrap();
        for file in files {
            if self.folder.path().join(file).exists() {
                fs::copy(self.folder.path().join(file), folder.path().join(file)).unwrap();
            }
        }
        Identity::load(folder.path()).unwrap()
    }

    fn rotate(&mut self) {
        self.authority.rotate(self.folder.path()).unwrap();
    }

    fn drop_old(&mut self) {
        assert_eq!(self.authority.drop_old(self.folder.path()).unwrap(), 1);
    }

    fn revoke(&mut self, player: &Player) {
        self.authority.revoke(self.folder.path(), player.id()).unwrap();
    }
}

async fn start(identity: &Identity) -> Player {
    Player::start(localhost(), identity.clone()).await
}

/// Makes a link, and hears of it at both ends.
async fn link(one: &mut Player, other: &mut Player) {
    one.know(other);
    other.know(one);
    one.send(other.id(), Via::Control, "hello");
    assert_eq!(other.hear_bytes().await, "hello");
    assert_eq!(one.hear_link().await, (other.id(), Link::Up));
}

/// One dials the other, and does not accept who answers.
async fn refuse_as_client(one: &mut Player, other: &Player) {
    let before = one.count("net.handshake_refused").await;
    one.know(other);
    one.send(other.id(), Via::Control, "hello");
    assert_eq!(one.hear_link().await, (other.id(), Link::Down(Down::Silent)));
    assert_eq!(one.count("net.handshake_refused").await, before + 1);
}

/// The other dials, and one does not accept it.
async fn refuse_as_server(one: &Player, other: &mut Player) {
    let before = one.count("net.handshake_refused").await;
    other.know(one);
    other.send(one.id(), Via::Control, "let me in");
    // Its own handshake is done before it hears that it is refused.
    assert!(matches!(other.hear_link().await, (id, Link::Down(_)) if id == one.id()));
    let counted = async {
        while one.count("net.handshake_refused").await == before {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("it is refused by a handshake");
}

#[tokio::test]
async fn old_and_new_identities_converse_during_a_rotation() {
    let mut cluster = Cluster::create();
    let [first, second, third] = [cluster.sign(), cluster.sign(), cluster.sign()];
    let (mut one, mut other) = (start(&first).await, start(&second).await);
    link(&mut one, &mut other).await;
    cluster.rotate();
    for (player, identity) in [(&one, &first), (&other, &second)] {
        player.node.renew(cluster.update(identity)).await.unwrap();
    }
    let renewed = cluster.sign_again(&first);
    assert_eq!(renewed.node(), first.node());
    one.node.renew(renewed).await.unwrap();
    one.send(other.id(), Via::Control, "the link stands");
    assert_eq!(other.hear_bytes().await, "the link stands");
    // Nodes of both certificates, whoever dials.
    let old = start(&cluster.update(&third)).await;
    let mut new = start(&cluster.sign()).await;
    old.know(&new);
    old.send(new.id(), Via::Control, "from old to new");
    assert_eq!(new.hear_bytes().await, "from old to new");
    link(&mut new, &mut one).await;
    link(&mut new, &mut other).await;
}

#[tokio::test]
async fn an_old_identity_is_refused_once_the_old_authority_is_dropped() {
    let mut cluster = Cluster::create();
    let [first, second] = [cluster.sign(), cluster.sign()];
    cluster.rotate();
    let mut one = start(&cluster.sign_again(&first)).await;
    let mut other = start(&cluster.update(&second)).await;
    link(&mut one, &mut other).await;
    cluster.drop_old();
    one.node.renew(cluster.update(&cluster.sign_again(&first))).await.unwrap();
    assert_eq!(one.hear_link().await, (other.id(), Link::Down(Down::Closed)));
    assert_eq!(other.hear_link().await, (one.id(), Link::Down(Down::Closed)));
    refuse_as_server(&one, &mut other).await;
    refuse_as_client(&mut one, &other).await;
    other.node.renew(cluster.sign_again(&second)).await.unwrap();
    other.send(one.id(), Via::Control, "again");
    assert_eq!(one.hear_bytes().await, "again");
}

#[tokio::test]
async fn a_revoked_node_is_refused_and_its_links_go_down_alone() {
    let mut cluster = Cluster::create();
    let [first, second, third] = [cluster.sign(), cluster.sign(), cluster.sign()];
    let mut one = start(&first).await;
    let (mut other, mut bad) = (start(&second).await, start(&third).await);
    link(&mut one, &mut other).await;
    link(&mut one, &mut bad).await;
    cluster.revoke(&bad);
    one.node.renew(cluster.update(&first)).await.unwrap();
    assert_eq!(one.hear_link().await, (bad.id(), Link::Down(Down::Closed)));
    assert_eq!(bad.hear_link().await, (one.id(), Link::Down(Down::Closed)));
    one.send(other.id(), Via::Control, "the link stands");
    assert_eq!(other.hear_bytes().await, "the link stands");
    refuse_as_client(&mut one, &bad).await;
    refuse_as_server(&one, &mut bad).await;
    // What it would refuse of others a node does not show them.
    let error = bad.node.renew(cluster.update(&third)).await.unwrap_err();
    assert!(error.to_string().contains("Revoked"), "{error}");
}

/// Without a link either: what it seals opens no more, and nothing is sealed for it.
#[tokio::test]
async fn a_node_that_was_revoked_is_not_heard_by_datagram() {
    let mut cluster = Cluster::create();
    let [first, second] = [cluster.sign(), cluster.sign()];
    let (mut one, bad) = (start(&first).await, start(&second).await);
    one.know(&bad);
    bad.know(&one);
    bad.send(one.id(), Via::Datagram, "hello");
    assert_eq!(one.hear_bytes().await, "hello");
    cluster.revoke(&bad);
    one.node.renew(cluster.update(&first)).await.unwrap();
    bad.send(one.id(), Via::Datagram, "still there?");
    let refused = async {
        while one.count("net.credential_refused").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("its credential is refused");
    one.send(bad.id(), Via::Datagram, "hello");
    assert_eq!(one.hear_link().await, (bad.id(), Link::Down(Down::Silent)));
    assert_eq!(one.count("net.datagram_sealed").await, 0);
}

/// What the membership says of a node may be older than what the node has.
#[tokio::test]
async fn a_renewed_node_shows_what_it_has_now() {
    let mut cluster = Cluster::create();
    let [first, second] = [cluster.sign(), cluster.sign()];
    let (mut one, mut other) = (start(&first).await, start(&second).await);
    one.know(&other);
    other.know(&one);
    for (from, to) in [(&other, one.id()), (&one, other.id())] {
        from.send(to, Via::Datagram, "hello");
    }
    assert_eq!([one.hear_bytes().await, other.hear_bytes().await], ["hello"; 2]);
    cluster.rotate();
    other.node.renew(cluster.sign_again(&second)).await.unwrap();
    let again = cluster.sign_again(&first);
    cluster.drop_old();
    one.node.renew(cluster.update(&again)).await.unwrap();
    other.send(one.id(), Via::Datagram, "lost");
    let asked = async {
        while other.count("net.seal_asked").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.expect("it is asked");
    other.send(one.id(), Via::Datagram, "signed again");
    assert_eq!(one.hear_bytes().await, "signed again");
    assert_eq!(other.count("net.dialled").await, 0);
}

#[tokio::test]
async fn a_node_is_revoked_with_its_certificates_of_old_and_new_authorities() {
    let mut cluster = Cluster::create();
    let [first, second] = [cluster.sign(), cluster.sign()];
    cluster.rotate();
    let (mut one, bad) = (start(&cluster.sign_again(&first)).await, start(&second).await);
    let again = cluster.sign_again(&second);
    cluster.revoke(&bad);
    one.node.renew(cluster.sign_again(&first)).await.unwrap();
    bad.node.renew(again).await.unwrap();
    refuse_as_client(&mut one, &bad).await;
    let mut bad = start(&cluster.update_authorities(&second)).await;
    refuse_as_server(&one, &mut bad).await;
}

#[tokio::test]
async fn an_identity_of_another_node_or_cluster_is_not_taken() {
    let cluster = Cluster::create();
    let [first, second] = [cluster.sign(), cluster.sign()];
    let (mut one, mut other) = (start(&first).await, start(&second).await);
    link(&mut one, &mut other).await;
    let (own, given) = (first.node(), second.node());
    let error = one.node.renew(second.clone()).await.unwrap_err();
    assert_eq!(error, RenewError::AnotherNode { own, given });
    assert!([own, given].iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
    // A certificate that the authorities beside it did not sign.
    let abroad = Cluster::create();
    let error = one.node.renew(abroad.update(&first)).await.unwrap_err();
    assert!(matches!(error, RenewError::Certificate(_)), "{error}");
    one.send(other.id(), Via::Control, "still the old one");
    assert_eq!(other.hear_bytes().await, "still the old one");
}

/// A handshake that was made before the node was revoked does not make a link after.
#[tokio::test]
async fn a_claim_of_a_node_that_was_revoked_since_is_refused() {
    let mut cluster = Cluster::create();
    let [first, second] = [cluster.sign(), cluster.sign()];
    let one = start(&first).await;
    let rogue = rogue(&second, PROTOCOL);
    let dialled = dial(&rogue, &[one.node.address()], None, &Tally::default()).await;
    let quic = dialled.unwrap().quic;
    cluster.authority.revoke(cluster.folder.path(), second.node()).unwrap();
    one.node.renew(cluster.update(&first)).await.unwrap();
    let _greeted = greet(&quic, Incarnation::from_bytes([1; 16])).await.unwrap();
    let closed = timeout(PATIENCE, quic.closed()).await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(close) = closed else {
        panic!("closed by the peer, not {closed}")
    };
    assert_eq!(close.error_code, Reason::Refused.code());
}
