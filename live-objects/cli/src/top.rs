//! `logo top`: a cluster as one of its members sees it, drawn anew each second.

mod snapshot;
mod terminal;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use logo::Node;

use self::snapshot::Snapshot;
use self::terminal::{Keys, Terminal};
use self::watch::{SETTLING, Watch};
use crate::join::{Cluster, Failure, line};

/// Which cluster, and how it is shown.
#[derive(Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    cluster: Cluster,
    /// Show one page as text, after some seconds of listening, and leave.
    #[arg(long)]
    once: bool,
    /// Tell each page as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl TopArgs {
    pub(crate) fn run(self) -> ExitCode {
        self.cluster.visit(async |node| self.work(node).await)
    }

    async fn work(&self, node: &Node) -> Result<(), Failure> {
        let mut watch = Watch::begin(node).await?;
        if self.once {
            for _ in 0..(SETTLING * 2).as_secs() {
                watch.look().await?;
                tokio::time::sleep(EVERY).await;
            }
            let _ = self.tell(&watch.look().await?);
            return Ok(());
        }
        let terminal = if self.json { None } else { Terminal::enter() };
        let mut keys = Keys::new();
        loop {
            let snapshot = watch.look().await?;
            if let Some(terminal) = &terminal {
                let (columns, lines) = terminal.room();
                terminal.show(&snapshot.page(columns, lines));
            } else if self.tell(&snapshot).is_err() {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = keys.quit() => return Ok(()),
            }
        }
    }

    fn tell(&self, snapshot: &Snapshot) -> std::io::Result<()> {
        if self.json {
            line(&snapshot.json().to_string())
        } else {
            line(&(snapshot.page(COLUMNS, LINES) + "\n"))
        }
    }
}

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// The room of a page that is on no screen.
const COLUMNS: usize = 160;
const LINES: usize = 1_000;
