//! What `logo top` knows at one moment, and how that is shown: as a page of text, or as JSON.
//!
//! A page is a function of a snapshot and of the room there is, and of nothing else, so it can be
//! tried without a terminal or a cluster. What is not known is shown as a dash, or with the bound
//! that is known of it.

use std::time::Duration;

use live_objects::NodeId;
use serde_json::{Value, json};

/// All that is shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Snapshot {
    /// How long the command has been looking.
    pub(super) watched: Duration,
    pub(super) members: Vec<MemberRow>,
    pub(super) zones: Vec<ZoneRow>,
    pub(super) aggregates: Vec<AggregateRow>,
    pub(super) kinds: Vec<KindRow>,
    pub(super) traffic: Option<Traffic>,
}

/// A node.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct MemberRow {
    pub(super) node: NodeId,
    pub(super) state: State,
    pub(super) since: Since,
    /// When it last answered this command's node, and how long that took.
    pub(super) answered: Option<Duration>,
    pub(super) round_trip: Option<Duration>,
}

/// How a node is believed to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It is this command's own.
    Here,
    Up,
    Suspect,
    Failed,
    Left,
}

/// For how long something has been so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Since {
    /// It was seen to become so.
    Seen(Duration),
    /// At least for that long: it was so when it was first heard of.
    AtLeast(Duration),
}

/// A zone of the first levels: all members whose ids begin with these bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ZoneRow {
    pub(super) bits: String,
    pub(super) up: usize,
    pub(super) suspects: usize,
}

/// An aggregate that somebody has open.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct AggregateRow {
    pub(super) name: String,
    pub(super) summary: String,
    /// What it comes to (`Estimate::value`); none if nothing was heard of it yet.
    pub(super) value: Option<f64>,
    pub(super) members: u64,
    /// How old its oldest share is.
    pub(super) age: Duration,
    /// By how much the value may be off.
    pub(super) spread: f64,
}

/// Objects of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KindRow {
    pub(super) kind: String,
    pub(super) objects: usize,
    /// How many have one of them open, counted once for each.
    pub(super) holders: usize,
    /// Whether there may be more, of whom nobody is told.
    pub(super) or_more: bool,
}

/// What this command's own node sends and receives in a second, as UDP carries it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Traffic {
    pub(super) bytes_out: f64,
    pub(super) packets_out: f64,
    pub(super) bytes_in: f64,
    pub(super) packets_in: f64,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }
}

/// How many zones there may be of the levels that are shown.
const ZONES_MAX: usize = 8;

/// The zones of the deepest level that has few, by their bits: of nodes that are up, and whether
/// each is suspected.
pub(super) fn zones(nodes: &[(NodeId, bool)]) -> Vec<ZoneRow> {
    let of_level = |level: usize| {
        let mut zones: Vec<ZoneRow> = Vec::new();
        for (node, is_suspect) in nodes {
            let first = format!("{:08b}", node.as_bytes()[0]);
            let bits = &first[..level];
            match zones.iter_mut().find(|zone| zone.bits == bits) {
                Some(zone) => {
                    zone.up += 1;
                    zone.suspects += usize::from(*is_suspect);
                }
                None => zones.push(ZoneRow {
                    bits: bits.to_owned(),
                    up: 1,
                    suspects: usize::from(*is_suspect),
                }),
            }
        }
        zones.sort_by(|one, other| one.bits.cmp(&other.bits));
        zones
    };
    let deepest = ZONES_MAX.ilog2() as usize;
    // Where most zones would be of one member they say nothing.
    let levels = (1..=deepest).rev().find(|level| nodes.len() >= 2 << level);
    levels.map_or(Vec::new(), of_level)
}

impl Snapshot {
    /// As a page of so many columns and lines; of what does not fit the last members are left out.
    pub(super) fn page(&self, columns: usize, lines: usize) -> String {
        let beside = self.beside();
        // A line for the head, one for the names of columns, and one for those that are left out.
        let room = lines.saturating_sub(beside.len() + 3).max(MEMBERS_MIN);
        let mut page = vec![self.head()];
        page.push(format!("{:<34}{:<9}{:>9}  round trip", "member", "state", "since"));
        page.extend(self.members.iter().take(room).map(member));
        if let Some(more @ 1..) = self.members.len().checked_sub(room) {
            page.push(format!("… and {more} more"));
        }
        page.extend(beside);
        let fitting = page.iter().map(|line| line.chars().take(columns).collect::<String>());
        fitting.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    fn head(&self) -> String {
        let count = |states: &[State]| {
            self.members.iter().filter(|member| states.contains(&member.state)).count()
        };
        let mut head = format!("{} members up", count(&[State::Here, State::Up, State::Suspect]));
        for (state, word) in
            [(State::Suspect, "suspected"), (State::Failed, "failed"), (State::Left, "left")]
        {
            if let many @ 1.. = count(&[state]) {
                head += &format!(", {many} {word}");
            }
        }
        if let Some(traffic) = self.traffic {
            let Traffic { bytes_out, packets_out, bytes_in, packets_in } = traffic;
            head += &format!(
                "; this node sends {bytes_out:.0} B/s in {packets_out:.1} packets, receives \
                 {bytes_in:.0} B/s in {packets_in:.1}"
            );
        }
        head
    }

    /// All that is below the members.
    fn beside(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.zones.is_empty() {
            lines.push(String::new());
            let zone = |zone: &ZoneRow| {
                let suspects = match zone.suspects {
                    0 => String::new(),
                    suspects => format!(" ({suspects} suspected)"),
                };
                format!("{}… {}{suspects}", zone.bits, zone.up)
            };
            let zones = self.zones.iter().map(zone).collect::<Vec<_>>().join("   ");
            lines.push(format!("zones  {zones}"));
        }
        if !self.aggregates.is_empty() {
            lines.push(String::new());
            let width = self.aggregates.iter().map(|row| row.name.chars().count()).max();
            let width = width.unwrap_or(0).max("aggregate".len());
            lines.push(format!(
                "{:<width$}  {:<10}{:>16}{:>9}{:>8}  spread",
                "aggregate", "summary", "value", "members", "age"
            ));
            lines.extend(self.aggregates.iter().map(|row| aggregate(row, width)));
        }
        if !self.kinds.is_empty() {
            lines.push(String::new());
            lines.push(format!("{:<34}{:>9}{:>9}", "kind", "objects", "holders"));
            let kind = |row: &KindRow| {
                let more = if row.or_more { "+" } else { "" };
                let holders = format!("{}{more}", row.holders);
                format!("{:<34}{:>9}{holders:>9}", row.kind, row.objects)
            };
            lines.extend(self.kinds.iter().map(kind));
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let member = |row: &MemberRow| {
            let (since, is_least) = match row.since {
                Since::Seen(since) => (since, false),
                Since::AtLeast(since) => (since, true),
            };
            json!({
                "node": row.node.to_string(),
                "state": row.state.word(),
                "since_s": since.as_secs_f64(),
                "since_is_at_least": is_least,
                "answered_s_ago": row.answered.map(|ago| ago.as_secs_f64()),
                "round_trip_ms": row.round_trip.map(|took| took.as_micros() as f64 / 1_000.0),
            })
        };
        let zone =
            |row: &ZoneRow| json!({ "bits": row.bits, "up": row.up, "suspects": row.suspects });
        let aggregate = |row: &AggregateRow| {
            json!({
                "name": row.name,
                "summary": row.summary,
                "value": row.value,
                "members": row.members,
                "age_ms": u64::try_from(row.age.as_millis()).unwrap_or(u64::MAX),
                "spread": row.spread,
            })
        };
        let kind = |row: &KindRow| {
            let KindRow { kind, objects, holders, or_more } = row;
            json!({ "kind": kind, "objects": objects, "holders": holders, "or_more": or_more })
        };
        let traffic = |it: Traffic| {
            json!({
                "bytes_out_s": it.bytes_out,
                "packets_out_s": it.packets_out,
                "bytes_in_s": it.bytes_in,
                "packets_in_s": it.packets_in,
            })
        };
        json!({
            "watched_s": self.watched.as_secs_f64(),
            "members": self.members.iter().map(member).collect::<Vec<_>>(),
            "zones": self.zones.iter().map(zone).collect::<Vec<_>>(),
            "aggregates": self.aggregates.iter().map(aggregate).collect::<Vec<_>>(),
            "kinds": self.kinds.iter().map(kind).collect::<Vec<_>>(),
            "traffic": self.traffic.map(traffic),
        })
    }
}

fn member(row: &MemberRow) -> String {
    let since = match row.since {
        Since::Seen(since) => span(since),
        Since::AtLeast(since) => format!("> {}", span(since)),
    };
    let round_trip = match (row.answered, row.round_trip) {
        (Some(ago), Some(took)) => {
            format!("{:.1} ms, {} ago", took.as_secs_f64() * 1_000.0, span(ago))
        }
        (Some(ago), None) => format!("answered {} ago", span(ago)),
        (None, _) => "-".to_owned(),
    };
    format!("{:<34}{:<9}{since:>9}  {round_trip}", row.node.to_string(), row.state.word())
}

fn aggregate(row: &AggregateRow, width: usize) -> String {
    let name = format!("{:<width$}  {:<10}", row.name, row.summary);
    let Some(value) = row.value.map(number) else { return format!("{name}{:>16}", "-") };
    let (members, age) = (row.members, span(row.age));
    let spread = if row.spread > 0.0 { number(row.spread) } else { "-".to_owned() };
    format!("{name}{value:>16}{members:>9}{age:>8}  {spread}")
}

/// To five digits or so.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size == 0.0 || value.fract() == 0.0 && size < 1e9 => 0,
        size if size >= 1_000.0 => 1,
        size if size >= 1.0 => 3,
        _ => 5,
    };
    format!("{value:.digits$}")
}

/// In the unit in which it is short.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..600 => format!("{seconds} s"),
        600..36_000 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// However little room there is.
const MEMBERS_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(first: u8) -> NodeId {
        let mut id = [0x11; NodeId::LEN];
        id[0] = first;
        NodeId::from_bytes(id)
    }

    fn snapshot() -> Snapshot {
        let seconds = Duration::from_secs;
        let row = |first, state, since| {
            let answered = (first == 0x40).then_some(seconds(2));
            let round_trip = answered.map(|_| Duration::from_micros(420));
            MemberRow { node: node(first), state, since, answered, round_trip }
        };
        Snapshot {
            watched: seconds(75),
            members: vec![
                row(0x00, State::Here, Since::Seen(seconds(75))),
                row(0x40, State::Up, Since::AtLeast(seconds(75))),
                row(0x80, State::Suspect, Since::Seen(Duration::from_millis(1_250))),
                row(0xc0, State::Failed, Since::Seen(seconds(12))),
            ],
            zones: vec![
                ZoneRow { bits: "0".into(), up: 2, suspects: 0 },
                ZoneRow { bits: "1".into(), up: 1, suspects: 1 },
            ],
            aggregates: vec![
                AggregateRow {
                    name: "/shop/load".into(),
                    summary: "Average".into(),
                    value: Some(38.5),
                    members: 3,
                    age: Duration::from_millis(600),
                    spread: 0.0,
                },
                AggregateRow {
                    name: "/shop/seen".into(),
                    summary: "Distinct".into(),
                    value: None,
                    members: 0,
                    age: Duration::ZERO,
                    spread: 0.0,
                },
            ],
            kinds: vec![KindRow { kind: "Topic".into(), objects: 2, holders: 6, or_more: false }],
            traffic: Some(Traffic {
                bytes_out: 161.4,
                packets_out: 2.0,
                bytes_in: 180.0,
                packets_in: 2.25,
            }),
        }
    }

    #[test]
    fn a_page_shows_all_of_it() {
        let shown = "\
3 members up, 1 suspected, 1 failed; this node sends 161 B/s in 2.0 packets, receives 180 B/s in 2.2
member                            state        since  round trip
00111111111111111111111111111111  here          75 s  -
40111111111111111111111111111111  up          > 75 s  0.4 ms, 2.0 s ago
80111111111111111111111111111111  suspect      1.2 s  -
c0111111111111111111111111111111  failed        12 s  -

zones  0… 2   1… 1 (1 suspected)

aggregate   summary              value  members     age  spread
/shop/load  Average             38.500        3   0.6 s  -
/shop/seen  Distinct                 -

kind                                objects  holders
Topic                                     2        6";
        assert_eq!(snapshot().page(100, 40), shown);
    }

    #[test]
    fn a_page_keeps_to_its_room() {
        let mut large = snapshot();
        let row = large.members[1].clone();
        large.members.extend(vec![row; 96]);
        for (columns, lines) in [(20, 24), (200, 50)] {
            let page = large.page(columns, lines);
            assert_eq!(page.lines().count(), lines);
            assert!(page.lines().all(|line| line.chars().count() <= columns));
            assert!(page.contains("… and "), "{page}");
        }
        assert!(large.page(80, 5).contains("\n80111111"), "some are shown in any case");
    }

    #[test]
    fn nothing_is_made_up_where_nothing_is_known() {
        let page = Snapshot::default().page(100, 40);
        assert_eq!(page.lines().count(), 2, "{page}");
        let json = Snapshot::default().json();
        assert_eq!((&json["traffic"], &json["members"]), (&Value::Null, &json!([])));
    }

    #[test]
    fn it_is_told_as_json() {
        let json = snapshot().json();
        assert_eq!(json["members"][1]["since_is_at_least"], true);
        assert_eq!(json["members"][1]["round_trip_ms"], 0.42);
        assert_eq!(json["members"][2]["state"], "suspect");
        assert_eq!(json["aggregates"][0]["age_ms"], 600);
        assert_eq!(json["aggregates"][1]["value"], Value::Null);
        assert_eq!(
            (&json["zones"][1]["suspects"], &json["kinds"][0]["holders"]),
            (&json!(1), &json!(6))
        );
        assert_eq!(json["traffic"]["packets_in_s"], 2.25);
    }

    #[test]
    fn zones_are_of_the_deepest_level_that_says_something() {
        let nodes = |count: u8, step: u8| -> Vec<(NodeId, bool)> {
            (0..count).map(|at| (node(at.wrapping_mul(step)), at == 0)).collect()
        };
        assert_eq!(zones(&nodes(3, 64)), []);
        let halves = zones(&nodes(4, 64));
        assert_eq!(halves.len(), 2);
        assert_eq!((halves[0].bits.as_str(), halves[0].up, halves[0].suspects), ("0", 2, 1));
        assert_eq!(zones(&nodes(8, 32)).len(), 4);
        let eighths = zones(&nodes(32, 8));
        assert_eq!(eighths.iter().map(|zone| zone.up).collect::<Vec<_>>(), [4; 8]);
        assert_eq!(eighths[7].bits, "111");
    }

    #[test]
    fn numbers_and_spans_are_short() {
        let written = [0.0, 12.0, 0.123_456_7, 38.25, 12_345.678].map(number);
        assert_eq!(written, ["0", "12", "0.12346", "38.250", "12345.7"]);
        let spans = [0.04, 9.96, 75.0, 1_800.0, 90_000.0];
        let spans = spans.map(|seconds| span(Duration::from_secs_f64(seconds)));
        assert_eq!(spans, ["0.0 s", "10.0 s", "75 s", "30 min", "25 h"]);
    }
}
