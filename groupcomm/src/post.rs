//! Sending, counted: what a member sends, as its counters tell.

use bytes::Bytes;
use live_objects::{Io, NodeId, Target, Via};

use crate::control::Control;
use crate::wire::Packet;

/// Sends a datagram to each of these. What there is no room for is lost, as on the way.
pub(crate) fn datagram(to: &[NodeId], bytes: Bytes, io: &mut Io<'_>) {
    io.count_many("groupcomm.datagrams", to.len());
    io.count_many(Packet::counter(&bytes), to.len());
    io.count_many("groupcomm.datagram_bytes", to.len() * bytes.len());
    if io.send(Target::Nodes(to), Via::Datagram, bytes).is_err() {
        io.count("groupcomm.no_room");
    }
}

/// Sends a message over a link. All that matters is said again, or asked for.
pub(crate) fn message(to: NodeId, via: Via, message: &Control, io: &mut Io<'_>) {
    let bytes = message.encode();
    io.count("groupcomm.messages");
    io.count_many("groupcomm.message_bytes", bytes.len());
    if io.send(Target::Node(to), via, bytes).is_err() {
        io.count("groupcomm.no_room");
    }
}
