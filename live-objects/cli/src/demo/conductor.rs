//! The conductor of the demo: it starts the tills, deals orders, kills, replaces, and judges.
//!
//! It is not a node, and keeps nothing that the shop needs: what it knows of orders serves to judge
//! what the tills have of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::orders::Order;
use super::screen::Screen;
use super::talk::{Say, Tell};
use super::till::now_ms;
use super::troupe::Troupe;
use super::truth::{JOIN_PERIODS, Truth};
use crate::process::Heard;

/// What is to be played.
pub(super) struct Script {
    pub(super) nodes: usize,
    pub(super) orders: Vec<Order>,
    pub(super) load: Vec<f64>,
    /// Over how long orders are dealt, at least.
    pub(super) span: Duration,
}

/// The play as it goes.
pub(super) struct Play {
    script: Script,
    pub(super) troupe: Troupe,
    hearing: UnboundedReceiver<(usize, Heard<Say>)>,
    by_line: BTreeMap<u32, Order>,
    /// What is to be dealt.
    waiting: VecDeque<Order>,
    /// What is not done.
    open: BTreeSet<u32>,
    pub(super) dealt_again: usize,
    pub(super) truth: Truth,
    begun: Option<Instant>,
    dealt: usize,
    set_at: Option<Instant>,
    victim: Option<Victim>,
    pub(super) joined: Option<usize>,
    is_joined_counted: bool,
    screen: Screen,
    pub(super) seconds: f64,
}

/// The till that is killed half-way.
struct Victim {
    node: String,
    killed_ms: u64,
    /// When the last of the others heard of it.
    known_ms: u64,
    is_known: bool,
}

/// What went wrong so badly that the play does not go on.
#[derive(Debug)]
pub(super) enum Stopped {
    Io(io::Error),
    /// A till ended by itself.
    Ended(usize),
    /// It took too long.
    Late(&'static str),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "a till was not started or killed: {error}"),
            Self::Ended(till) => write!(f, "till {till} ended by itself"),
            Self::Late(what) => write!(f, "gave up waiting until {what}"),
        }
    }
}

impl Play {
    pub(super) fn new(script: Script, folder: &Path, screen: Screen) -> Self {
        let (troupe, hearing) = Troupe::new(folder);
        Self {
            by_line: script.orders.iter().map(|order| (order.line, *order)).collect(),
            waiting: script.orders.iter().copied().collect(),
            open: script.orders.iter().map(|order| order.line).collect(),
            script,
            troupe,
            hearing,
            dealt_again: 0,
            truth: Truth::default(),
            begun: None,
            dealt: 0,
            set_at: None,
            victim: None,
            joined: None,
            is_joined_counted: false,
            screen,
            seconds: 0.0,
        }
    }

    /// Plays it all. What the tills have in the end is in the troupe.
    pub(super) async fn run(&mut self) -> Result<(), Stopped> {
        for _ in 0..self.script.nodes {
            self.troupe.start()?;
        }
        let nodes = self.script.nodes;
        self.until("all nodes know each other", |play| {
            play.troupe.alive().all(|(_, till)| till.is_ready() && till.up.len() == nodes)
        })
        .await?;
        self.set_loads();
        self.until("all nodes have heard of each other's load", |play| {
            let has_all = |members| members == nodes as u64;
            play.troupe.alive().all(|(_, till)| till.average.is_some_and(|(_, it)| has_all(it)))
        })
        .await?;
        self.begun = Some(Instant::now());
        self.until("half of the orders are done", |play| {
            play.open.len() <= play.script.orders.len() / 2
        })
        .await?;
        self.kill()?;
        self.until("all have heard that a node is gone", |play| {
            play.victim.as_ref().is_some_and(|victim| victim.is_known)
        })
        .await?;
        self.joined = Some(self.troupe.tills.len());
        self.truth.shake();
        self.troupe.start()?;
        self.until("the new node is in, and all orders are done", |play| {
            play.is_joined_counted && play.open.is_empty()
        })
        .await?;
        self.seconds = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        // The load is watched a while with the new node in it.
        let end = Instant::now() + AFTERWARDS;
        self.until("the load was watched", |_| Instant::now() >= end).await?;
        self.ask().await?;
        for till in self.troupe.alive_mut() {
            till.tell(Tell::Stop);
        }
        let _ = timeout(PATIENCE, self.troupe.wait()).await;
        Ok(())
    }

    /// How long it took until all had heard of the kill, in milliseconds.
    pub(super) fn detection_ms(&self) -> Option<u64> {
        let victim = self.victim.as_ref().filter(|victim| victim.is_known)?;
        Some(victim.known_ms.saturating_sub(victim.killed_ms))
    }

    /// How many orders are done and stable.
    pub(super) fn done(&self) -> usize {
        self.script.orders.len() - self.open.len()
    }

    pub(super) fn nodes(&self) -> usize {
        self.script.nodes
    }

    /// How many orders there are, and what they cost together.
    pub(super) fn dealt_in_all(&self) -> (u64, u64) {
        let orders = &self.script.orders;
        (orders.len() as u64, orders.iter().map(|order| order.cents).sum())
    }

    pub(super) fn orders(&self) -> usize {
        self.script.orders.len()
    }

    /// How many orders a second were done so far.
    pub(super) fn rate(&self) -> f64 {
        let seconds = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        if seconds > 0.0 { self.done() as f64 / seconds } else { 0.0 }
    }

    /// What is going on, in a few words.
    pub(super) fn news(&self) -> String {
        match (&self.victim, self.joined) {
            _ if self.begun.is_none() => "the tills start, and find each other".to_owned(),
            (None, _) => "orders come in".to_owned(),
            (Some(victim), _) if !victim.is_known => "a till was killed".to_owned(),
            (Some(_), Some(_)) if !self.is_joined_counted => "another takes its place".to_owned(),
            _ => "orders come in, with another in the place of the one killed".to_owned(),
        }
    }

    /// Takes in what tills say, and does what is due, until it is so.
    async fn until(
        &mut self,
        what: &'static str,
        is_so: impl Fn(&Self) -> bool,
    ) -> Result<(), Stopped> {
        let end = Instant::now() + PATIENCE + self.script.span;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !is_so(self) {
            if Instant::now() >= end {
                return Err(Stopped::Late(what));
            }
            tokio::select! {
                Some((till, heard)) = self.hearing.recv() => self.on(till, heard)?,
                _ = ticks.tick() => self.tick(),
            }
        }
        Ok(())
    }

    fn tick(&mut self) {
        if self.begun.is_some() {
            self.deal();
            if self.set_at.is_none_or(|at| at.elapsed() >= SET_EVERY) {
                self.set_loads();
            }
        }
        let mut screen = std::mem::take(&mut self.screen);
        screen.draw(self);
        self.screen = screen;
    }

    /// Deals as many orders as are due, to the tills in turn; but not to one that has many to do.
    fn deal(&mut self) {
        let begun = self.begun.expect("it has begun");
        let part = begun.elapsed().as_secs_f64() / self.script.span.as_secs_f64();
        let due = (self.script.orders.len() as f64 * part) as usize;
        let ready: Vec<usize> = (0..self.troupe.tills.len())
            .filter(|number| self.troupe.tills[*number].is_ready())
            .collect();
        let mut hands: BTreeMap<usize, Vec<Order>> = BTreeMap::new();
        while self.dealt < due
            && let Some(order) = self.waiting.front().copied()
        {
            let number = ready[order.line as usize % ready.len()];
            let till = &mut self.troupe.tills[number];
            if till.doing.len() >= DOING_MAX {
                break;
            }
            self.waiting.pop_front();
            self.dealt += 1;
            till.doing.insert(order.line);
            hands.entry(number).or_default().push(order);
        }
        for (number, orders) in hands {
            self.troupe.tills[number].tell(Tell::Orders(orders));
        }
    }

    fn set_loads(&mut self) {
        self.set_at = Some(Instant::now());
        self.truth.set();
        for till in self.troupe.alive_mut().filter(|till| till.node.is_some()) {
            let percent = till.play.next(&self.script.load);
            (till.load, till.load_set_ms) = (Some(percent), None);
            till.tell(Tell::Load(percent));
        }
    }

    /// Kills the till in the middle. What it had not done is dealt again.
    fn kill(&mut self) -> Result<(), Stopped> {
        let number = self.script.nodes / 2;
        // It is to have something in hand.
        self.deal();
        let orders = self.troupe.kill(number)?;
        self.dealt_again = orders.len();
        self.dealt -= orders.len();
        for line in orders {
            self.waiting.push_front(self.by_line[&line]);
        }
        let node = self.troupe.tills[number].node.clone().expect("it was ready");
        self.victim = Some(Victim { node, killed_ms: now_ms(), known_ms: 0, is_known: false });
        self.truth.shake();
        let shares: Vec<f64> = self.troupe.alive().filter_map(|(_, till)| till.load).collect();
        self.truth.change(&shares);
        Ok(())
    }

    fn on(&mut self, number: usize, heard: Heard<Say>) -> Result<(), Stopped> {
        let Heard::Say(say) = heard else {
            let is_expected = !self.troupe.tills[number].is_alive;
            return if is_expected { Ok(()) } else { Err(Stopped::Ended(number)) };
        };
        let till = &mut self.troupe.tills[number];
        if !till.is_alive && !matches!(say, Say::Done { .. }) {
            return Ok(());
        }
        match say {
            Say::Ready { node } => till.node = Some(node),
            Say::LoadSet { at_ms } => {
                till.load_set_ms = Some(at_ms);
                self.on_load_set();
            }
            Say::Estimate { at_ms, average, members } => {
                till.average = Some((average, members));
                self.truth.compare(at_ms, average);
            }
            Say::Done { lines } => {
                for line in lines {
                    till.doing.remove(&line);
                    till.done += u64::from(self.open.remove(&line));
                }
            }
            Say::Up { node } => {
                till.up.insert(node.clone());
                self.on_onlooker(&node, now_ms());
            }
            Say::Down { node, at_ms } => {
                till.up.remove(&node);
                self.on_onlooker(&node, at_ms);
                self.on_down(&node, at_ms);
            }
            Say::View { number, members } => till.view = Some((number, members)),
            Say::Notices { sent, heard } => {
                (till.notices_sent, till.notices_heard) = (sent, heard);
            }
            Say::Tills { names } => till.tills_found = Some(names),
            Say::Counted(standing) => till.standing = Some(standing),
        }
        Ok(())
    }

    /// If all that were told to have set their loads, the truth is known.
    fn on_load_set(&mut self) {
        let set = || self.troupe.alive().filter(|(_, till)| till.load.is_some());
        let times: Option<Vec<u64>> = set().map(|(_, till)| till.load_set_ms).collect();
        let Some(last) = times.and_then(|times| times.into_iter().max()) else { return };
        if !self.truth.is_being_set() {
            return;
        }
        let shares: Vec<f64> = set().filter_map(|(_, till)| till.load).collect();
        self.truth.is_set(&shares, last);
        let joined = self.joined.map(|joined| &self.troupe.tills[joined]);
        if joined.is_some_and(|till| till.load.is_some()) && !self.is_joined_counted {
            self.is_joined_counted = true;
            self.truth.settle(last, JOIN_PERIODS);
        }
    }

    /// A till heard that a node came or went: if it is nobody of the play, somebody looks on.
    fn on_onlooker(&mut self, node: &str, at_ms: u64) {
        let is_known = |till: &super::troupe::Till| till.node.as_deref() == Some(node);
        let is_starting = self.troupe.alive().any(|(_, till)| till.node.is_none());
        if !is_starting && !self.troupe.tills.iter().any(is_known) {
            self.truth.jostle(at_ms);
        }
    }

    fn on_down(&mut self, node: &str, at_ms: u64) {
        let Some(victim) = self.victim.as_mut().filter(|victim| victim.node == node) else {
            return;
        };
        victim.known_ms = victim.known_ms.max(at_ms);
        let all_know = self.troupe.alive().all(|(_, till)| !till.up.contains(node));
        if all_know && !victim.is_known {
            victim.is_known = true;
            self.truth.settle(victim.known_ms, 0);
        }
    }

    /// Asks all how they stand, until they stand alike or it takes too long.
    async fn ask(&mut self) -> Result<(), Stopped> {
        let orders = self.script.orders.len() as u64;
        let end = Instant::now() + PATIENCE;
        loop {
            for till in self.troupe.alive_mut() {
                (till.standing, till.tills_found) = (None, None);
                till.tell(Tell::Count);
                till.tell(Tell::FindTills);
            }
            self.until("all tills said how they stand", |play| {
                let answered = |(_, till): (usize, &super::troupe::Till)| {
                    till.standing.is_some() && till.tills_found.is_some()
                };
                play.troupe.alive().all(answered)
            })
            .await?;
            let all_done = self.troupe.alive().all(|(_, till)| {
                till.standing.as_ref().is_some_and(|standing| standing.orders >= orders)
            });
            if all_done || Instant::now() >= end {
                return Ok(());
            }
        }
    }
}

const TICK: Duration = Duration::from_millis(50);
const SET_EVERY: Duration = Duration::from_secs(2);
/// How many orders a till is given that it has not done.
const DOING_MAX: usize = 4_000;
/// For how long the load is watched after the last order.
const AFTERWARDS: Duration = Duration::from_secs(4);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
