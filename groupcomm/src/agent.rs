//! The root machine: the module as its node sees it. Only this file sees inputs, events and
//! signals.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Cost, Event, Input, Io, Kind, MembersEvent, Module, NodeId, ObjectId, ObjectType, Signal,
    Start, Target, Time, Via,
};
use tracing::trace;

use crate::config::Config;
use crate::configuration::{Configuration, News};
use crate::control::Control;

/// The module "groupcomm".
#[derive(Default)]
pub struct Groupcomm {
    config: Config,
    configuration: Option<Configuration>,
    /// The open objects, and what each has not been told for want of room.
    objects: BTreeMap<ObjectId, Vec<Event>>,
    /// Asked to stop: until when it waits for a view without it.
    stops_by: Option<Time>,
    is_stopped: bool,
}

impl Groupcomm {
    /// A module of this configuration.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    fn on_start(&mut self, start: &Start, io: &mut Io<'_>) {
        let rng = io.rng().fork("configuration");
        self.configuration = Some(Configuration::new(start.me, self.config, rng));
    }

    fn on_open(&mut self, now: Time, object: ObjectId) {
        let configuration = self.configuration.as_mut().expect("started before it opens");
        configuration.enter(now);
        let mut events = vec![Event::Opened];
        // What was installed in this very step is told to all below.
        if configuration.news.is_empty() {
            events
                .extend(configuration.view().cloned().map(MembersEvent::View).map(Event::Members));
        }
        self.objects.insert(object, events);
    }

    fn on_message(&mut self, now: Time, from: NodeId, bytes: &Bytes, io: &mut Io<'_>) {
        match Control::decode(bytes) {
            Ok(message) => {
                if let Some(configuration) = &mut self.configuration {
                    configuration.on_message(now, from, message);
                }
            }
            Err(error) => {
                trace!(?from, %error, "message dropped");
                io.count("groupcomm.malformed");
            }
        }
    }

    fn on_signal(&mut self, now: Time, signal: Signal) {
        let Some(configuration) = &mut self.configuration else { return };
        match signal {
            Signal::Alive(member) => configuration.on_alive(now, member),
            Signal::Faulty(member) | Signal::Left(member) => configuration.on_gone(now, member),
            Signal::Suspect(_) => {}
        }
    }

    fn on_stop(&mut self, now: Time) {
        self.stops_by = Some(now + FAREWELL);
        if let Some(configuration) = &mut self.configuration {
            configuration.leave(now);
        }
    }

    /// Sends what the configuration has to say, and tells the objects what is new.
    fn flush(&mut self, now: Time, io: &mut Io<'_>) {
        let Some(configuration) = &mut self.configuration else { return };
        for (to, message) in std::mem::take(&mut configuration.out) {
            if io.send(Target::Node(to), Via::Control, message.encode()).is_err() {
                // All that matters is said again, or asked for.
                io.count("groupcomm.no_room");
            }
        }
        for news in std::mem::take(&mut configuration.news) {
            let event = Event::Members(match news {
                News::Installed(view) => MembersEvent::View(view),
                News::Outside => MembersEvent::Outside,
            });
            self.objects.values_mut().for_each(|events| events.push(event.clone()));
        }
        for (object, events) in &mut self.objects {
            tell(*object, events, io);
        }
        let is_over = self.stops_by.is_some_and(|by| configuration.is_out() || now >= by);
        if is_over && !std::mem::replace(&mut self.is_stopped, true) {
            io.stopped();
        }
    }
}

impl Module for Groupcomm {
    fn name(&self) -> &'static str {
        "groupcomm"
    }

    /// A view is said, promised, accepted and told.
    fn offers(&self, ty: &ObjectType) -> Option<Cost> {
        (ty.kind == Kind::Members).then_some(Cost { copies: 4, overhead_bytes: 1_024 })
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        match input {
            Input::Start(start) => self.on_start(&start, io),
            Input::Open { object, .. } => self.on_open(now, object),
            Input::Close { object } => {
                self.objects.remove(&object);
            }
            Input::Commands { object } => {
                while let Some(taken) = io.take(object, usize::MAX) {
                    io.count("groupcomm.unknown_command");
                    io.release(object, taken.message);
                }
            }
            Input::Message { from, bytes } => self.on_message(now, from, &bytes, io),
            Input::Signal(signal) => self.on_signal(now, signal),
            Input::Stop => self.on_stop(now),
            Input::Datagram { .. } => io.count("groupcomm.malformed"),
            // A lost link loses messages, all of which are said again by the clock.
            Input::Wake | Input::Drained { .. } | Input::Link { .. } | Input::Room { .. } => {}
        }
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        if let Some(configuration) = &mut self.configuration {
            configuration.on_wake(now);
        }
        self.flush(now, io);
    }

    fn next_wake(&self) -> Option<Time> {
        let wake = self.configuration.as_ref()?.next_wake();
        wake.into_iter().chain(self.stops_by).min()
    }
}

/// Tells an object what it was not told yet, as far as there is room. A reader that is far behind
/// is told the last things only, in order.
fn tell(object: ObjectId, events: &mut Vec<Event>, io: &mut Io<'_>) {
    let told = events.iter().take_while(|event| io.emit(object, (*event).clone()).is_ok()).count();
    events.drain(..told);
    let excess = events.len().saturating_sub(UNTOLD_MAX);
    events.drain(..excess);
}

/// How long a node that stops waits for a view without it.
const FAREWELL: Duration = Duration::from_secs(5);
/// How many events are kept for an object that does not read.
const UNTOLD_MAX: usize = 16;
