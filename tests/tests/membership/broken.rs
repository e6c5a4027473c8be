//! Modules that break their word, each in one way that a checker must see.

use gossip::Gossip;
use live_objects::{
    Cost, Event, Incarnation, Input, Io, Lack, Member, MembersEvent, Module, NodeId, ObjectId,
    ObjectType, Time,
};

/// Gossip that hears no datagrams.
pub(super) struct Deaf(pub(super) Gossip);

impl Module for Deaf {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        self.0.offers(ty)
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if !matches!(input, Input::Datagram { .. }) {
            self.0.handle(now, input, io);
        }
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        self.0.finish(now, io);
    }

    fn next_wake(&self) -> Option<Time> {
        self.0.next_wake()
    }
}

/// Gossip that tells of a member which nobody ever was, right after an object was opened.
#[derive(Default)]
pub(super) struct Inventor {
    gossip: Gossip,
    object: Option<ObjectId>,
}

impl Module for Inventor {
    fn name(&self) -> &'static str {
        self.gossip.name()
    }

    fn offers(&self, ty: &ObjectType) -> Result<Cost, Lack> {
        self.gossip.offers(ty)
    }

    fn handle(&mut self, now: Time, input: Input, io: &mut Io<'_>) {
        if let Input::Open { object, .. } = &input {
            self.object = Some(*object);
        }
        self.gossip.handle(now, input, io);
    }

    fn finish(&mut self, now: Time, io: &mut Io<'_>) {
        self.gossip.finish(now, io);
        if let Some(object) = self.object.take() {
            let ghost = Member {
                node: NodeId::from_public_key(b"nobody"),
                incarnation: Incarnation::from_bytes([0; Incarnation::LEN]),
            };
            io.emit(object, Event::Members(MembersEvent::Up(ghost))).expect("there is room");
        }
    }

    fn next_wake(&self) -> Option<Time> {
        self.gossip.next_wake()
    }
}
