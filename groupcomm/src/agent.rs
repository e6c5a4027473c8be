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
    Properties, Rng, Signal, Spec, Start, Time, Via, View,
};
use tracing::trace;

use self::observers::Observers;
use crate::config::{Config, Mutation};
use crate::configuration::{Configuration, Decision, News};
use crate::control::{Control, Cut, What};
use crate::groups::{Groups, Output};
use crate::live::{Message, Told};
use crate::map::{Change, Ended, Map};
use crate::objects::Objects;
use crate::outbox::{Outbox, With};
use crate::post;
use crate::regions::{ROOT, Regions, Taken};
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
    regions: Regions,
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
            regions: Regions::new(me, rng.fork("regions")),
            groups: Groups::new(me, config),
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
                self.outbox.forget(object, &mut self.regions);
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
        if let (Packet::Data(frame), Some(Mutation::DeliverTwice)) = (&packet, self.config.mutation)
            && let Some(origin) = self.regions.sender_again(tag, frame)
        {
            self.groups.deliver_again(origin, frame);
        }
        match self.regions.on_packet(now, from, (tag, packet), bytes) {
            Taken::In => {}
            Taken::Elsewhere => io.count("groupcomm.other_region"),
            Taken::Absurd => io.count("groupcomm.absurd"),
        }
    }

    fn on_message(&mut self, now: Time, from: NodeId, bytes: &Bytes, io: &mut Io<'_>) {
        match Control::decode(bytes) {
            Ok(Control::Pull(what, offset)) => self.on_pull(from, what, offset, io),
            Ok(Control::Chunk(chunk)) => self.on_chunk(now, from, chunk, io),
            Ok(Control::Lacking(what)) => self.on_lacking(now, what),
            Ok(message) => {
                self.configuration.on_message(now, from, message, &mut self.regions);
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
        self.configuration.on_wake(now, &mut self.regions);
        self.on_news(now, io);
        self.configuration.on_progress(now, &mut self.regions);
        self.on_news(now, io);
        self.exchange(now, io);
        self.fetch(now, io);
        self.objects.on_no_primary(now);
        for (object, change) in self.objects.flush(now, self.is_choked, io) {
            io.count("groupcomm.too_slow");
            self.outbox.forget(object, &mut self.regions);
            self.outbox.say(change);
            self.wakes_at = Some(now);
        }
        self.observers.flush(io);
        io.gauge("groupcomm.regions", self.regions.len());
        io.gauge("groupcomm.kept_bytes", self.regions.kept_bytes());
        for (to, message) in std::mem::take(&mut self.configuration.out) {
            post::message(to, Via::Control, &message, io);
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
        self.regions.wake(now);
        loop {
            self.deliver(now, io);
            let Self { outbox, regions, groups, objects, .. } = self;
            if !outbox.cut(now, io, With { regions, groups, objects }) {
                break;
            }
        }
        let Self { outbox, regions, groups, objects, .. } = self;
        outbox.confirm(self.config.mutation, io, regions, objects);
        self.is_choked = objects.bytes() > BACKLOG_BYTES_MAX;
        regions.set_choked(self.is_choked);
        for (to, packet) in regions.finish(now, |region| groups.awaits(region)) {
            post::datagram(&[to], packet, io);
        }
        if self.outbox.is_hungry() {
            self.wakes_at = Some(now);
        }
    }

    /// Goes through the frames that came in order.
    fn deliver(&mut self, now: Time, io: &mut Io<'_>) {
        self.regions.take_in();
        self.groups.deliver(&mut self.regions);
        self.on_outputs(now, io);
    }

    fn on_outputs(&mut self, now: Time, io: &mut Io<'_>) {
        let tally = std::mem::take(&mut self.groups.tally);
        for (name, count) in [
            ("groupcomm.wanted", tally.wanted),
            ("groupcomm.unwanted", tally.unwanted),
            ("groupcomm.absurd", tally.absurd),
        ] {
            if count > 0 {
                io.count_many(name, count);
            }
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
                let view = View { epoch, members: change.after.to_vec() };
                open.on_installed(now, view, &change);
            }
            Told::Cut { cut, by } => open.on_cut(now, cut, by == self.me),
            Told::Message(mut message) => {
                if !spoil(self.config, self.me, &mut message) {
                    return;
                }
                let session = message.session.filter(|session| *session == open.session);
                let own = session.map(|_| message.number);
                open.on_message(message.from, own, message.bytes);
                let Some(number) = own else { return };
                match self.regions.get_mut(message.region) {
                    Some(region) => {
                        region.sending.on_delivered(object, number, message.ordered_by);
                    }
                    None => self.outbox.on_delivered(object, number, message.ordered_by),
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
                    self.outbox.step_out(&mut self.regions);
                    self.regions.clear();
                    self.map_at_cut = None;
                    self.map_pull = None;
                    self.observers.on_outside();
                }
            }
        }
    }

    /// Ends the view that this member was in, if it was in one, and begins the next. Only regions
    /// that lose a member end with it, and the root, which is the first: what it says to the end
    /// the others may wait for.
    fn install(&mut self, now: Time, decision: &Decision, io: &mut Io<'_>) {
        let Decision { view, cut } = decision;
        let nowhere = Cut::default();
        let end = if self.config.plants(Mutation::SkipTrim) { &nowhere } else { cut };
        let old: Vec<Member> =
            self.regions.get(ROOT).map_or(Vec::new(), |root| root.streams.members().to_vec());
        let mut closed = Vec::new();
        if !old.is_empty() {
            self.regions.close(ROOT, cut);
            self.groups.look_again();
            closed.push(ROOT);
            self.groups.deliver(&mut self.regions);
            for id in self.regions.ending(view).into_iter().filter(|id| *id != ROOT) {
                self.regions.close(id, end);
                closed.push(id);
            }
            self.groups.look_again();
            self.groups.deliver(&mut self.regions);
            self.on_outputs(now, io);
            self.outbox.close(&closed, io, &mut self.regions, &mut self.objects);
        }
        let ended: Vec<Ended> = ended(&old, view, cut);
        let map = cut.is_reset.then(Map::default);
        let effects = self.groups.begin_view(view, &ended, map);
        self.regions.go_on(&closed);
        self.regions.begin_view(view);
        self.groups.on_begun(effects, &mut self.regions);
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
            self.regions.next_wake(),
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

/// Where streams of the members of a view ended with it, of what was said in groups.
fn ended(members: &[Member], view: &View, cut: &Cut) -> Vec<Ended> {
    let place = |of: u16| members.get(usize::from(of)).copied();
    let is_lost = |of: u16| place(of).is_none_or(|member| !view.has(member));
    let closed = cut
        .trim
        .iter()
        .filter(|(region, trim)| **region != ROOT && trim.iter().any(|(of, _)| is_lost(*of)));
    let lasts =
        closed.flat_map(|(region, trim)| trim.iter().map(|(of, last)| (*region, *of, *last)));
    let said = lasts.filter(|(_, _, last)| *last > 0);
    said.filter_map(|(region, of, last)| Some(Ended { member: place(of)?, region, last })).collect()
}

/// Planted bugs: what becomes of a message. Tells whether it is delivered.
fn spoil(config: Config, me: Member, message: &mut Message) -> bool {
    let is_chosen = message.number % 16 == 15;
    if is_chosen && config.plants(Mutation::AlterMessage) {
        message.bytes = message.bytes.iter().map(|byte| byte ^ 1).collect();
    }
    !(is_chosen && config.plants(Mutation::LoseMessage) && message.from < me)
}

/// How long a node that stops waits for a view without it, and half as long for others to get the
/// states that they may have from nobody else.
const FAREWELL: Duration = Duration::from_secs(5);
/// How many bytes may wait for applications, and for what must come before, until this member
/// acknowledges nothing more.
const BACKLOG_BYTES_MAX: usize = 8 << 20;
