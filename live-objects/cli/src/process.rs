//! Processes that the command starts of itself, and what is told between them: lines of JSON on
//! their standard input and output.
//!
//! A process ends when its standard input does: so none outlives whoever started it, however that
//! ends. Dropping one kills it.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::Stdio;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A process that was started here. `T` is what it is told.
pub(crate) struct Process<T> {
    child: Child,
    telling: UnboundedSender<T>,
}

/// What comes from a process. `S` is what it says.
pub(crate) enum Heard<S> {
    Say(S),
    /// It says nothing more.
    End,
}

impl<T: Serialize + Send + 'static> Process<T> {
    /// Starts this very command with these arguments. What it says comes with its number.
    pub(crate) fn start<S: DeserializeOwned + Send + 'static>(
        arguments: &[&OsStr],
        number: usize,
        said: UnboundedSender<(usize, Heard<S>)>,
    ) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (telling, told) = unbounded_channel();
        tokio::spawn(tell(child.stdin.take().expect("it is piped"), told));
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(say) = serde_json::from_str(&line) {
                    let _ = said.send((number, Heard::Say(say)));
                }
            }
            let _ = said.send((number, Heard::End));
        });
        Ok(Self { child, telling })
    }

    pub(crate) fn tell(&self, tell: T) {
        // One that has ended is found out by what it no longer says.
        let _ = self.telling.send(tell);
    }

    /// What the system calls it, until it was waited for.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.start_kill()
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&mut self) {
        let _ = self.child.wait().await;
    }
}

async fn tell<T: Serialize>(mut stdin: ChildStdin, mut told: UnboundedReceiver<T>) {
    while let Some(tell) = told.recv().await {
        let mut line = serde_json::to_vec(&tell).expect("what is told can be written");
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// In a process that was started so: what it is told, until nobody is there to tell it.
pub(crate) fn listen<T: DeserializeOwned + Send + 'static>() -> UnboundedReceiver<T> {
    let (sender, told) = unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(tell) = serde_json::from_str(&line) else { continue };
            if sender.send(tell).is_err() {
                return;
            }
        }
    });
    told
}

/// One line, whole. If nobody listens any more, the end of the input tells so.
pub(crate) fn say(say: &impl Serialize) {
    let mut line = serde_json::to_vec(say).expect("what is said can be written");
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
