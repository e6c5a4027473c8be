//! Objects that gossip carries, and objects by their names alone.

use std::time::Duration;

use live_objects::soft::{Counter, Map, Set, WriteError};
use live_objects::{Departure, Finding, IdPrefix, MembersEvent, Testimony, sketch};
use serde_json::json;

use super::{Words, nodes, soon};
use crate::prelude::{
    Aggregate, Attributes, Average, BestEffort, Catalog, Count, Directory, Epidemic, Fifo, Members,
    Nearest, Overlay, Predicate, Ref, Replicated, Ring, Topic, TopicEvent, Total, Tree,
};
use crate::{
    Descriptor, Distinct, Highest, Histogram, Max, MetadataError, Node, OpenError, Profile,
    Quantiles, Rate, SendError, Sum, TopK, UnknownName, UpdateError, Variance, WeightedAverage,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_reaches_the_others_and_its_sender() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let says: Topic<String, BestEffort> = soon(one.open("/news")).await.unwrap();
    let hears: Topic<String, BestEffort> = soon(other.open("/news")).await.unwrap();
    // Whoever was not known when it was said may miss it.
    let heard = async {
        loop {
            says.try_send(&"rain".to_owned()).unwrap();
            let next = tokio::time::timeout(Duration::from_millis(500), hears.next());
            if let Ok(Some(TopicEvent::Message { from, own: None, message })) = next.await {
                return (from, message);
            }
        }
    };
    assert_eq!(soon(heard).await, (one.member(), "rain".to_owned()));
    let TopicEvent::Message { own: Some(0), .. } = soon(says.next()).await.unwrap() else {
        panic!("its sender hears it too")
    };
    // One that fits into no packet goes over a link.
    let long = "x".repeat(200_000);
    soon(says.send(&long)).await.unwrap();
    while soon(hears.next_message()).await.is_some_and(|heard| heard != long) {}
    let longer = "x".repeat(2 << 20);
    let Err(SendError::TooLong { bytes_max, .. }) = says.try_send(&longer) else {
        panic!("it is longer than any")
    };
    assert_eq!(bytes_max, 1 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_says_of_itself_is_read_by_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let mut members: Members = soon(other.open("/who")).await.unwrap();
    assert!(soon(members.wait_for(2)).await);
    let me = one.member().node;
    assert_eq!(soon(members.metadata(me)).await, Ok(None));
    // Short, and the longest, which goes over a link.
    for len in [100, 64 << 10] {
        let says = vec![7; len];
        soon(one.set_metadata(says.clone())).await.unwrap();
        while soon(members.metadata(me)).await.unwrap().is_none_or(|read| read != says) {
            soon(members.next()).await.unwrap();
        }
    }
    let too_long = soon(one.set_metadata(vec![7; (64 << 10) + 1])).await;
    let bytes_max = 64 << 10;
    let expected = SendError::TooLong { bytes: bytes_max + 1, bytes_max };
    assert_eq!(too_long, Err(MetadataError::Send(expected)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_average_is_that_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let mut loads: Vec<Aggregate<Average>> = Vec::new();
    for (node, share) in [(&one, 1.0), (&other, 4.0)] {
        let load: Aggregate<Average> = soon(node.open("/load")).await.unwrap();
        load.set(share).unwrap();
        loads.push(load);
    }
    for load in &loads {
        while soon(load.next()).await.unwrap().value != Some(2.5) {}
        assert_eq!(load.get().map(|estimate| estimate.members), Some(2));
    }
    let refused = loads[0].set(f64::NAN).unwrap_err().to_string();
    assert!(refused.contains("set a finite number"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nearest_is_found_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let mirror: Nearest = soon(one.open("/mirrors")).await.unwrap();
    let looks: Nearest = soon(other.open("/mirrors")).await.unwrap();
    mirror.offer(0.5).unwrap();
    let found = async {
        loop {
            let best = looks.next().await.unwrap();
            if let Some(near) = best.first().filter(|near| near.is_measured) {
                return *near;
            }
        }
    };
    let near = soon(found).await;
    assert_eq!((near.member, near.load.number()), (one.member(), 0.5));
    assert!(near.round_trip < Duration::from_secs(1), "{near:?}");
    assert_eq!(mirror.best(), [], "a node is not told of itself");
    let refused = mirror.offer(-1.0).unwrap_err().to_string();
    assert!(refused.contains("0 or above"), "{refused}");
    mirror.withdraw().unwrap();
    let gone = async { while !looks.next().await.unwrap().is_empty() {} };
    soon(gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_are_each_others_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let here: Overlay<Ring> = soon(one.open("/ring")).await.unwrap();
    let there: Overlay<Ring> = soon(other.open("/ring")).await.unwrap();
    here.stand(&[0.25]).unwrap();
    there.stand_by_id().unwrap();
    soon(async { while here.next().await.unwrap().is_empty() {} }).await;
    let id = Profile::of_node(other.member().node);
    assert_eq!(here.neighbours(), [Descriptor { member: other.member(), profile: id }]);
    assert_eq!(here.successor(), here.predecessor());
    let refused = here.stand(&[f64::NAN]).unwrap_err().to_string();
    assert!(refused.contains("choose finite numbers"), "{refused}");
    let tree: Overlay<Tree> = soon(one.open("/tree")).await.unwrap();
    tree.stand_by_id().unwrap();
    assert_eq!(soon(tree.next()).await, Some(Vec::new()));
    assert_eq!((tree.parent(), tree.children()), (None, Vec::new()));
    there.stand(&[0.75]).unwrap();
    let is_there = |it: Descriptor| it.profile.numbers() == [0.75];
    soon(async {
        while !here.successor().is_some_and(is_there) {
            here.next().await;
        }
    })
    .await;
    other.stop().await;
    soon(async { while !here.next().await.unwrap().is_empty() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_found_while_its_publisher_lives() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let here: Directory<u32> = soon(one.open("/tills")).await.unwrap();
    let there: Directory<u32> = soon(other.open("/tills")).await.unwrap();
    soon(here.publish("till-1", &7)).await.unwrap();
    let found = async {
        loop {
            let found = there.find("till-1").await.unwrap();
            if !found.is_empty() {
                return found;
            }
        }
    };
    let found = soon(found).await;
    assert_eq!((found[0].publisher, found[0].value), (one.member(), 7));
    assert_eq!(soon(there.list("till-")).await.unwrap(), found);
    one.stop().await;
    soon(async { while !there.find("till-1").await.unwrap().is_empty() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_describes_itself_is_found_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let here: Catalog = soon(one.open("/fleet")).await.unwrap();
    let there: Catalog = soon(other.open("/fleet")).await.unwrap();
    let own = |role: &str| Attributes::default().with("role", role).unwrap();
    soon(here.describe(own("db"))).await.unwrap();
    soon(there.describe(own("web"))).await.unwrap();
    let is_db = || Predicate::equal("role", "db").unwrap();
    let found = async {
        loop {
            if let Ok([found]) = there.search(is_db()).await.as_deref() {
                return found.clone();
            }
        }
    };
    let found = soon(found).await;
    assert_eq!((found.member, found.attributes), (one.member(), own("db")));
    let mut search = soon(there.search_each(Predicate::all(), 1)).await.unwrap();
    assert_eq!(soon(search.next()).await.map(|found| found.member), Some(other.member()));
    assert_eq!(soon(search.next()).await, None);
    assert!(search.is_complete(), "it was to find one");
    drop(search);
    one.stop().await;
    soon(async { while there.search(is_db()).await != Ok(Vec::new()) {} }).await;
}

async fn dynamic(node: &Node, name: &str) -> crate::Dynamic {
    loop {
        match node.open_dyn(name).await {
            Ok(dynamic) => return dynamic,
            // It takes a moment until a node hears what others have open.
            Err(OpenError::Unknown(UnknownName::Nobody(_))) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soft_state_is_updated_at_once_and_becomes_the_same() {
    type Cart = Map<String, Counter>;
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let cd = "cd".to_owned();
    let mut carts: Vec<Replicated<Cart, Epidemic>> = Vec::new();
    for (node, amount) in [(&one, 2), (&other, 3)] {
        let cart: Replicated<Cart, Epidemic> = soon(node.open("/cart")).await.unwrap();
        let told = cart.update(|cart, writer| {
            cart.at(&cd).add(writer, amount);
            cart.at(&cd).value(writer.reader())
        });
        assert_eq!(told, Ok(amount), "nobody is waited for");
        carts.push(cart);
    }
    for cart in &carts {
        let mut watch = cart.watch();
        while cart.read(|cart, reader| cart.at(&cd).value(reader)) != 5 {
            soon(watch.changed()).await.unwrap();
        }
    }
    assert_eq!(carts[0].hash(), carts[1].hash());
    // Code that panics has changed nothing, and nothing is wrong after it.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        carts[0].update(|cart, writer| {
            cart.clear(writer);
            panic!("as it was told to")
        })
    }));
    assert!(panicked.is_err());
    assert!(carts[0].read(|cart, reader| cart.contains(reader, &cd)));
    let long = "x".repeat(2_000);
    let refused = carts[0].update(|cart, writer| cart.at(&long).add(writer, 1));
    let Err(UpdateError::Write(WriteError::LongKey(2_004))) = refused else {
        panic!("{refused:?}")
    };
    // A name has one type, whatever is kept under it.
    let Err(refused) = soon(other.open::<Topic<String, BestEffort>>("/cart")).await else {
        panic!("it is a cart")
    };
    assert!(matches!(refused, OpenError::Node(_)), "{refused}");
    let known = async {
        while other.names("/cart").await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon(known).await;
    drop(carts.pop());
    let Err(held) = soon(other.open::<Replicated<Set<String>, Epidemic>>("/cart")).await else {
        panic!("the first node has it open")
    };
    let held = held.to_string();
    assert!(held.contains("of Map version 1") && held.contains("epidemic"), "{held}");
    one.stop().await;
    let gone = carts[0].update(|cart, writer| cart.clear(writer));
    assert_eq!(gone, Err(UpdateError::Send(SendError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_used_by_its_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let typed: Topic<(String, u32), Fifo> = soon(one.open("/prices")).await.unwrap();
    let _state: Replicated<Words> = soon(one.open("/words")).await.unwrap();
    // The name may be known before the schema is.
    let told = async {
        loop {
            let dynamic = dynamic(&other, "/prices").await;
            if dynamic.send(&json!(["cd", 1_177])).await.is_ok() {
                return dynamic;
            }
        }
    };
    let dynamic = soon(told).await;
    assert_eq!(soon(typed.next_message()).await, Some(("cd".to_owned(), 1_177)));
    let refused = dynamic.send(&json!(["cd", "dear"])).await.unwrap_err().to_string();
    assert!(refused.contains("[1]"), "{refused}");
    let Err(refused) = other.open_dyn("/words").await else { panic!("it has no code for it") };
    assert!(refused.to_string().contains("replicated state"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_leads_to_its_object_and_to_no_other() {
    type Guests = Aggregate<Count>;
    let reference: Ref<Guests> = Ref::new("/room/guests").unwrap();
    let bytes = postcard::to_allocvec(&reference).unwrap();
    assert_eq!(postcard::from_bytes::<Ref<Guests>>(&bytes), Ok(reference.clone()));
    let wrong = postcard::from_bytes::<Ref<Topic<String, Total>>>(&bytes);
    assert!(wrong.is_err(), "it is of another type");
    let text = serde_json::to_value(&reference).unwrap();
    assert_eq!(text["name"], "/room/guests");
    assert!(text["type"].as_str().unwrap().starts_with("Count"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let [one, _other] = nodes(folder.path()).await;
    let guests = soon(reference.open(&one)).await.unwrap();
    guests.set(1.0).unwrap();
    while soon(guests.next()).await.unwrap().value != Some(1.0) {}
}

/// Every kind of share that there is a handle for, given at two nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_of_many_values_are_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = nodes(folder.path()).await;
    let (mut latencies, mut keys, mut visitors, mut spread) = (vec![], vec![], vec![], vec![]);
    let (mut highest, mut sizes, mut rates) = (vec![], vec![], vec![]);
    for (node, share) in nodes.iter().zip([1.0, 3.0]) {
        let latency: Aggregate<Quantiles> = soon(node.open("/latency")).await.unwrap();
        latency.record(share).unwrap();
        latency.record_for(100.0, Duration::from_secs(600)).unwrap();
        latencies.push(latency);
        let key: Aggregate<TopK> = soon(node.open("/keys")).await.unwrap();
        key.add("both", 5).unwrap();
        key.add(format!("only {share}"), 7).unwrap();
        keys.push(key);
        let seen: Aggregate<Distinct> = soon(node.open("/visitors")).await.unwrap();
        ["a", "b", &share.to_string()].iter().for_each(|item| seen.insert(item).unwrap());
        seen.insert("a").unwrap();
        visitors.push(seen);
        let variance: Aggregate<Variance> = soon(node.open("/spread")).await.unwrap();
        variance.set(share).unwrap();
        spread.push(variance);
        let high: Aggregate<Highest> = soon(node.open("/highest")).await.unwrap();
        high.set(share).unwrap();
        highest.push(high);
        let size: Aggregate<Histogram> = soon(node.open("/sizes")).await.unwrap();
        let mut values = sketch::Histogram::new(&[2.0]).unwrap();
        values.record(share).unwrap();
        size.set(values).unwrap();
        sizes.push(size);
        let rate: Aggregate<Rate> = soon(node.open("/rate")).await.unwrap();
        rate.add(1_000).unwrap();
        rates.push(rate);
    }
    for node in 0..2 {
        while soon(latencies[node].next()).await.unwrap().quantiles().count() < 4 {}
        assert_eq!(latencies[node].get().unwrap().members, 2);
        while soon(keys[node].next()).await.unwrap().value != Some(24.0) {}
        let top = keys[node].get().unwrap().top();
        assert_eq!((top[0].key.as_ref(), top[0].weight, top[0].bound), (&b"both"[..], 10, 0));
        while soon(visitors[node].next()).await.unwrap().members < 2 {}
        let count = visitors[node].get().unwrap().value.unwrap();
        assert!((count - 4.0).abs() < 0.1, "{count} visitors");
        while soon(spread[node].next()).await.unwrap().deviation() != Some(1.0) {}
        while soon(highest[node].next()).await.unwrap().highest().len() < 2 {}
        assert_eq!(highest[node].get().unwrap().highest()[0].node, nodes[1].member().node);
        while soon(sizes[node].next()).await.unwrap().histogram().unwrap().counts() != [1, 1] {}
        while soon(rates[node].next()).await.unwrap().members < 2 {}
        assert!(rates[node].get().unwrap().value > Some(100.0));
    }
    let refused = keys[0].add("x".repeat(33), 1).unwrap_err().to_string();
    assert!(refused.contains("33 bytes"), "{refused}");
}

/// Every kind of share of which some counts for a while only, at one node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_added_is_summed_up() {
    let folder = tempfile::tempdir().unwrap();
    let [node, _other] = nodes(folder.path()).await;
    let span = Duration::from_secs(600);
    let mean: Aggregate<WeightedAverage> = soon(node.open("/mean")).await.unwrap();
    mean.record(1.0, 1.0).unwrap();
    mean.record_for(4.0, 2.0, span).unwrap();
    while soon(mean.next()).await.unwrap().value != Some(3.0) {}
    mean.set(7.0, 0.5).unwrap();
    while soon(mean.next()).await.unwrap().value != Some(7.0) {}
    let refused = mean.set(1.0, -1.0).unwrap_err().to_string();
    assert!(refused.contains("weight of -1"), "{refused}");
    let sum: Aggregate<Sum> = soon(node.open("/sum")).await.unwrap();
    sum.add(1.0).unwrap();
    sum.add_for(2.0, span).unwrap();
    while soon(sum.next()).await.unwrap().value != Some(3.0) {}
    let greatest: Aggregate<Max> = soon(node.open("/max")).await.unwrap();
    greatest.record(2.0).unwrap();
    greatest.record_for(1.0, span).unwrap();
    while soon(greatest.next()).await.unwrap().value != Some(2.0) {}
    let seen: Aggregate<Distinct> = soon(node.open("/visitors")).await.unwrap();
    ["a", "b"].iter().for_each(|item| seen.insert(item).unwrap());
    ["b", "c"].iter().for_each(|item| seen.insert_for(item, span).unwrap());
    let is_three = |value: f64| (value - 3.0).abs() < 0.1;
    while !soon(seen.next()).await.unwrap().value.is_some_and(is_three) {}
    let sizes: Aggregate<Histogram> = soon(node.open("/sizes")).await.unwrap();
    let values = |value: f64| {
        let mut values = sketch::Histogram::new(&[2.0]).unwrap();
        values.record(value).map(|()| values).unwrap()
    };
    sizes.add(values(1.0)).unwrap();
    sizes.add_for(values(3.0), span).unwrap();
    while soon(sizes.next()).await.unwrap().histogram().map(|it| it.counts()) != Some(&[1, 1]) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_why_is_told_and_misses_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = nodes(folder.path()).await;
    let mut members: Members = soon(one.open("/members")).await.unwrap();
    soon(members.wait_for(2)).await;
    let gone = other.member();
    other.stop().await;
    while soon(members.next()).await != Some(MembersEvent::Down(gone, Departure::Left)) {}
    let why = soon(members.why(gone.node.into())).await.unwrap();
    assert_eq!((why.node, why.is_whole), (gone.node, true));
    let [Testimony { witness, evidence }] = why.testimonies.as_slice() else { panic!("{why:?}") };
    assert_eq!((*witness, &evidence[0].finding), (one.member().node, &Finding::Left));
    let nobody: IdPrefix =
        if gone.node.to_string().starts_with('0') { "f0f" } else { "0f0" }.parse().unwrap();
    let error = soon(members.why(nobody)).await.unwrap_err();
    assert!(error.to_string().contains("is one of these meant? "), "{error}");
    assert_eq!(members.now(), [one.member()]);
    assert_eq!(soon(members.heard()).await.unwrap().len(), 0, "who is gone is not told of");
}
