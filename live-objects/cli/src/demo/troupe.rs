//! The processes of the tills: started, told, heard, killed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::load::Play;
use super::talk::{Say, Standing, Tell};
use crate::process::{Heard, Process};

/// All tills, by their numbers. One that was killed keeps its number.
pub(super) struct Troupe {
    folder: PathBuf,
    said: UnboundedSender<(usize, Heard<Say>)>,
    pub(super) tills: Vec<Till>,
}

/// What is known of a till.
pub(super) struct Till {
    process: Process<Tell>,
    pub(super) play: Play,
    pub(super) is_alive: bool,
    /// Its node, once it is ready.
    pub(super) node: Option<String>,
    /// The nodes that it believes up.
    pub(super) up: BTreeSet<String>,
    /// The orders that it was given and has not done, by their lines.
    pub(super) doing: BTreeSet<u32>,
    pub(super) done: u64,
    pub(super) load: Option<f64>,
    pub(super) load_set_ms: Option<u64>,
    pub(super) average: Option<(f64, u64)>,
    pub(super) view: Option<(u64, usize)>,
    pub(super) notices_sent: u64,
    pub(super) notices_heard: u64,
    pub(super) tills_found: Option<Vec<String>>,
    pub(super) standing: Option<Standing>,
}

impl Troupe {
    pub(super) fn new(folder: &Path) -> (Self, UnboundedReceiver<(usize, Heard<Say>)>) {
        let (said, hearing) = unbounded_channel();
        (Self { folder: folder.to_owned(), said, tills: Vec::new() }, hearing)
    }

    /// Starts one more till.
    pub(super) fn start(&mut self) -> std::io::Result<()> {
        let number = self.tills.len();
        let till = number.to_string();
        let arguments = ["demo".as_ref(), "--till".as_ref(), till.as_ref(), "--folder".as_ref()];
        let arguments = [&arguments[..], &[self.folder.as_os_str()]].concat();
        let process = Process::start(&arguments, number, self.said.clone())?;
        self.tills.push(Till {
            process,
            play: Play::of(number),
            is_alive: true,
            node: None,
            up: BTreeSet::new(),
            doing: BTreeSet::new(),
            done: 0,
            load: None,
            load_set_ms: None,
            average: None,
            view: None,
            notices_sent: 0,
            notices_heard: 0,
            tills_found: None,
            standing: None,
        });
        Ok(())
    }

    /// Those that were not killed.
    pub(super) fn alive(&self) -> impl Iterator<Item = (usize, &Till)> {
        self.tills.iter().enumerate().filter(|(_, till)| till.is_alive)
    }

    pub(super) fn alive_mut(&mut self) -> impl Iterator<Item = &mut Till> {
        self.tills.iter_mut().filter(|till| till.is_alive)
    }

    /// Kills one at once, as `kill -9` does. Returns the orders that it had not done.
    pub(super) fn kill(&mut self, number: usize) -> std::io::Result<BTreeSet<u32>> {
        let till = &mut self.tills[number];
        till.is_alive = false;
        till.process.kill()?;
        Ok(std::mem::take(&mut till.doing))
    }

    /// Waits until all have ended that were told to.
    pub(super) async fn wait(&mut self) {
        for till in &mut self.tills {
            till.process.wait().await;
        }
    }
}

impl Till {
    pub(super) fn tell(&self, tell: Tell) {
        self.process.tell(tell);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_alive && self.node.is_some()
    }
}
