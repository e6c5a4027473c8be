//! State that members get from each other: the group map, which a member of the view needs to make
//! sense of its streams, and the states of groups.

use bytes::Bytes;
use live_objects::{Io, NodeId, Time, Via};

use super::Agent;
use crate::config::Mutation;
use crate::control::{Chunk, Control, What};
use crate::map::{Change, Map};
use crate::outbox::rewind;
use crate::post;
use crate::regions::ROOT;
use crate::transfer::{CHUNK_BYTES, Pull, answer};

impl Agent {
    /// Somebody needs a state: sends as much of it as there is room for.
    pub(super) fn on_pull(&self, from: NodeId, what: What, offset: u64, io: &mut Io<'_>) {
        let mut room = io.room(from);
        let has_room = || {
            let has = room >= CHUNK_BYTES;
            room = room.saturating_sub(CHUNK_BYTES);
            has
        };
        let answers = match what {
            What::Map(number) => {
                let map = self.map_at_cut.as_ref().filter(|(of, _)| *of == number);
                answer(what, offset, has_room, |offset| map.and_then(|(_, it)| slice(it, offset)))
            }
            What::State { group, cut } => {
                let object = self.objects.of_group(group);
                answer(what, offset, has_room, |offset| {
                    let chunk = io.read_frozen(object?, cut, offset, CHUNK_BYTES)?;
                    Some((chunk.bytes, chunk.last))
                })
            }
        };
        for answer in answers {
            let via = if let Control::Chunk(_) = answer { Via::Bulk } else { Via::Control };
            post::message(from, via, &answer, io);
        }
    }

    pub(super) fn on_chunk(&mut self, now: Time, from: NodeId, chunk: Chunk, io: &mut Io<'_>) {
        let What::State { group, .. } = chunk.what else {
            self.on_map_chunk(now, from, &chunk, io);
            return;
        };
        let Some(object) = self.objects.of_group(group) else { return };
        let held = self.groups.map().and_then(|map| map.group(group));
        if !held.is_some_and(|held| held.lacks(self.me)) {
            // This member has said, or is about to say, that it does not hold the state.
            return;
        }
        let Some(open) = self.objects.get(object) else { return };
        let is_next = |pull: &mut Pull| pull.on_chunk(now, from, &chunk);
        if !open.pull.as_mut().is_some_and(is_next) {
            return;
        }
        if chunk.last && self.config.plants(Mutation::DropUpdates) {
            open.drop_later();
        }
        open.on_piece(chunk.offset, chunk.bytes, chunk.last);
        if chunk.last {
            self.outbox.say(Change::Restored { group });
        }
    }

    fn on_map_chunk(&mut self, now: Time, from: NodeId, chunk: &Chunk, io: &mut Io<'_>) {
        let Some((pull, map)) = &mut self.map_pull else { return };
        let fits = map.len() + chunk.bytes.len() <= MAP_BYTES_MAX;
        if !fits || !pull.on_chunk(now, from, chunk) {
            return;
        }
        map.extend_from_slice(&chunk.bytes);
        if !chunk.last {
            return;
        }
        let view = self.configuration.view();
        if let Some(map) = view.and_then(|view| Map::from_bytes(map, view)) {
            self.map_pull = None;
            self.groups.adopt(map);
            self.on_map(io, true);
        } else {
            io.count("groupcomm.malformed");
            self.map_pull = Some((Pull::new(chunk.what, now), Vec::new()));
        }
    }

    pub(super) fn on_lacking(&mut self, now: Time, what: What) {
        match what {
            What::Map(_) => {
                if let Some((pull, _)) = self.map_pull.as_mut().filter(|it| it.0.what == what) {
                    pull.on_lacking(now);
                }
            }
            What::State { group, .. } => {
                let Some(object) = self.objects.of_group(group) else { return };
                let Some(open) = self.objects.get(object) else { return };
                let pull = open.pull.as_mut().filter(|pull| pull.what == what);
                if pull.is_some_and(|pull| pull.on_lacking(now)) {
                    // Those who made it are gone: another is made.
                    self.outbox.say(Change::Cut { group });
                }
            }
        }
    }

    /// Asks for what is needed.
    pub(super) fn fetch(&mut self, now: Time, io: &mut Io<'_>) {
        let mut questions = Vec::new();
        if let Some((pull, _)) = &mut self.map_pull {
            let others = self.regions.get(ROOT).map_or(&[][..], |root| root.streams.others());
            questions.extend(pull.ask(now, others, &mut self.rng));
        }
        for object in self.objects.pulling() {
            let Some(open) = self.objects.get(object).filter(|open| open.may_pull()) else {
                continue;
            };
            let group = open.group().and_then(|group| self.groups.map()?.group(group));
            let holders = group.into_iter().flat_map(|group| group.holders());
            let holders: Vec<NodeId> = holders.map(|holder| holder.node).collect();
            let pull = open.pull.as_mut().expect("it is being fetched");
            questions.extend(pull.ask(now, &holders, &mut self.rng));
        }
        for (to, question) in questions {
            post::message(to, Via::Control, &question, io);
        }
    }

    /// The group map is known. If this member was away, it learns what of its own was delivered
    /// without it.
    pub(super) fn on_map(&mut self, io: &mut Io<'_>, was_away: bool) {
        self.regions.set_has_map();
        if was_away {
            let map = self.groups.map().expect("it is known");
            let forgets = self.config.plants(Mutation::ForgetFate);
            let fate = |region| map.fate(self.me, region).filter(|_| !forgets);
            let delivered = self.outbox.return_from(fate);
            for object in self.objects.ids() {
                let Some(open) = self.objects.get(object) else { continue };
                let said = delivered.get(&object).copied().unwrap_or(0);
                if said > open.unstable && said <= open.untaken {
                    open.unstable = said;
                    open.on_stable(said - 1);
                    io.release(object, said - 1);
                }
                let first = open.unstable;
                open.untaken = open.untaken.max(first);
                rewind(object, first, io, &mut self.objects);
            }
        }
        self.outbox.drop_changes();
        let map = self.groups.map().expect("it is known");
        for change in self.objects.reconcile(self.me, map) {
            self.outbox.say(change);
        }
    }
}

fn slice(bytes: &Bytes, offset: u64) -> Option<(Bytes, bool)> {
    let begin = usize::try_from(offset).ok().filter(|begin| *begin <= bytes.len())?;
    let end = bytes.len().min(begin + CHUNK_BYTES);
    Some((bytes.slice(begin..end), end == bytes.len()))
}

/// The longest group map that is taken in.
const MAP_BYTES_MAX: usize = 64 << 20;
