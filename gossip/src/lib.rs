//! Gossip: weak and wide. Who is in the cluster, what members say to each other and what they
//! publish, what the numbers that they set sum up to, who of them is near, and who has whom for a
//! neighbour, at a cost a node that does not grow with the cluster.
//!
//! [`Gossip`] is a [`Module`](live_objects::Module) without I/O. Membership is SWIM (Das, Gupta and
//! Motivala, DSN 2002): each period, or each few where there is nothing to say, a node probes one
//! other, changes are pushed to a few at once and travel on the probes, and who does not answer is
//! suspected first and declared faulty only if it does not object. Aggregates go up a tree of zones
//! that the members' ids make by themselves (Astrolabe: van Renesse, Birman and Vogels, TOCS 2003),
//! on the same probes, whose round trips tell how far away others are (Vivaldi: Dabek, Cox,
//! Kaashoek and Morris, SIGCOMM 2004). Overlays take shape as in T-Man (Jelasity, Montresor and
//! Babaoglu, Computer Networks 2009).
//!
//! **Guarantees.** Once nothing changes any more and packets get through now and then, all nodes
//! that can reach each other know the same members ([`Agreement::Eventual`]). A crashed member is
//! suspected, in a cluster of any size, 1.2 s later on average if that is at rest: a bit more
//! than half of the five periods until somebody probes it, three and a half without an answer; and
//! then buried by all, if it does not object. A member that was suspected, or buried, and is alive
//! comes back by itself, as do both halves of a partition. A node starts one exchange a period, up
//! to six more, for rows of aggregates alone, while something is urgent, and a second one once in
//! some rounds at rest; while they settle two for overlays, one for soft states and one to measure
//! who is nearest; in its first rounds it asks one member of each zone for what it lacks. No
//! datagram is longer than 1,200 bytes with all headers. Nothing that comes from the network makes
//! it panic, and every table has a limit.
//!
//! Above [`Config::whole_max`] members, 10,000 unless said otherwise, or a tenth more in a cluster
//! where all kept all, a node keeps a part: all of its *neighbourhood*, a zone of about the root of
//! all, and four contacts in each other one, the same for all of the neighbourhood (`view`). So a
//! node of 100,000 knows 1,400. A `Members` object tells of these: one that is replaced as a
//! contact goes as `Departure::Unwatched`. A crash is found out by the neighbourhood as fast as
//! ever, and by the others whom it concerns when they meet it, or when its neighbours tell them.
//! Aggregates are of all, and so are messages, and what is looked up in directories.
//!
//! Who wants to know why a member was taken for dead is told by some who saw it, and by its
//! accuser, which of its probes were not answered. Each node keeps that for the last 256 members
//! that were doubted, eight things of each; what it names an accuser by is right but once in four
//! billion times.
//!
//! A message of a best-effort topic goes along a tree that every source has at once: to a thousand
//! members in two hops, one copy each. Who missed it finds out on exchanges, and gets it: where one
//! packet in twenty is lost all have it within four periods at the most, and if half of all members
//! crash the others still hear what is said in the next seconds. Messages come in any order, and
//! none twice in one life; a holder that reads too slowly is told how many it missed.
//!
//! A message of more than 1,000 bytes, up to 1 MiB, is announced along the tree, and each holder
//! pulls it over a link from whoever announced it: of 300 nodes each gets it once. Who loses its
//! supplier on the way goes on with another where it was. A node says 256 KiB of long messages a
//! period, and no more while 4 MiB of them are still being taken from it; the rest waits in the
//! feed.
//!
//! What a node says of itself, 64 KiB at most, is known to all that are up, once nothing changes
//! any more, and not after it is known to be down; the last that it said counts. Up to 999 bytes
//! travel as records do, the rest is pulled. Of all members together 16 MiB are kept; what is
//! beyond is pulled when somebody asks for it. Who says nothing costs nothing.
//!
//! What is published in a directory is found at every node, once nothing changes any more, as long
//! as its publisher is up, and not after it is known to be down; only who published a value
//! replaces or withdraws it. Up to 128 members all keep all of it; of more, about the root of their
//! number keep each key, and an answer takes a round trip, and another for each of them that was
//! asked and is dead. A weak object has one type: of two that claim its name the stronger,
//! then the one of more holders stays, within ten periods after the claims met, and the others are
//! told. [`Gossip::CLAIMS`] tells of each name and type up to eight of those who have it open.
//!
//! An aggregate is exact at every holder some rounds after nothing changes any more, however many
//! packets are lost: of 1,000 members, with 5 % lost, in 8. A member that stops counts no longer
//! than its detection takes, and the few rounds in which rows from before are overtaken. Answers
//! are local, and tell how old they are. Quantiles, distinct items and heavy keys are sketches,
//! which all nodes have alike to the last bit, and are as near as their types say: they tell by how
//! much they may be off.
//!
//! A query is asked of all who describe themselves in catalogs, and answered as an aggregate is:
//! exact at whoever asks, group by group, some rounds after nothing changes any more, but for
//! percentiles, which tell by how much they may be off, and for groups that there is no room for,
//! which are told as one. All nodes hear of it, and of its end, as they hear of any object; of more
//! than 64 those whose names come first are computed, and what nobody asks costs nothing.
//!
//! Whoever looks for the nearest of those that offer themselves is told of some that are up, at
//! once and without a packet. Of 1,000 nodes in thirty cities, a tenth of which offer themselves,
//! more than 95 in a hundred are told first, after 60 periods, of one whose round trip is at most a
//! tenth above the least there is. Where nobody offers himself, or looks, it costs nothing.
//!
//! A soft state, of conflict-free types, is the same at all holders that can reach each other some
//! rounds after nobody updates it any more, however many packets are lost, and whoever of those who
//! updated it is gone by then. An update is told along the broadcast tree at once, and what is lost
//! of that is found by comparing digests with another holder, then sums over parts of the state.
//! Both sides of a partition go on, and become one when they meet. Where the last holder goes, so
//! does the state. At rest a holder has one more exchange in eight rounds, however many states it
//! holds.
//!
//! Whoever describes itself in a catalog is found by what it says, some rounds after it said so,
//! and not after it is known to be down. A search goes down the tree of zones, led by filters of
//! which terms there are in them (Bloom, CACM 1970), and asks one member in each zone that may have
//! what is looked for: of 1,000 nodes some 20 to find five, half of a second if none of them is
//! dead. Who is found said so of itself just then. Answers are streamed, and tell whether some may
//! be missing, because nobody answered or more than 4,096 would have to be asked. What no equality
//! leads, as `load < 0.5` alone, asks everybody. Where nobody describes itself it costs nothing.
//!
//! Who takes part in an overlay is told of neighbours that are up, and some rounds after nothing
//! changes any more of the right ones: those that its rank would choose of all who take part, if
//! whom it chooses does not depend on those that it does not choose. Of 1,000 nodes that take their
//! places at once, and know nobody's, with 5 % lost, all have their right neighbours after 6 rounds
//! in a ring or a tree, and 11 where each looks for the eight nearest in a square. At rest it costs
//! an exchange more in four. Nodes that take no part say and keep nothing.
//!
//! **Not guaranteed.** A message may be lost, to all if its sender crashes at once. A directory is
//! no database: who asks is told what this node, or whoever keeps the key, knows by then. A search
//! may miss who described itself in the last rounds, or has just come. Nobody is told for certain
//! who is nearest. In a partial view those whom a node keeps are all that it finds as the nearest,
//! by a search, which says so, or as neighbours in an overlay, and that it compares soft states
//! with; what somebody published whom the keepers of the key do not keep is shown until he
//! withdraws it, though he may be gone; and if a good part of all crash at once aggregates may
//! count them for some hundred rounds. Any two nodes may differ at any moment, and see changes in
//! different orders: who needs the same views in the same order needs [`Agreement::Views`], which
//! this module does not offer. A verdict may be wrong.
//!
//! **Who lies.** Whom a packet is from is certain, by its seal; nothing else in it is. So whoever
//! has a key can say what it likes. That is refused, or bounded, and counted, and the others'
//! answers are right again some rounds after it is gone. It cannot
//!
//! - say anything of a zone that it is not in: a row is of its teller's own (`zones`), and names
//!   nobody else among the highest (`agent::aggregates`); nor have a row of one aggregate added to
//!   another (`wire::rows`);
//! - count more members there than a quarter and 16 above those that are known (`zones`), or in a
//!   zone of which but a few are known, twice as many and 64 as are to be expected (`population`);
//!   whoever has just come, and has no table yet, believes any number until it has
//!   (`agent::aggregates`);
//! - be more than two rounds ahead (`zones::row`), nor lead the clock of whoever hears two others
//!   (`rounds`). Whoever heard nobody else comes back when it is gone, and what was stamped ahead
//!   by then holds no longer (`zones`, `offers`, `stands`);
//! - have others pass on what nobody can read, or what is no number: `wire` refuses the packet, and
//!   `agent::aggregates` sketches that mix parts, or are of other queries (`agent::queries`);
//! - keep a member out, or what that publishes: above half of all numbers each is believed of
//!   itself alone (`entry`, `records::record`), and what is published in its name it withdraws.
//!   Where others keep that it looks within a minute, or ten if it published nothing there, as long
//!   as its own group keeps anything (`agent::errands`). Nor can one be silenced for longer than
//!   250 rounds after the last that was said in its name (`news::windows`, `agent::topics`);
//! - have others pull what it announces and has not got, or what never ends, for longer than 190
//!   periods, or than ten where something else waits to be pulled, nor have more than a quarter of
//!   what they pull in one name, nor pass on as another's message, or metadata, what that did not
//!   say (`payloads`);
//! - have all of what there is for others: objects that nobody claims are few (`agent::aggregates`,
//!   `agent::nearest`), and claims of one count while they are up to 512 (`agent::claims`); of 64
//!   queries 16 are one's (`agent::queries`); records that are not shown give way to those that
//!   are, and in a partial view what is of members that nobody here knows to what is newer
//!   (`records::room`), and strangers to members (`news::windows`, `members`); what one asks for is
//!   bounded beside what all do (`probe`, `news::wants`, `agent::topics`, `agent::shelves`,
//!   `agent::errands`, `transfer`, `question`);
//! - make others believe that their news is known, by answers that nobody asked for
//!   (`agent::exchange`).
//!
//! It can, while it is there, give any share, and say what it likes of itself; lie about the zones
//! that it is in, within those bounds, of which the largest is half of all; hold back what it
//! should pass on, and answer for what it keeps as it likes, so that searches and directories miss
//! something; pretend to know all news, which spreads by digests alone then; say things in others'
//! names until these hear of it, and messages of topics without being found out, since these are
//! not signed; have a message of one whom a node does not know come twice, some seconds later, by
//! speaking in the names of thousands; have anybody suspected, who objects each time, or told to
//! have left, who comes back; make up members, which are buried one by one, about as many in a
//! round as there are nodes, and while there are 65,536 keep newcomers out, and whose records, in a
//! partial view, take the places of those of members far away, which come back when it is gone,
//! though its own may be there until others need the room; and cost traffic, answers, and rest.
//! Four things outlast it: a weak object whose name it claimed for a strong type is closed (it, or
//! members that it made up: who can be asked whether he claims that is asked first), and has to be
//! opened again; a node that it made raise its number above half of all has to say itself, to each
//! of the others, that it is alive, if it is suspected once more; so has one, of a key under which
//! it was made to raise that of what it publishes, what that is: its claims and its metadata to
//! whomever it meets, entries to each that keeps them, of whom it knows but some in a partial view.
//! And what it wrote into a soft state stays, as what anybody wrote does. Its values, 2 MiB at most
//! with those of all others, can be taken out. That it wrote, or others whom it made up, must be
//! known as long as the state is, up to 768 KiB of it: who never wrote there before is heard by
//! nobody then, and whoever did writes on, and is heard by those who knew it, unless the liar spoke
//! in its name (`agent::soft`). Whose credential is no good the driver does not talk to; gossip
//! itself does not look at it.
//!
//! ```
//! use std::net::SocketAddr;
//! use bytes::Bytes;
//! use gossip::Gossip;
//! use live_objects::*;
//!
//! // A driver that has no network and no disk: this node stays alone.
//! struct Nowhere;
//! impl Driver for Nowhere {
//!     fn send(&mut self, _: Target<'_>, _: Via, _: Envelope, _: Bytes) -> Result<(), Full> {
//!         Ok(())
//!     }
//!     fn room(&mut self, _: NodeId) -> usize { 0 }
//!     fn datagram_max(&self, _: NodeId) -> usize { 1_200 }
//!     fn introduce(&mut self, _: Member, _: &[SocketAddr], _: &Bytes) {}
//!     fn credential(&self, _: NodeId) -> Bytes { Bytes::new() }
//!     fn dial(&mut self, _: SocketAddr) {}
//!     fn disk(&mut self, _: &'static str, _: DiskWork) {}
//! }
//!
//! let mut stack = Stack::new(vec![Box::new(Gossip::default())], &Rng::from_seed([7; 32]))?;
//! let me = Member {
//!     node: NodeId::from_public_key(b"my key"),
//!     incarnation: Incarnation::from_bytes([1; 16]),
//! };
//! stack.start(&Start {
//!     me,
//!     unix_ms: 1_764_000_000_000,
//!     addresses: vec![],
//!     seeds: vec![],
//!     credential: Bytes::new(),
//! });
//! let members = ObjectType::members(Agreement::Eventual);
//! let port = stack.open(Spec::new("/who/is/here".parse()?, members))?;
//!
//! stack.step(Time::ZERO, [], &mut Nowhere);
//! assert_eq!(port.try_next(), Some(Event::Opened));
//! assert_eq!(port.try_next(), Some(Event::Members(MembersEvent::Roster(vec![me]))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Reading order.** `config`, `pace`, `rounds`, `partners`: when a node says something, what time
//! it is, and whom it meets. `entry`: what nodes say of each other, and whose word counts more.
//! `members`, `digest`: the table. `view`, `population`, `roster`: which part of a large cluster is
//! in it, how many there are, and who is known from the start. `wire`, `control`: what travels.
//! `rumor`, `knowledge`: what goes into a packet. `probe`, `suspicion`: the failure detector's
//! books, and `evidence`: what people may ask of it. `seeds`, `transfer`: how newcomers get in.
//! `queue`: what travels beside the membership; `news` and the files below it: messages of topics,
//! the tree along which they go, and what mends it; `payloads` and the files below it: those that
//! no packet takes; `metadata`: what nodes say of themselves; `records`: what is published, who
//! keeps it, and which names are claimed; `question`: what is asked of those. `zones`: aggregates;
//! `wire::rows`: what travels of them, and `agent::aggregates` when; `zones::filter`,
//! `wire::terms`: which terms are where, and `agent::searches` who is asked then; `agent::queries`:
//! what is asked of all who describe themselves. `coordinate`, `trips`, `offers`: the nearest;
//! `wire::offers`: what travels of it. `stands`, `wire::stands`: overlays, and `agent::overlays`
//! who is met. `wire::soft`, `agent::soft` and the file below it: soft states, whose merging is in
//! `live_objects::soft`. `agent` and the files below it: the machine that all these are parts of.
//!
//! [`Agreement::Eventual`]: live_objects::Agreement::Eventual
//! [`Agreement::Views`]: live_objects::Agreement::Views

mod agent;
mod config;
mod control;
mod coordinate;
mod digest;
mod entry;
mod evidence;
mod knowledge;
mod members;
mod metadata;
mod news;
mod offers;
mod pace;
mod partners;
mod payloads;
mod population;
mod probe;
mod question;
mod queue;
mod records;
mod roster;
mod rounds;
mod rumor;
mod seeds;
mod stands;
mod suspicion;
mod transfer;
mod trips;
mod view;
mod wire;
mod zones;

pub use agent::Gossip;
pub use config::{Config, ConfigError};
pub use roster::Roster;
