//! The stack under scripted modules and a driver that only records.

mod beside;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::event::{Command, Event};
use crate::feed::Taken;
use crate::module::Down;
use crate::node::{Incarnation, Member};
use crate::object::Kind;
use crate::port::EventsFull;
use crate::property::Agreement;
use crate::replica::{List, Snapshot};
use crate::signal::Signal;

/// One call of a module.
#[derive(Clone, PartialEq, Debug)]
enum Call {
    Handle(Input),
    Finish,
}

type Heard = (&'static str, Call);
type Script = Box<dyn FnMut(&Call, &mut Io<'_>) + Send>;

/// A module that notes what it hears and does what its script says.
struct Scripted {
    name: &'static str,
    cost: Option<Cost>,
    wake: Option<Time>,
    script: Script,
    heard: Option<Sender<Heard>>,
}

fn module(name: &'static str) -> Scripted {
    let cost = Some(Cost { copies: 1, overhead_bytes: 10 });
    Scripted { name, cost, wake: None, script: Box::new(|_, _| ()), heard: None }
}

impl Scripted {
    fn costs(mut self, copies: u32, overhead_bytes: u32) -> Self {
        self.cost = Some(Cost { copies, overhead_bytes });
        self
    }

    fn offers_nothing(mut self) -> Self {
        self.cost = None;
        self
    }

    fn wakes_at(mut self, wake: Time) -> Self {
        self.wake = Some(wake);
        self
    }

    fn does(mut self, script: impl FnMut(&Call, &mut Io<'_>) + Send + 'static) -> Self {
        self.script = Box::new(script);
        self
    }

    fn call(&mut self, call: Call, io: &mut Io<'_>) {
        (self.script)(&call, io);
        let heard = self.heard.as_ref().expect("a rig listens");
        heard.send((self.name, call)).expect("the rig outlives its stack");
    }
}

impl Module for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Offers its cost for kinds called after it, and for `any`.
    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        let is_ours = |kind| kind == self.name || kind == "any";
        match (&ty.kind, self.cost) {
            (Kind::Custom(kind), Some(cost)) if is_ours(kind) => Ok(cost),
            (kind, _) => Err(Lack::Kind(kind.clone())),
        }
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if input == Input::Wake {
            assert!(self.wake.take() <= Some(now), "woken early");
        }
        self.call(Call::Handle(input), io);
    }

    fn finish(&mut self, _: Time, io: &mut Io<'_>) {
        self.call(Call::Finish, io);
    }

    fn next_wake(&self) -> Option<Time> {
        self.wake
    }
}

/// What a stack sent, to the last byte, and what it asked of the disk.
#[derive(Default)]
struct Recorder {
    sent: Vec<(Vec<NodeId>, Via, Vec<u8>)>,
    asked: Vec<(&'static str, DiskWork)>,
}

const DATAGRAM_MAX: usize = 100;

impl Driver for Recorder {
    fn send(&mut self, to: Target<'_>, via: Via, by: Envelope, body: Bytes) -> Result<(), Full> {
        let bytes = [&by.to_bytes()[..], &body].concat();
        self.sent.push((to.nodes().to_vec(), via, bytes));
        Ok(())
    }

    fn room(&mut self, _: NodeId) -> usize {
        usize::MAX
    }

    fn datagram_max(&self, _: NodeId) -> usize {
        DATAGRAM_MAX
    }

    fn introduce(&mut self, _: Member, _: &[SocketAddr], _: &Bytes) {}

    fn credential(&self, _: NodeId) -> Bytes {
        Bytes::new()
    }

    fn dial(&mut self, _: SocketAddr) {}

    fn disk(&mut self, module: &'static str, work: DiskWork) {
        self.asked.push((module, work));
    }
}

struct Rig {
    stack: Stack,
    driver: Recorder,
    heard: Receiver<Heard>,
}

impl Rig {
    /// A stack of these modules, started.
    fn new(modules: Vec<Scripted>) -> Self {
        let mut rig = Self::before_start(modules);
        rig.stack.start(&start());
        rig.step([]);
        rig
    }

    fn before_start(modules: Vec<Scripted>) -> Self {
        let (sender, heard) = channel();
        let listen = |mut module: Scripted| -> Box<dyn Module> {
            module.heard = Some(sender.clone());
            Box::new(module)
        };
        let modules = modules.into_iter().map(listen).collect();
        let stack = Stack::new(modules, &Rng::from_seed([7; 32])).unwrap();
        Self { stack, driver: Recorder::default(), heard }
    }

    fn step(&mut self, arrivals: impl IntoIterator<Item = Arrival>) -> Vec<Heard> {
        self.step_at(Time::ZERO, arrivals)
    }

    fn step_at(&mut self, now: Time, arrivals: impl IntoIterator<Item = Arrival>) -> Vec<Heard> {
        self.stack.step(now, arrivals, &mut self.driver);
        self.heard.try_iter().collect()
    }

    fn open(&mut self, name: &str, kind: &str) -> Port {
        self.stack.open(spec(name, kind)).unwrap()
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; NodeId::LEN])
}

fn member(number: u8) -> Member {
    let incarnation = Incarnation::from_bytes([number; Incarnation::LEN]);
    Member { node: node(number), incarnation }
}

fn start() -> Start {
    Start {
        me: member(1),
        unix_ms: 0,
        addresses: Vec::new(),
        seeds: Vec::new(),
        credential: Bytes::new(),
    }
}

fn spec(name: &str, kind: &str) -> Spec {
    Spec::new(name.parse().unwrap(), ObjectType::custom(kind, Agreement::Eventual))
}

fn command(text: &str) -> Command {
    Command::Custom(Bytes::from(text.to_owned()))
}

fn datagram(module: &str, body: &[u8]) -> Arrival {
    Arrival::Datagram { from: node(2), bytes: enveloped(module, body) }
}

fn enveloped(module: &str, body: &[u8]) -> Bytes {
    let envelope = Envelope { module: ModuleTag::of(module) };
    Bytes::from([&envelope.to_bytes()[..], body].concat())
}

/// A datagram to the module `a`, to give it a step.
fn nudge() -> Arrival {
    datagram("a", b"nudge")
}

/// The inputs among what was heard.
fn inputs(heard: Vec<Heard>) -> Vec<(&'static str, Input)> {
    let input = |(name, call)| match call {
        Call::Handle(input) => Some((name, input)),
        Call::Finish => None,
    };
    heard.into_iter().filter_map(input).collect()
}

/// Who carries the object that was just opened.
fn carrier(rig: &mut Rig) -> &'static str {
    let heard = inputs(rig.step([]));
    let opened = |(name, input): &(_, Input)| matches!(input, Input::Open { .. }).then_some(*name);
    heard.iter().find_map(opened).expect("an object was opened")
}

// Opening.

#[test]
fn the_cheapest_module_gets_the_object_and_ties_go_by_name() {
    let mut rig = Rig::new(vec![
        module("c").costs(1, 10),
        module("b").costs(1, 9),
        module("a").costs(1, 9),
        module("d").costs(1, 0).offers_nothing(),
    ]);
    rig.open("/cheap", "any");
    assert_eq!(carrier(&mut rig), "a");
}

#[test]
fn modules_are_compared_at_the_size_of_the_messages() {
    let mut rig = Rig::new(vec![module("once").costs(1, 1_000), module("thrice").costs(3, 0)]);
    rig.stack.open(Spec { message_bytes: 499, ..spec("/small", "any") }).unwrap();
    assert_eq!(carrier(&mut rig), "thrice");
    rig.stack.open(Spec { message_bytes: 501, ..spec("/large", "any") }).unwrap();
    assert_eq!(carrier(&mut rig), "once");
}

#[test]
fn a_promise_that_nobody_keeps_names_who_was_asked() {
    let mut rig = Rig::new(vec![module("b"), module("a")]);
    let Err(refused) = rig.stack.open(spec("/odd", "odd")) else { panic!("nobody offers this") };
    let ty = ObjectType::custom("odd", Agreement::Eventual);
    let loaded = ["b", "a"].map(|name| (name, Lack::Kind(ty.kind.clone()))).to_vec();
    assert_eq!(refused, OpenError::NoModule { ty: ty.clone(), loaded });
    let told = "b: it does not carry objects of kind odd (custom); a: it does not carry";
    assert!(refused.to_string().contains(told), "{refused}");
}

#[test]
fn a_name_that_is_open_names_the_type_that_it_has() {
    let mut rig = Rig::new(vec![module("a"), module("b")]);
    rig.open("/taken", "a");
    let Err(refused) = rig.stack.open(spec("/taken", "b")) else { panic!("it is open") };
    let held = ObjectType::custom("a", Agreement::Eventual);
    let name = "/taken".parse().unwrap();
    assert_eq!(refused, OpenError::AlreadyOpen { name, held });
}

#[test]
fn a_closed_name_opens_again_in_the_same_breath() {
    let mut rig = Rig::new(vec![module("a")]);
    let old = rig.open("/again", "a");
    let object = old.object();
    rig.step([]);
    old.close();
    let new = rig.open("/again", "a");
    new.try_send(command("x")).unwrap();
    let spec = Arc::new(spec("/again", "a"));
    assert_eq!(
        inputs(rig.step([])),
        [
            ("a", Input::Close { object }),
            ("a", Input::Open { object, spec }),
            ("a", Input::Commands { object }),
        ]
    );
}

/// An object was closed and its name opened again before its module heard of either, perhaps by
/// another module: what the first still does for the old object must not reach the new one.
#[test]
fn a_module_not_yet_told_of_the_close_does_not_reach_the_new_object() {
    for (kind, expected) in [("a", vec![None, Some(command("new"))]), ("b", vec![None])] {
        let (sender, taken) = channel();
        let greeter = module("a").does(move |call, io| {
            if let Call::Handle(Input::Open { object, .. }) = call {
                assert_eq!(io.waiting(), None, "told of no commands yet");
                sender.send(io.take(*object, 9).map(|taken| taken.command)).unwrap();
                io.release(*object, 0);
                assert_eq!(io.emit(*object, Event::Opened), Ok(()));
            }
        });
        let mut rig = Rig::new(vec![greeter, module("b")]);
        rig.open("/again", "a").close();
        let new = rig.open("/again", kind);
        new.try_send(command("new")).unwrap();
        rig.step([]);
        assert_eq!(taken.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(new.try_next().is_some(), kind == "a");
        assert_eq!(new.try_next(), None, "no event of the old object");
    }
}

#[test]
fn modules_start_before_they_hear_of_objects() {
    let mut rig = Rig::before_start(vec![module("a"), module("b")]);
    let object = rig.open("/early", "b").object();
    rig.stack.start(&start());
    let spec = Arc::new(spec("/early", "b"));
    assert_eq!(
        inputs(rig.step([])),
        [
            ("a", Input::Start(start())),
            ("b", Input::Start(start())),
            ("b", Input::Open { object, spec }),
        ]
    );
}

#[test]
fn two_modules_with_one_tag_are_refused() {
    let mut seen: BTreeMap<ModuleTag, &'static str> = BTreeMap::new();
    let names = (0..).map(|number: u32| -> &'static str { format!("module{number}").leak() });
    let (first, second) = names
        .into_iter()
        .find_map(|name| seen.insert(ModuleTag::of(name), name).map(|first| (first, name)))
        .expect("there are 65,536 tags, and more names");
    let modules: Vec<Box<dyn Module>> = vec![Box::new(module(first)), Box::new(module(second))];
    let refused = Stack::new(modules, &Rng::from_seed([7; 32])).err();
    assert_eq!(refused, Some(LoadError::SameTag { first, second }));
}

#[test]
fn a_module_is_called_by_what_a_folder_can_be() {
    for name in ["", "Module", "raft_log", "../elsewhere"] {
        let refused = Stack::new(vec![Box::new(module(name))], &Rng::from_seed([7; 32])).err();
        assert_eq!(refused, Some(LoadError::Name(name)));
    }
}

// Routing.

#[test]
fn what_arrives_reaches_the_module_it_is_for() {
    let mut rig = Rig::new(vec![module("a"), module("b")]);
    let (from, link) = (node(2), Link::Down(Down::Silent));
    let heard = rig.step([
        Arrival::Datagram { from, bytes: enveloped("b", b"x") },
        Arrival::Message { from, bytes: enveloped("a", b"") },
        Arrival::Link { peer: from, link },
        Arrival::Room { to: from },
    ]);
    assert_eq!(
        inputs(heard),
        [
            ("b", Input::Datagram { from, bytes: Bytes::from_static(b"x") }),
            ("a", Input::Message { from, bytes: Bytes::new() }),
            ("a", Input::Link { peer: from, link }),
            ("b", Input::Link { peer: from, link }),
            ("a", Input::Room { to: from }),
            ("b", Input::Room { to: from }),
        ]
    );
}

#[test]
fn what_cannot_be_routed_is_counted_and_dropped() {
    let mut rig = Rig::new(vec![module("a")]);
    let from = node(2);
    let faults: [(&[u8], &str); 5] = [
        (&[], "stack.malformed"),
        (&[Envelope::VERSION, 0], "stack.malformed"),
        (&[0, 0, 0], "stack.malformed"),
        (&[Envelope::VERSION + 1, 0, 0], "stack.future_version"),
        (&enveloped("nobody", b""), "stack.unknown_module"),
    ];
    for (bytes, count) in faults {
        let bytes = Bytes::copy_from_slice(bytes);
        let before = rig.stack.counts().get(count);
        let heard = rig.step([
            Arrival::Datagram { from, bytes: bytes.clone() },
            Arrival::Message { from, bytes },
        ]);
        assert_eq!(heard, []);
        assert_eq!(rig.stack.counts().get(count), before + 2, "{count}");
    }
}

#[test]
fn a_signal_reaches_the_others_in_the_next_step_and_never_its_sender() {
    let watcher = module("a").does(move |call, io| {
        if let Call::Handle(Input::Datagram { .. }) = call {
            io.signal(Signal::Suspect(member(2)));
        }
    });
    let mut rig = Rig::new(vec![watcher, module("b"), module("c")]);
    assert_eq!(inputs(rig.step([nudge()])).len(), 1, "the datagram alone");
    assert_eq!(rig.stack.next_wake(), Some(Time::ZERO), "at once");
    let heard = inputs(rig.step([]));
    assert_eq!(heard, ["b", "c"].map(|name| (name, Input::Signal(Signal::Suspect(member(2))))));
    assert_eq!(rig.stack.next_wake(), None);
    assert_eq!(rig.step([]), []);
}

#[test]
fn a_step_is_finished_once_by_each_module_it_touched() {
    let mut rig = Rig::new(vec![module("a"), module("b"), module("c")]);
    let heard = rig.step([datagram("c", b"1"), datagram("a", b"2"), datagram("c", b"3")]);
    let finished = heard.iter().skip_while(|(_, call)| *call != Call::Finish);
    let finished: Vec<_> = finished.cloned().collect();
    assert_eq!(finished, [("a", Call::Finish), ("c", Call::Finish)], "and after all inputs");
}

#[test]
fn a_module_is_woken_when_its_time_has_come() {
    let later = |ms| Time::ZERO + Duration::from_millis(ms);
    let mut rig = Rig::new(vec![module("a").wakes_at(later(20)), module("b").wakes_at(later(10))]);
    assert_eq!(rig.stack.next_wake(), Some(later(10)));
    assert_eq!(rig.step_at(later(9), []), []);
    assert_eq!(inputs(rig.step_at(later(10), [])), [("b", Input::Wake)]);
    assert_eq!(rig.stack.next_wake(), Some(later(20)));
    assert_eq!(inputs(rig.step_at(later(30), [])), [("a", Input::Wake)]);
    assert_eq!(rig.stack.next_wake(), None);
}

// Feeds and events.

/// A module `a` that asks whose turn it is until nobody's is left, at the end of each step, and
/// takes one command from each object. What it took goes to the receiver.
fn taker() -> (Scripted, Receiver<(ObjectId, Command)>) {
    let (sender, taken) = channel();
    let taker = module("a").does(move |call, io| {
        if *call == Call::Finish {
            while let Some(object) = io.waiting() {
                let taken = io.take(object, usize::MAX).expect("it waits");
                sender.send((object, taken.command)).unwrap();
            }
        }
    });
    (taker, taken)
}

#[test]
fn objects_take_turns_and_each_has_one_in_a_step() {
    let (taker, taken) = taker();
    let mut rig = Rig::new(vec![taker]);
    let ports = ["/x", "/y", "/z"].map(|name| rig.open(name, "a"));
    let [x, y, z] = [0, 1, 2].map(|index: usize| ports[index].object());
    for (port, texts) in [(0, "123"), (1, "1"), (2, "12")] {
        texts.chars().for_each(|text| {
            ports[port].try_send(command(&text.to_string())).unwrap();
        });
    }
    let mut step = |arrivals: Vec<Arrival>| {
        rig.step(arrivals);
        taken.try_iter().collect::<Vec<_>>()
    };
    assert_eq!(step(vec![]), [(x, command("1")), (y, command("1")), (z, command("1"))]);
    assert_eq!(step(vec![]), [], "no input, no step, no turn");
    assert_eq!(step(vec![nudge()]), [(x, command("2")), (z, command("2"))]);
    // Who comes new has a turn in the same step.
    ports[1].try_send(command("2")).unwrap();
    assert_eq!(step(vec![]), [(x, command("3")), (y, command("2"))]);
    assert_eq!(step(vec![nudge()]), []);
}

#[test]
fn a_round_goes_on_where_the_last_step_left_it() {
    let (sender, turns) = channel();
    let taker = module("a").does(move |call, io| {
        if *call == Call::Finish
            && let Some(object) = io.waiting()
        {
            io.take(object, usize::MAX);
            sender.send(object).unwrap();
        }
    });
    let mut rig = Rig::new(vec![taker]);
    let ports = ["/x", "/y"].map(|name| rig.open(name, "a"));
    for port in &ports {
        ["1", "2"].into_iter().for_each(|text| {
            port.try_send(command(text)).unwrap();
        });
    }
    (0..5).for_each(|_| drop(rig.step([nudge()])));
    let [x, y] = ports.map(|port| port.object());
    assert_eq!(turns.try_iter().collect::<Vec<_>>(), [x, y, x, y]);
}

#[test]
fn commands_that_are_left_are_offered_again() {
    let (sender, offered) = channel();
    let busy = module("a").does(move |call, io| {
        if *call == Call::Finish {
            sender.send(io.waiting()).unwrap();
        }
    });
    let mut rig = Rig::new(vec![busy]);
    let port = rig.open("/x", "a");
    port.try_send(command("1")).unwrap();
    offered.try_iter().for_each(drop);
    (0..3).for_each(|_| drop(rig.step([nudge()])));
    assert_eq!(offered.try_iter().collect::<Vec<_>>(), [Some(port.object()); 3]);
    port.close();
    rig.step([nudge()]);
    assert_eq!(offered.try_iter().collect::<Vec<_>>(), [None], "closed");
}

#[test]
fn a_closed_object_costs_nobody_a_turn() {
    let (taker, taken) = taker();
    let mut rig = Rig::new(vec![taker]);
    let ports = ["/x", "/y", "/z"].map(|name| rig.open(name, "a"));
    for port in &ports {
        ["1", "2"].into_iter().for_each(|text| {
            port.try_send(command(text)).unwrap();
        });
    }
    rig.step([]);
    taken.try_iter().for_each(drop);
    ports[1].close();
    rig.step([nudge()]);
    let [x, _, z] = ports.map(|port| port.object());
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), [(x, command("2")), (z, command("2"))]);
}

#[test]
fn a_command_is_kept_until_released_and_may_be_taken_again() {
    let (sender, taken) = channel();
    let module = module("a").does(move |call, io| {
        let take = |object, bytes_max, io: &mut Io<'_>| {
            let taken: Option<Taken> = io.take(object, bytes_max);
            sender.send(taken.map(|taken| (taken.message, taken.offset, taken.last))).unwrap();
        };
        if let Call::Handle(Input::Commands { object }) = call {
            take(*object, 9, io);
            take(*object, 1, io);
            io.release(*object, 0);
            io.rewind(*object, 1);
            take(*object, 9, io);
            take(*object, 9, io);
        }
    });
    let mut rig = Rig::new(vec![module]);
    let port = rig.open("/x", "a");
    port.try_send(command("a")).unwrap();
    port.try_send(command("bc")).unwrap();
    rig.step([]);
    assert_eq!(
        taken.try_iter().collect::<Vec<_>>(),
        [Some((0, 0, true)), Some((1, 0, false)), Some((1, 0, true)), None]
    );
}

/// Nothing rings for commands that wait again because of a `rewind`: a module that heard of a new
/// view and rewound its feeds would have waited for somebody's next command to go on.
#[test]
fn what_was_rewound_is_offered_in_the_same_step() {
    let (sender, taken) = channel();
    let x = "/x".parse::<Name>().unwrap().id();
    let module = module("a").does(move |call, io| match call {
        Call::Handle(Input::Datagram { .. }) => io.rewind(x, 0),
        Call::Finish => {
            while let Some(object) = io.waiting() {
                while let Some(taken) = io.take(object, 9) {
                    sender.send(taken.command).unwrap();
                }
            }
        }
        Call::Handle(_) => (),
    });
    let mut rig = Rig::new(vec![module]);
    let port = rig.open("/x", "a");
    port.try_send(command("1")).unwrap();
    rig.step([]);
    // In this step it is found to have nothing left, and leaves the line.
    rig.step([Arrival::Room { to: node(2) }]);
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), [command("1")]);
    rig.step([nudge()]);
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), [command("1")]);
}

#[test]
fn a_full_event_queue_is_reported_and_so_is_its_end() {
    let event = || Event::Custom(Bytes::from(vec![0; Port::EVENTS_BYTES_MAX]));
    let (sender, emitted) = channel();
    let teller = module("a").does(move |call, io| {
        if let Call::Handle(Input::Open { object, .. } | Input::Drained { object }) = call {
            sender.send([io.emit(*object, event()), io.emit(*object, event())]).unwrap();
        }
    });
    let mut rig = Rig::new(vec![teller]);
    let port = rig.open("/x", "a");
    let object = port.object();
    rig.step([]);
    assert_eq!(rig.step([]), [], "nobody has read");
    assert_eq!(port.try_next(), Some(event()));
    assert_eq!(inputs(rig.step([])), [("a", Input::Drained { object })]);
    assert_eq!(emitted.try_iter().collect::<Vec<_>>(), [[Ok(()), Err(EventsFull)]; 2]);
}

#[test]
fn only_what_the_last_step_told_is_said_to_be_emitted() {
    let teller = module("a").does(|call, io| {
        if let Call::Handle(Input::Open { object, .. }) = call {
            io.emit(*object, Event::Opened).unwrap();
        }
    });
    let mut rig = Rig::new(vec![teller]);
    let object = rig.open("/x", "a").object();
    rig.step([]);
    assert_eq!(rig.stack.emitted(), [object]);
    rig.step([]);
    assert_eq!(rig.stack.emitted(), []);
}

#[test]
fn a_frozen_state_is_read_until_it_is_thawed() {
    let (sender, read) = channel();
    let reader = module("a").does(move |call, io| {
        if let Call::Handle(Input::Frozen { object }) = call {
            let cuts = [6, 7].map(|cut| io.read_frozen(*object, cut, 0, 9).is_some());
            io.thaw(*object, 7);
            sender.send((cuts, io.read_frozen(*object, 7, 0, 9))).unwrap();
        }
    });
    let mut rig = Rig::new(vec![reader]);
    let port = rig.open("/x", "a");
    rig.step([]);
    port.freeze(7, Snapshot::new(Box::new(List::<u8>::new())));
    assert_eq!(rig.stack.next_wake(), Some(Time::ZERO));
    assert_eq!(inputs(rig.step([])), [("a", Input::Frozen { object: port.object() })]);
    assert_eq!(read.try_iter().collect::<Vec<_>>(), [([false, true], None)]);
}

#[test]
#[should_panic(expected = "no business with another's objects")]
fn a_module_does_not_touch_anothers_objects() {
    let object = "/x".parse::<Name>().unwrap().id();
    let thief = module("b").does(move |call, io| {
        if let Call::Handle(Input::Datagram { .. }) = call {
            io.rewind(object, 0);
        }
    });
    let mut rig = Rig::new(vec![module("a"), thief]);
    let _port = rig.open("/x", "a");
    rig.step([datagram("b", b"")]);
}

// Sending.

/// A rig of one module that, in each step, sends to these nodes.
fn sender(nodes: Vec<NodeId>, via: Via, body_len: usize) -> Rig {
    let sender = module("a").does(move |call, io| {
        if let Call::Handle(Input::Datagram { .. }) = call {
            io.send(Target::Nodes(&nodes), via, Bytes::from(vec![7; body_len])).unwrap();
        }
    });
    let mut rig = Rig::new(vec![sender]);
    rig.step([nudge()]);
    rig
}

#[test]
fn a_message_goes_out_in_its_modules_envelope_to_others_only() {
    let rig = sender(vec![node(2), node(1), node(3)], Via::Control, 2);
    let bytes = enveloped("a", &[7, 7]).to_vec();
    assert_eq!(rig.driver.sent, [(vec![node(2), node(3)], Via::Control, bytes)]);
}

#[test]
fn a_datagram_and_its_envelope_fit_exactly() {
    let rig = sender(vec![node(2)], Via::Datagram, DATAGRAM_MAX - Envelope::LEN);
    assert_eq!(rig.driver.sent[0].2.len(), DATAGRAM_MAX);
}

#[test]
#[should_panic(expected = "a datagram of 98 bytes, 97 at most")]
fn a_longer_datagram_is_the_modules_fault() {
    sender(vec![node(2)], Via::Datagram, DATAGRAM_MAX - Envelope::LEN + 1);
}

// Stopping.

#[test]
fn modules_stop_one_after_another_and_the_last_loaded_first() {
    let polite = |name| {
        module(name).does(|call, io| {
            if *call == Call::Handle(Input::Stop) {
                io.stopped();
            }
        })
    };
    // This one needs an answer from somebody before it can stop.
    let slow = module("b").does(|call, io| {
        if let Call::Handle(Input::Datagram { .. }) = call {
            io.stopped();
        }
    });
    let mut rig = Rig::new(vec![polite("a"), slow, polite("c")]);
    rig.stack.stop();
    rig.stack.stop();
    assert_eq!(inputs(rig.step([])), [("c", Input::Stop)]);
    assert_eq!(inputs(rig.step([])), [("b", Input::Stop)]);
    assert_eq!(rig.step([]), [], "a waits for b");
    assert!(!rig.stack.is_stopped());
    rig.step([datagram("b", b"good-bye")]);
    assert_eq!(inputs(rig.step([])), [("a", Input::Stop)]);
    assert!(rig.stack.is_stopped());
    assert_eq!(rig.step([]), []);
}

#[test]
fn commands_given_before_the_stop_are_heard_of_before_it() {
    let mut rig = Rig::new(vec![module("a")]);
    let port = rig.open("/thing", "any");
    rig.step([]);
    port.try_send(Command::Custom(Bytes::new())).unwrap();
    rig.stack.stop();
    let object = port.object();
    let heard = inputs(rig.step([]));
    assert_eq!(heard, [("a", Input::Commands { object }), ("a", Input::Stop)]);
}

#[test]
fn objects_of_a_stack_that_is_gone_are_closed() {
    let mut rig = Rig::new(vec![module("a")]);
    let port = rig.open("/thing", "any");
    assert!(!port.is_closed());
    drop(rig);
    assert!(port.is_closed());
}

#[test]
fn a_module_that_said_good_bye_is_left_alone() {
    let stops = module("a").wakes_at(Time::from_nanos(9)).does(|call, io| {
        if *call == Call::Handle(Input::Stop) {
            io.stopped();
        }
    });
    let mut rig = Rig::new(vec![stops]);
    assert_eq!(rig.stack.next_wake(), Some(Time::from_nanos(9)));
    rig.stack.stop();
    rig.step([]);
    assert_eq!(rig.stack.next_wake(), None, "whatever it asked for");
    assert_eq!(rig.step_at(Time::from_nanos(9), [datagram("a", b"too late")]), []);
}

#[test]
fn a_stack_without_modules_runs_until_it_is_told_to_stop() {
    let mut rig = Rig::new(vec![]);
    rig.step([]);
    assert!(!rig.stack.is_stopped());
    rig.stack.stop();
    assert!(rig.stack.is_stopped());
}

#[test]
#[should_panic(expected = "a module stops when it is told to")]
fn a_module_does_not_stop_unasked() {
    let hasty = module("a").does(|_, io| io.stopped());
    Rig::new(vec![hasty]);
}
