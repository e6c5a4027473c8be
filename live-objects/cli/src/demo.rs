//! `logo demo`: the shop, on real orders and real sockets, with a node killed half-way.
//!
//! Each node is a process of its own. They share stock and takings as a replicated state, send
//! price notices as a topic, sum up their loads as an aggregate, and find each other in a
//! directory and a catalog: two modules, five kinds of object, one node.

mod conductor;
mod load;
mod orders;
mod screen;
mod shop;
mod talk;
mod till;
mod troupe;
mod truth;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use logo::Folder;
use serde::Serialize;

use self::conductor::{Play, Script};
use self::screen::Screen;
use crate::join;

/// What is played.
#[derive(Args)]
pub(crate) struct Demo {
    /// How many nodes, each a process of its own.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(3..=32))]
    nodes: u8,
    /// A file of orders in place of the sample: customer, date, number of CDs, dollars.
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,
    /// A file of loads in place of the sample: the first column is the use of a processor.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// Over how many seconds orders come in, at least.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(10..=90))]
    seconds: u64,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Run as this till of a demo that was started before.
    #[arg(long, hide = true, requires = "folder")]
    till: Option<usize>,
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

/// What was shown, in the order in which it is printed.
#[derive(Serialize)]
struct Outcome {
    nodes: usize,
    orders: usize,
    applied: u64,
    lost: u64,
    duplicated: u64,
    replicas_equal: bool,
    takings_cents: u64,
    killed: usize,
    joined: usize,
    average_load_error_max: f64,
    load_samples: u64,
    detection_seconds: f64,
    dealt_again: usize,
    tills_found: bool,
    notices_sent: u64,
    notices_heard_ratio: f64,
    orders_per_second: f64,
    seconds: f64,
}

impl Demo {
    pub(crate) fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system lets a runtime start");
        if let (Some(till), Some(folder)) = (self.till, &self.folder) {
            let ended = runtime.block_on(till::run(folder, till));
            // Somebody still reads the standard input, and cannot be told not to.
            runtime.shutdown_background();
            return match ended {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&format!("till {till}: {error}"), 1),
            };
        }
        let script = match self.script() {
            Ok(script) => script,
            Err(why) => return fail(&why, 2),
        };
        // A cluster of this user's like others, so that it can be looked at while it plays.
        let cluster = format!("demo-{}", std::process::id());
        let folder = match Folder::of_user(&cluster) {
            Ok(folder) => folder.path().to_owned(),
            Err(error) => return fail(&error.to_string(), 1),
        };
        join::complain(&format!("look at it meanwhile: logo top --cluster {cluster}"));
        let mut play = Play::new(script, &folder, Screen::new());
        let ended = runtime.block_on(play.run());
        // Whatever it was, the folder was of this demo alone.
        let _ = fs::remove_dir_all(&folder);
        if let Err(stopped) = ended {
            return fail(&format!("the demo stopped: {stopped}"), 1);
        }
        self.judge(&play)
    }

    fn script(&self) -> Result<Script, String> {
        let text = |file: &Option<PathBuf>, sample: &str| match file {
            None => Ok((sample.to_owned(), "the sample".to_owned())),
            Some(path) => fs::read_to_string(path)
                .map(|text| (text, path.display().to_string()))
                .map_err(|error| format!("{}: {error}", path.display())),
        };
        let (orders, from) = text(&self.orders, ORDERS)?;
        let orders = orders::read(&orders).map_err(|error| format!("{from}: {error}"))?;
        let (load, from) = text(&self.load, LOAD)?;
        let load = load::read(&load).map_err(|error| format!("{from}: {error}"))?;
        let span = Duration::from_secs(self.seconds);
        Ok(Script { nodes: self.nodes.into(), orders, load, span })
    }

    /// Compares what the tills have with what they were given, and says so.
    fn judge(&self, play: &Play) -> ExitCode {
        let (outcome, wrong) = outcome(play);
        if self.json {
            let line = serde_json::to_string(&outcome).expect("an outcome is plain data");
            let _ = join::line(&line);
        } else {
            let _ = join::line(told(&outcome, play).trim_end());
        }
        wrong.iter().for_each(|wrong| join::complain(&format!("wrong: {wrong}")));
        join::ended(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

fn outcome(play: &Play) -> (Outcome, Vec<String>) {
    let orders = play.orders() as u64;
    let alive: Vec<_> = play.troupe.alive().collect();
    let standings: Vec<_> = alive.iter().filter_map(|(_, till)| till.standing.clone()).collect();
    let first = standings.first().cloned().expect("all tills said how they stand");
    let (dealt, dealt_cents) = play.dealt_in_all();
    let names: Vec<String> = alive.iter().map(|(number, _)| format!("till-{number}")).collect();
    let finds_all = |found: &Vec<String>| {
        names.len() == found.len() && names.iter().all(|name| found.contains(name))
    };
    let sent: u64 = play.troupe.tills.iter().map(|till| till.notices_sent).sum();
    // Whoever came later was not to hear all.
    let listeners = || alive.iter().filter(|(number, _)| *number < play.nodes());
    let heard: u64 = listeners().map(|(_, till)| till.notices_heard).sum();
    let to_hear = sent * listeners().count() as u64;
    let outcome = Outcome {
        nodes: play.nodes(),
        orders: play.orders(),
        applied: first.orders,
        lost: orders.saturating_sub(first.orders),
        // More was taken than the orders that are done cost: some were done twice.
        duplicated: u64::from(first.takings_cents != first.cost_cents),
        replicas_equal: first.hash.is_some() && standings.iter().all(|it| *it == first),
        takings_cents: first.takings_cents,
        killed: play.troupe.tills.len() - alive.len(),
        joined: usize::from(play.joined.is_some()),
        average_load_error_max: play.truth.error_max,
        load_samples: play.truth.samples,
        detection_seconds: play.detection_ms().unwrap_or_default() as f64 / 1_000.0,
        dealt_again: play.dealt_again,
        tills_found: alive.iter().all(|(_, till)| till.tills_found.as_ref().is_some_and(finds_all)),
        notices_sent: sent,
        notices_heard_ratio: heard as f64 / to_hear.max(1) as f64,
        orders_per_second: orders as f64 / play.seconds.max(0.001),
        seconds: play.seconds,
    };
    let claims = [
        (outcome.lost == 0, "orders are lost"),
        (outcome.applied == dealt, "more orders were done than there are"),
        (outcome.duplicated == 0, "orders were done twice"),
        (outcome.takings_cents == dealt_cents, "the takings are not what the orders cost"),
        (outcome.replicas_equal, "the tills do not have the same state"),
        (outcome.tills_found, "the directory does not list exactly the tills that live"),
        (outcome.load_samples > 0, "the load was never compared"),
        (outcome.average_load_error_max <= LOAD_ERROR_MAX, "a till was wrong about the mean load"),
        (outcome.detection_seconds <= DETECTION_MAX, "the kill was noticed too late"),
    ];
    let wrong = claims.into_iter().filter(|(holds, _)| !holds).map(|(_, wrong)| wrong.to_owned());
    (outcome, wrong.collect())
}

fn told(outcome: &Outcome, play: &Play) -> String {
    let (dollars, cents) = (outcome.takings_cents / 100, outcome.takings_cents % 100);
    let mut text = format!(
        "\n{} orders were given to {} tills, {} processes that talk over QUIC.\n\
         One till was killed after half of them; {} of its orders were dealt again.\n\
         The others heard of it within {:.1} s, and a new till took over the state.\n\
         In the end all have the same: {} orders done, {} lost, ${dollars}.{cents:02} taken.\n\
         The mean load, as each till knew it, was at most {:.4} points off in {} samples.\n\
         {:.1} % of the price notices were heard, by best effort.\n",
        outcome.orders,
        outcome.nodes,
        outcome.nodes,
        outcome.dealt_again,
        outcome.detection_seconds,
        outcome.applied,
        outcome.lost,
        outcome.average_load_error_max,
        outcome.load_samples,
        100.0 * outcome.notices_heard_ratio,
    );
    let standing = play.troupe.alive().find_map(|(_, till)| till.standing.as_ref());
    if let Some(standing) = standing {
        text += &format!("{} CDs are left. Best customers:", standing.stock);
        for (customer, cents) in &standing.best_customers {
            text += &format!(" {customer} (${}.{:02})", cents / 100, cents % 100);
        }
        text.push('\n');
    }
    text
}

fn fail(why: &str, code: u8) -> ExitCode {
    join::complain(why);
    ExitCode::from(code)
}

/// The samples that come with the project.
const ORDERS: &str = include_str!("../data/orders.txt");
const LOAD: &str = include_str!("../data/machine_usage.csv");
/// How far off the mean load may be, in points.
const LOAD_ERROR_MAX: f64 = 0.5;
/// How long it may take until all know of the kill, in seconds.
const DETECTION_MAX: f64 = 6.0;
