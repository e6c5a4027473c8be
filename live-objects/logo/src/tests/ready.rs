//! Nodes that start at once, on real sockets, and when they are ready.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::soon;
use crate::prelude::{Agreed, Members, Node};
use crate::{Authority, Founding, NotReady, Options};

/// Addresses that nobody has bound.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    sockets.map(|socket| socket.local_addr().unwrap())
}

/// Five nodes have the same seeds: three of them, of which the first is not up before the others
/// wait for it. Until the last is there nobody is ready; then all are, in one cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_expect_each_other_are_ready_when_all_are_there() {
    let (authority, addresses) = (Authority::create(), addresses::<5>());
    let start = async |number: usize| {
        let options = Options {
            seeds: addresses[..3].to_vec(),
            identity: Some(authority.issue()),
            ..Options::at(addresses[number]).expect(5)
        };
        Node::start(options).await.unwrap()
    };
    let mut nodes = Vec::new();
    for number in [4, 2, 3, 1] {
        nodes.push(start(number).await);
    }
    // Four know each other, and that is not enough.
    let mut members: Members = soon(nodes[0].open("/members")).await.unwrap();
    assert!(soon(members.wait_for(4)).await);
    let patience = Duration::from_millis(50);
    let mut told = 0;
    while told < 4 {
        let not_ready = soon(nodes[0].ready(patience)).await.unwrap_err();
        let NotReady::Fewer { known, expected: 5, .. } = not_ready else { panic!("{not_ready}") };
        assert!(not_ready.to_string().starts_with(&format!("{known} of the 5 nodes")));
        assert!(known <= 4);
        told = known;
    }
    nodes.push(start(0).await);
    for node in &nodes {
        assert_eq!(node.ready(LONG).await, Ok(()));
        let mut agreed: Members<Agreed> = soon(node.open("/agreed")).await.unwrap();
        assert!(soon(agreed.wait_for(5)).await, "in one cluster");
    }
    // Who was ready is, also when there are fewer.
    nodes.pop().unwrap().stop().await;
    assert_eq!(nodes[0].ready(patience).await, Ok(()));
    // Who comes back to fewer than it once expected is ready when it is in.
    nodes.remove(1).stop().await;
    let back = start(0).await;
    assert_eq!(back.ready(LONG).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_founds_alone_expects_nobody_and_who_waits_expects_one() {
    let (authority, addresses) = (Authority::create(), addresses::<2>());
    let options = |number: usize, founding| Options {
        seeds: addresses.to_vec(),
        identity: Some(authority.issue()),
        founding,
        ..Options::at(addresses[number])
    };
    let waits = Node::start(options(0, Founding::Wait)).await.unwrap();
    let patience = Duration::from_millis(50);
    let not_ready = waits.ready(patience).await;
    assert!(matches!(not_ready, Err(NotReady::Fewer { expected: 2, .. })), "{not_ready:?}");
    let founds = Node::start(options(1, Founding::Alone)).await.unwrap();
    assert_eq!(founds.ready(LONG).await, Ok(()));
    assert_eq!(waits.ready(LONG).await, Ok(()));
}

const LONG: Duration = Duration::from_secs(30);
