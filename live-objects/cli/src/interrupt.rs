//! How a command that runs is asked to end: by ^C, or on unix by SIGTERM.
//!
//! Whoever listens must end by itself, for the system no longer ends it: a node first says good-bye
//! to the others, which would else take it for crashed. Asked again meanwhile, it ends at once.

use std::process::exit;

use logo::Node;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for what asks the command to end, from when it is made.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl Interrupt {
    /// Needs a tokio runtime.
    #[cfg(unix)]
    pub(crate) fn listen() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Needs a tokio runtime.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits until the command is asked to end, and tells the exit code that says so. May be
    /// dropped and asked again.
    pub(crate) async fn interrupted(&mut self) -> u8 {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
        #[cfg(not(unix))]
        {
            // If ^C cannot be heard, the system ends the command.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            INTERRUPTED
        }
    }

    /// Lets the node say good-bye, unless the command is asked to end meanwhile.
    pub(crate) async fn stop(&mut self, node: Node) {
        tokio::select! {
            () = node.stop() => {}
            code = self.interrupted() => exit(code.into()),
        }
    }
}

/// As shells tell of a signal: 128 and its number.
const INTERRUPTED: u8 = 130;
#[cfg(unix)]
const TERMINATED: u8 = 143;
