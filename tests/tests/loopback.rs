//! Clusters of a few nodes on real sockets of this machine, found by their folder.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use gossip::Gossip;
use groupcomm::{Config, Founding, Groupcomm};
use live_objects::{
    Agreement, Command, Event, Frozen, List, Member, MembersEvent, ObjectType, Order, Port,
    Replica, RestoreError, Spec, State, TopicEvent, View,
};
use live_objects_net::{Authority, Folder, Identity, Node, Presence};

/// What everybody noted, in order.
#[derive(Default)]
struct Notes(List<String>);

impl State for Notes {
    type Update = String;
    type Reply = ();

    fn apply(&mut self, _by: Member, note: String) {
        self.0.push(note);
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.0.clone())
    }

    fn restore(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.0.restore(record)
    }
}

/// A node, and the objects that it has open.
struct Site {
    node: Node,
    identity: Identity,
    _presence: Presence,
    members: Port,
    topic: Port,
    notes: Replica<Notes>,
    notes_port: Port,
}

impl Site {
    async fn start(folder: &Path) -> Self {
        let entry = Folder::at(folder).expect("a folder of this user").enter().expect("its turn");
        let founding = if entry.is_founder() { Founding::Alone } else { Founding::Wait };
        let groupcomm = Groupcomm::new(Config { founding, ..Config::default() });
        // One that can be revoked, other than those that a folder gives.
        let authority = Authority::load(folder).expect("the first to enter made one");
        let identity = authority.sign(folder).expect("the folder can be written");
        let config = live_objects_net::Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            advertise: Vec::new(),
            seeds: entry.living().to_vec(),
            identity: Some(identity.clone()),
            disk: None,
        };
        let node = Node::start(config, vec![Box::new(Gossip::default()), Box::new(groupcomm)]);
        let node = node.await.expect("the system gives a port");
        let presence = entry.announce(node.address()).expect("the folder can be written");
        let members = open(&node, "/members", ObjectType::members(Agreement::Views)).await;
        let topic = open(&node, "/topic", ObjectType::topic(Order::Total)).await;
        let notes_port = open(&node, "/notes", ObjectType::replicated()).await;
        let notes = Replica::new(notes_port.clone(), Notes::default);
        Self { node, identity, _presence: presence, members, topic, notes, notes_port }
    }

    /// Waits for a view of so many members, of the cluster and of the topic.
    async fn hear_views(&self, members: usize) -> [View; 2] {
        let is_due = |view: View| (view.members.len() == members).then_some(view);
        let cluster = hear(&self.members, |event| match event {
            Event::Members(MembersEvent::View(view)) => is_due(view),
            _ => None,
        });
        let topic = hear(&self.topic, |event| match event {
            Event::Topic(TopicEvent::View(view)) => is_due(view),
            _ => None,
        });
        [cluster.await, topic.await]
    }

    fn say(&self, text: &str) {
        let message = Command::Send(Bytes::copy_from_slice(text.as_bytes()));
        self.topic.try_send(message).expect("there is room");
        self.notes.update(&text.to_owned()).expect("there is room");
    }

    /// Waits until so many messages were heard, and returns them in order.
    async fn hear_messages(&self, count: usize) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.len() < count {
            let bytes = hear(&self.topic, |event| match event {
                Event::Topic(TopicEvent::Message { bytes, .. }) => Some(bytes),
                _ => None,
            });
            heard.push(String::from_utf8_lossy(&bytes.await).into_owned());
        }
        heard
    }

    /// Waits until there are so many notes, and returns them in order.
    async fn hear_notes(&mut self, count: usize) -> Vec<String> {
        loop {
            let notes = self.notes.state().filter(|notes| notes.0.len() >= count);
            if let Some(notes) = notes {
                return notes.0.iter().cloned().collect();
            }
            let event = hear(&self.notes_port, Some).await;
            self.notes.on_event(&event);
        }
    }
}

async fn open(node: &Node, name: &str, ty: ObjectType) -> Port {
    let spec = Spec::new(name.parse().expect("a name"), ty);
    node.open(spec).await.expect("a module carries it")
}

/// Waits for an event that is looked for; others are passed over.
async fn hear<T>(port: &Port, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    let heard = async {
        loop {
            let event = poll_fn(|context| port.poll_next(context)).await;
            if let Some(picked) = pick(event.expect("the object is open")) {
                return picked;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("it is heard in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_and_two_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("cluster");
    let mut sites = Vec::new();
    for _ in 0..3 {
        sites.push(Site::start(&folder).await);
    }
    for site in &sites {
        site.hear_views(3).await;
    }

    let said = ["a", "b", "c"].map(|who| [1, 2, 3].map(|number| format!("{who}{number}")));
    for (site, texts) in sites.iter().zip(&said) {
        texts.iter().for_each(|text| site.say(text));
    }
    let all: BTreeSet<String> = said.into_iter().flatten().collect();
    let mut heard = Vec::new();
    for site in &mut sites {
        heard.push((site.hear_messages(all.len()).await, site.hear_notes(all.len()).await));
    }
    assert!(heard.iter().all(|each| *each == heard[0]), "in one order: {heard:?}");
    assert_eq!(heard[0].0.iter().cloned().collect::<BTreeSet<_>>(), all);
    assert_eq!(heard[0].1.iter().cloned().collect::<BTreeSet<_>>(), all);

    let gone = sites.pop().expect("there are three").node.member();
    for site in &sites {
        let views = site.hear_views(2).await;
        assert!(views.iter().all(|view| !view.has(gone)), "{views:?}");
    }
    sites[0].say("after");
    for site in &mut sites {
        assert_eq!(site.hear_messages(1).await, ["after"]);
        assert_eq!(site.hear_notes(all.len() + 1).await.last().map(String::as_str), Some("after"));
    }
    for site in sites {
        site.node.stop().await;
    }
}

/// The identity, with whom the authority in this folder has revoked.
fn informed(identity: &Identity, cluster: &Path) -> Identity {
    let folder = tempfile::tempdir().expect("a folder");
    identity.save(folder.path()).expect("it can be written");
    std::fs::copy(cluster.join("ca.crl"), folder.path().join("ca.crl")).expect("somebody was");
    Identity::load(folder.path()).expect("it was just saved")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_in_no_later_view() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("cluster");
    let mut sites = Vec::new();
    for _ in 0..4 {
        sites.push(Site::start(&folder).await);
    }
    for site in &sites {
        site.hear_views(4).await;
    }
    let revoked = sites.remove(1);
    let mut authority = Authority::load(&folder).expect("the cluster has one");
    authority.revoke(&folder, revoked.node.member().node).expect("it is a node");
    for site in &sites {
        let identity = informed(&site.identity, &folder);
        site.node.renew(identity).await.expect("it is the same node's");
    }
    for site in &sites {
        let views = site.hear_views(3).await;
        assert!(views.iter().all(|view| !view.has(revoked.node.member())), "{views:?}");
    }
    for said in ["one", "two"] {
        sites[0].say(said);
        for site in &sites {
            assert_eq!(site.hear_messages(1).await, [said]);
        }
    }
    for site in sites {
        site.node.stop().await;
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
