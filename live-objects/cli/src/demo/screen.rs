//! What is seen of the demo while it runs.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::conductor::Play;

/// Where it is shown: drawn over and over on a terminal, else a line now and then.
#[derive(Default)]
pub(super) struct Screen {
    is_terminal: bool,
    drawn_at: Option<Instant>,
    lines: usize,
}

impl Screen {
    /// On standard error: standard output is for the result.
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), drawn_at: None, lines: 0 }
    }

    /// Shows how it stands, if it was not shown a moment ago.
    pub(super) fn draw(&mut self, play: &Play) {
        let every = if self.is_terminal { DRAW_EVERY } else { TELL_EVERY };
        if self.drawn_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.drawn_at = Some(Instant::now());
        let mut out = std::io::stderr().lock();
        let text = if self.is_terminal { table(play) } else { line(play) };
        if self.is_terminal && self.lines > 0 {
            // Up by as many lines as were drawn, and all below is cleared.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.lines);
        }
        self.lines = text.lines().count();
        let _ = writeln!(out, "{text}");
    }
}

fn line(play: &Play) -> String {
    format!("{}: {}", play.news(), sums(play))
}

fn sums(play: &Play) -> String {
    format!(
        "{} of {} orders, {:.0} a second, mean load {:.2} %, error at most {:.3}",
        play.done(),
        play.orders(),
        play.rate(),
        play.truth.mean(),
        play.truth.error_max,
    )
}

fn table(play: &Play) -> String {
    let mut text = format!("{}\n{}\n", play.news(), sums(play));
    text += "  till  node          view  members  orders done    load   mean as it knows\n";
    for (number, till) in play.troupe.tills.iter().enumerate() {
        let node = till.node.as_deref().map_or("starts", |node| &node[..12]);
        if !till.is_alive {
            text += &format!("  {number:>4}  {node:<12}  killed\n");
            continue;
        }
        let (view, members) = till.view.unwrap_or_default();
        let load = till.load.unwrap_or_default();
        let (average, shares) = till.average.unwrap_or_default();
        text += &format!(
            "  {number:>4}  {node:<12} {view:>5} {members:>8} {:>12} {load:>7.2} {average:>9.3} of \
             {shares}\n",
            till.done,
        );
    }
    text.pop();
    text
}

const DRAW_EVERY: Duration = Duration::from_millis(250);
const TELL_EVERY: Duration = Duration::from_secs(2);
