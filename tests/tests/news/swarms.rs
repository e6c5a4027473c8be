//! Whatever happens, nobody hears a message twice, and when it is over all find the same.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip::Gossip;
use live_objects::{Command, Event, Name, ObjectId, ObjectType, TopicEvent};
use live_objects_sim::{Nemesis, Network, What, World};

use super::{PERIOD, ask, give, open, plain};

const NODES: usize = 7;

#[test]
fn after_a_swarm_of_faults_all_find_the_same_and_nobody_heard_anything_twice() {
    for seed in crate::seeds(40) {
        eprintln!("replay it: SEED={seed} cargo test -p tests after_a_swarm_of_faults_all_find");
        let mut world = World::new(seed, NODES, |_| vec![Box::new(Gossip::default())]);
        world.add_checker(live_objects_sim::MembersChecker::default());
        let network = Network { duplication: 0.05, ..Network::WAN };
        world.set_network(network);
        world.set_seeds(&[0, 3]);
        let [phones, news] = ["/phones", "/news"].map(id);
        for node in 0..NODES {
            world.start(node);
            enter(&mut world, node);
        }
        let (lasts, pause) = (Duration::from_secs(6), Duration::from_millis(700));
        let nemesis = Nemesis { lasts, pause, down_max: 3, loss_max: 0.3 };
        let mut said = 0;
        for part in 0..5 {
            let plan = nemesis.plan(NODES, 0.01, &mut world.rng(&format!("nemesis {part}")));
            world.play(&plan, enter);
            for node in 0..NODES {
                let command = Command::Send(format!("message {said}").into());
                give(&mut world, node, news, command);
                said += 1;
                let (key, value) = (format!("part {part}").into(), format!("{node}").into());
                give(&mut world, node, phones, Command::Publish { key, value });
                let key = format!("part {}", part + 1).into();
                give(&mut world, node, phones, Command::Withdraw(key));
            }
        }
        assert!(world.settle(Duration::from_secs(60)), "{:?}", world.stuck());
        world.run(30 * PERIOD);
        let all: Vec<_> = (0..NODES)
            .map(|node| {
                let listings = ask(&mut world, node, phones, Command::List("".into()));
                plain(&world, &listings)
            })
            .collect();
        assert!(all.iter().all(|found| *found == all[0]), "{all:?}");
        let last = all[0].iter().filter(|(key, ..)| key == "part 4").count();
        assert_eq!(last, NODES, "{:?}", all[0]);
        assert!(all[0].iter().filter(|(key, ..)| key == "life").count() == NODES);
        expect_nothing_twice(&world, news);
    }
}

fn id(name: &str) -> ObjectId {
    name.parse::<Name>().expect("a name").id()
}

/// What a node does when it starts.
fn enter(world: &mut World, node: usize) {
    crate::open_members(world, node, live_objects::Agreement::Eventual);
    let phones = open(world, [node], "/phones", &ObjectType::directory());
    open(world, [node], "/news", &ObjectType::best_effort_topic());
    let life = world.member(node).expect("it just started").incarnation;
    let value = life.as_bytes().to_vec().into();
    give(world, node, phones, Command::Publish { key: "life".into(), value });
}

fn expect_nothing_twice(world: &World, object: ObjectId) {
    let mut heard = vec![BTreeSet::new(); NODES];
    for record in world.history() {
        match &record.what {
            What::Started(_) => heard[record.node].clear(),
            What::Event(of, Event::Topic(TopicEvent::Message { from, bytes, .. }))
                if *of == object =>
            {
                let is_new = heard[record.node].insert((*from, bytes.clone()));
                assert!(is_new, "{bytes:?} from {from:?} again at {}", record.node);
            }
            _ => {}
        }
    }
}
