//! The processes of the tills: started, told, heard, killed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::load::Play;
use super::talk::{Say, Standing, Tell};

/// All tills, by their numbers. One that was killed keeps its number.
pub(super) struct Troupe {
    folder: PathBuf,
    said: UnboundedSender<(usize, Heard)>,
    pub(super) tills: Vec<Till>,
}

/// What comes from a till.
pub(super) enum Heard {
    Say(Say),
    /// It says nothing more.
    End,
}

/// What is known of a till.
pub(super) struct Till {
    child: Child,
    telling: UnboundedSender<Tell>,
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
    pub(super) fn new(folder: &Path) -> (Self, UnboundedReceiver<(usize, Heard)>) {
        let (said, hearing) = unbounded_channel();
        (Self { folder: folder.to_owned(), said, tills: Vec::new() }, hearing)
    }

    /// Starts one more till.
    pub(super) fn start(&mut self) -> std::io::Result<()> {
        let number = self.tills.len();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo", "--till", &number.to_string(), "--folder"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (telling, told) = unbounded_channel();
        tokio::spawn(tell(child.stdin.take().expect("it is piped"), told));
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let said = self.said.clone();
        tokio::spawn(async move {
            let mut lines = lines;
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(say) = serde_json::from_str(&line) {
                    let _ = said.send((number, Heard::Say(say)));
                }
            }
            let _ = said.send((number, Heard::End));
        });
        self.tills.push(Till {
            child,
            telling,
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
        till.child.start_kill()?;
        Ok(std::mem::take(&mut till.doing))
    }

    /// Waits until all have ended that were told to.
    pub(super) async fn wait(&mut self) {
        for till in &mut self.tills {
            let _ = till.child.wait().await;
        }
    }
}

impl Till {
    pub(super) fn tell(&self, tell: Tell) {
        // One that has ended is found out by what it no longer says.
        let _ = self.telling.send(tell);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_alive && self.node.is_some()
    }
}

async fn tell(mut stdin: ChildStdin, mut told: UnboundedReceiver<Tell>) {
    while let Some(tell) = told.recv().await {
        let mut line = serde_json::to_vec(&tell).expect("what is told can be written");
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}
