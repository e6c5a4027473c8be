//! The root machine: the module as its node sees it. Only this file and the objects see inputs and
//! events.
//!
//! A step takes in what came, then (in `finish`) changes views if need be, delivers what can be
//! delivered, cuts frames as far as the credit goes, and says what is to be said: so a hundred
//! frames that came together are acknowledged once.

mod observers;
mod state;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Cost, Epoch, Input, Io, Kind, Lack, Member, Module, NodeId, ObjectId, ObjectType, Order,
    Properties, Rng, Signal, Spec, Start, Target, Time, Via, View,
};
use tracing::trace;

use self::observers::Observers;
use crate::config::{Config, Mutation};
use crate::configuration::{Configuration, Decision, News};
use crate::control::{Control, What};
use crate::groups::{Groups, Output};
use crate::live::Told;
use crate::map::{Change, Ended, Map};
use crate::objects::Objects;
use crate::outbox::{Outbox, With};
use crate::streams::Streams;
use crate::transfer::Pull;
use crate::wire::Packet;

/// The module "groupcomm".
#[derive(Default)]
pub struct Groupcomm {
    config: Config,
    member: Option<Agent>,
}

impl Groupcomm {
    /// A module of this configuration.
    pub fn new(config: Config) -> Self {
        Self { config, member: None }
    }
}

impl Module for Groupcomm {
    fn name(&self) -> &'static str {
        "groupcomm"
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        let keeps = Properties::virtual_synchrony(Order::Total);
        match ty.kind {
            Kind::Topic | Kind::Replicated if !ty.is_strong() => {
                Err(Lack::Excess("who opens one becomes a member of agreed views"))
            }
            // A view is said, promised, accepted and told.
            Kind::Members => Ok(Cost { copies: 4, overhead_bytes: 1_024 }),
            Kind::Topic | Kind::Replicated => {
                Lack::of(ty, keeps)?;
                Ok(Cost { copies: 1, overhead_bytes: 128 })
            }
            Kind::Custom(_)
            | Kind::Aggregate(_)
            | Kind::Directory
            | Kind::Nearest
            | Kind::Catalog
            | Kind::Overlay(_)
            | Kind::Query(_) => Err(Lack::Kind(ty.kind.clone())),
        }
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if let Input::Start(start) = &input {
            self.member = Some(Agent::new(start, self.config, io.rng()));
        } else if let Some(member) = &mut self.member {
            member.handle(now, input, io);
        }
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        if let Some(member) = &mut self.member {
            member.finish(now, io);
        }
    }

    fn next_wake(&self) -> Option<Time> {
        self.member.as_ref()?.next_wake()
    }
}

/// A node's part, from its start on.
struct Agent {
    me: Member,
    config: Config,
    rng: Rng,
    configuration: Configuration,
    streams: Streams,
    groups: Groups,
    objects: Objects,
    observers: Observers,
    outbox: Outbox,
    /// The group map at the beginning of the present view, for those who joined in it.
    map_at_cut: Option<(u64, Bytes)>,
    /// The group map that is being fetched, and as much as came of it.
    map_pull: Option<(Pull, Vec<u8>)>,
    /// Asked to stop: when it asks to be let out, at the latest, and until when it waits for that.
    leaves_by: Option<Time>,
    stops_by: Option<Time>,
    is_stopped: bool,
    /// So much waits for applications that this member acknowledges nothing more.
    is_choked: bool,
    /// There is more to do at once.
    wakes_at: Option<Time>,
}

impl Agent {
    fn new(start: &Start, config: Config, rng: &Rng) -> Self {
        let me = start.me;
        Self {
            me,
            config,
            rng: rng.fork("agent"),
            configuration: Configuration::new(me, config, rng.fork("configuration")),
            streams: Streams::of_no_view(rng.fork("no view")),
            groups: Groups::new(me),
            objects: Objects::default(),
            observers: Observers::default(),
            outbox: Outbox::default(),
            map_at_cut: None,
            map_pull: None,
            leaves_by: None,
            stops_by: None,
            is_stopped: false,
            is_choked: false,
            wakes_at: None,
        }
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Open { object, spec } => self.on_open(now, object, spec, io),
            Input::Close { object } => {
                io.signal(Signal::Closed(object));
                self.observers.close(object);
                self.outbox.forget(object);
                if let Some(change) = self.objects.close(object) {
                    self.outbox.say(change);
                }
            }
            Input::Commands { object } => self.observers.on_commands(object, io),
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes, io),
            Input::Message { from, bytes } => self.on_message(now, from, &bytes, io),
            Input::Signal(signal) => self.on_signal(now, signal),
            Input::Stop => {
                self.leaves_by = Some(now + FAREWELL / 2);
                self.stops_by = Some(now + FAREWELL);
            }
            // A lost link loses messages, all of which are said again by the clock. Nothing is kept
            // on disk and nothing done beside the loop.
            Input::Wake
            | Input::Posted
            | Input::Done { .. }
            | Input::Drained { .. }
            | Input::Frozen { .. }
            | Input::Link { .. }
            | Input::Room { .. }
            | Input::Start(_) => {}
        }
    }

    fn on_open(&mut self, now: Time, object: ObjectId, spec: Arc<Spec>, io: &mut Io<'_>) {
        self.configuration.enter(now);
        self.on_news(now, io);
        if spec.ty.kind == Kind::Members {
            io.signal(Signal::Open(object, spec));
            self.observers.open(object, self.configuration.view());
        } else {
            let change = self.objects.open(now, object, spec);
            self.outbox.say(change);
        }
    }

    fn on_datagram(&mut self, now: Time, from: NodeId, bytes: Bytes, io: &mut Io<'_>) {
        let (tag, packet) = match Packet::decode(bytes.clone()) {
            Ok(decoded) => decoded,
            Err(error) => {
                trace!(?from, %error, "datagram dropped");
                io.count("groupcomm.malformed");
                return;
            }
        };
        let is_sane = if tag == self.streams.tag() {
            if let (Packet::Data(frame), Some(Mutation::DeliverTwice)) =
                (&packet, self.config.mutation)
                && self.streams.has(frame)
            {
                self.groups.deliver_again(frame);
            }
            self.streams.on_packet(now, from, packet, bytes)
        } else {
            io.count("groupcomm.other_view");
            true
        };
        if !is_sane {
            io.count("groupcomm.absurd");
        }
    }

    fn on_message(&mut self, now: Time, from: NodeId, bytes: &Bytes, io: &mut Io<'_>) {
        match Control::decode(bytes) {
            Ok(Control::Pull(what, offset)) => self.on_pull(from, what, offset, io),
            Ok(Control::Chunk(chunk)) => self.on_chunk(now, from, chunk, io),
            Ok(Control::Lacking(what)) => self.on_lacking(now, what),
            Ok(message) => {
                self.configuration.on_message(now, from, message, &mut self.streams);
                self.on_news(now, io);
            }
            Err(error) => {
                trace!(?from, %error, "message dropped");
                io.count("groupcomm.malformed");
            }
        }
    }

    fn on_signal(&mut self, now: Time, signal: Signal) {
        match signal {
            Signal::Alive(member) => self.configuration.on_alive(now, member),
            Signal::Faulty(member) | Signal::Left(member) => {
                self.configuration.on_gone(now, member);
            }
            Signal::Suspect(_) | Signal::Open(..) | Signal::Closed(_) => {}
        }
        self.objects.on_reach(self.configuration.is_cut_off());
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        self.wakes_at = None;
        if self.leaves_by.is_some_and(|by| now >= by || !self.groups.is_needed()) {
            self.leaves_by = None;
            self.configuration.leave(now);
        }
        self.configuration.on_wake(now, &mut self.streams);
        self.on_news(now, io);
        self.configuration.on_progress(now, &mut self.streams);
        self.on_news(now, io);
        self.exchange(now, io);
        self.fetch(now, io);
        self.objects.on_no_primary(now);
        for (object, change) in self.objects.flush(now, self.is_choked, io) {
            io.count("groupcomm.too_slow");
            self.outbox.forget(object);
            self.outbox.say(change);
            self.wakes_at = Some(now);
        }
        self.observers.flush(io);
        for (to, message) in std::mem::take(&mut self.configuration.out) {
            if io.send(Target::Node(to), Via::Control, message.encode()).is_err() {
                // All that matters is said again, or asked for.
                io.count("groupcomm.no_room");
            }
        }
        let is_out = self.leaves_by.is_none() && self.configuration.is_out();
        let is_over = self.stops_by.is_some_and(|by| is_out || now >= by);
        if is_over && !std::mem::replace(&mut self.is_stopped, true) {
            io.stopped();
        }
    }

    /// Delivers what came, sends what can be sent, and both again for what that brought about.
    fn exchange(&mut self, now: Time, io: &mut Io<'_>) {
        self.outbox.begin();
        loop {
            self.deliver(now, io);
            let Self { outbox, streams, groups, objects, .. } = self;
            if !outbox.cut(now, io, With { streams, groups, objects }) {
                break;
            }
        }
        self.outbox.confirm(&self.streams, self.config.mutation, io, &mut self.objects);
        // Only what can be relieved without others' help counts: they are not acknowledged.
        let is_mapless = self.groups.map().is_none();
        let unread = self.objects.bytes();
        let backlog = if is_mapless { unread + self.groups.bytes() } else { unread };
        self.is_choked = backlog > BACKLOG_BYTES_MAX;
        self.streams.set_choked(self.is_choked);
        for (to, packet) in self.streams.finish(now) {
            if io.send(Target::Node(to), Via::Datagram, packet).is_err() {
                io.count("groupcomm.no_room");
            }
        }
        if self.outbox.is_hungry() && self.streams.has_credit() {
            self.wakes_at = Some(now);
        }
    }

    /// Goes through the frames that came in order.
    fn deliver(&mut self, now: Time, io: &mut Io<'_>) {
        let is_sequencer = self.streams.me() == 0 && !self.streams.is_wedged();
        while let Some(frame) = self.streams.next_fresh() {
            if is_sequencer && frame.origin != 0 {
                let has_total = frame.has_total();
                self.outbox.order(frame.origin, frame.number, frame.map, has_total);
            }
            self.groups.push(frame);
        }
        self.groups.on_stable(self.streams.all_stable());
        self.groups.deliver();
        self.on_outputs(now, io);
    }

    fn on_outputs(&mut self, now: Time, io: &mut Io<'_>) {
        for _ in 0..std::mem::take(&mut self.groups.absurd) {
            io.count("groupcomm.absurd");
        }
        for output in self.groups.outputs() {
            match output {
                Output::Regrouping { object } => {
                    self.outbox.on_regrouping(object, io, &mut self.objects);
                }
                Output::Joined { object, group, session, number } => {
                    let joined = self.objects.on_joined(object, session, group, number);
                    if joined == Some(false) {
                        // It was given up before.
                        self.outbox.say(Change::Leave { object, session });
                    }
                }
                Output::Refused { object, session, held } => {
                    if let Some(open) = self.objects.get(object)
                        && open.session == session
                    {
                        open.on_refused(held);
                    }
                }
                Output::Told { object, told } => self.on_told(now, object, told),
                Output::Orphaned { object, group } => {
                    let held = self.groups.map().and_then(|map| map.group(group));
                    let open = self.objects.get(object);
                    if let (Some(held), Some(open)) = (held, open)
                        && let Some(answer) = held.answer(group, open.has_state())
                    {
                        self.outbox.say(answer);
                    }
                }
                Output::Complete { object, cut } => io.thaw(object, cut),
            }
        }
    }

    fn on_told(&mut self, now: Time, object: ObjectId, told: Told) {
        let Some(open) = self.objects.get(object) else { return };
        match told {
            Told::Installed(change) => {
                let Some(present) = self.configuration.view() else { return };
                if !change.after.contains(&self.me) {
                    return;
                }
                let epoch = Epoch { number: change.number, ..present.epoch };
                let view = View { epoch, members: change.after.clone() };
                open.on_installed(now, view, &change);
            }
            Told::Cut { cut, by } => open.on_cut(now, cut, by == self.me),
            Told::Message(message) => {
                let session = message.session.filter(|session| *session == open.session);
                let own = session.map(|_| message.number);
                open.on_message(message.from, own, message.bytes);
                if let Some(number) = own {
                    self.outbox.on_delivered(object, number, message.ordered_by);
                }
            }
        }
    }

    fn on_news(&mut self, now: Time, io: &mut Io<'_>) {
        for news in std::mem::take(&mut self.configuration.news) {
            match news {
                News::Installed(decision) => {
                    self.install(now, &decision, io);
                    self.observers.on_view(&decision.view);
                }
                News::Foreign(cluster, node) => self.observers.on_foreign(cluster, node),
                News::Outside => {
                    self.objects.step_out(now);
                    self.groups.step_out();
                    self.outbox.step_out(&self.streams);
                    self.streams = Streams::of_no_view(self.rng.fork("no view"));
                    self.map_at_cut = None;
                    self.map_pull = None;
                    self.observers.on_outside();
                }
            }
        }
    }

    /// Ends the view that this member was in, if it was in one, and begins the next.
    fn install(&mut self, now: Time, decision: &Decision, io: &mut Io<'_>) {
        let Decision { view, cut } = decision;
        let old = self.streams.members().to_vec();
        if !old.is_empty() {
            self.streams.finish_at(&cut.trim);
            while let Some(frame) = self.streams.next_fresh() {
                self.groups.push(frame);
            }
            self.groups.end_view();
            self.on_outputs(now, io);
            let trim = cut.trim[self.streams.me()];
            self.outbox.end_view(trim, io, &mut self.objects);
        }
        let tag = self.streams.tag();
        let ended = (!old.is_empty()).then_some(Ended { tag, members: &old, trim: &cut.trim });
        let rng = self.rng.fork(&format!("streams {}", view.epoch.number));
        self.streams = Streams::new(view, self.me, rng);
        self.groups.begin_view(view, ended, cut.is_reset.then(Map::default));
        self.on_outputs(now, io);
        self.map_at_cut = None;
        self.map_pull = None;
        if let Some(map) = self.groups.map() {
            if view.members.iter().any(|member| !old.contains(member)) {
                self.map_at_cut = Some((view.epoch.number, map.to_bytes()));
            }
            self.on_map(io, cut.is_reset);
        } else {
            self.map_pull = Some((Pull::new(What::Map(view.epoch.number), now), Vec::new()));
        }
    }

    fn next_wake(&self) -> Option<Time> {
        let wakes = [
            self.configuration.next_wake(),
            self.streams.next_wake(),
            self.map_pull.as_ref().map(|(pull, _)| pull.next_wake()),
            self.objects.pulls_at(),
            self.objects.closes_at(),
            self.objects.refuses_at(),
            self.leaves_by,
            self.stops_by,
            self.wakes_at,
        ];
        wakes.into_iter().flatten().min()
    }
}

/// How long a node that stops waits for a view without it, and half as long for others to get the
/// states that they may have from nobody else.
const FAREWELL: Duration = Duration::from_secs(5);
/// How many bytes may wait for applications, and for what must come before, until this member
/// acknowledges nothing more.
const BACKLOG_BYTES_MAX: usize = 8 << 20;
