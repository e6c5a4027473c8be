//! The screen that `logo top` draws on: the other one of the terminal, which is left as it was.
//!
//! That takes a few escape sequences, as old as terminals, and keys that are read one by one. A
//! page is plain text (`snapshot`); a library of widgets would bring some sixty crates to show it.

use std::io::{IsTerminal, Write};

use tokio::io::{AsyncReadExt, Stdin};

/// A terminal that shows pages, until it is dropped.
pub(super) struct Terminal {
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

impl Terminal {
    /// None where keys cannot be read one by one, or nobody sees a screen.
    #[cfg(unix)]
    pub(super) fn enter() -> Option<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        if !std::io::stdout().is_terminal() || !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut modes = before.clone();
        // ^C is still the system's.
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &modes).ok()?;
        put(ENTER);
        Some(Self { before })
    }

    #[cfg(not(unix))]
    pub(super) fn enter() -> Option<Self> {
        (std::io::stdout().is_terminal() && std::io::stdin().is_terminal()).then(|| {
            put(ENTER);
            Self {}
        })
    }

    /// Columns and lines.
    #[cfg(unix)]
    pub(super) fn room(&self) -> (usize, usize) {
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        match size {
            Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => ROOM,
        }
    }

    #[cfg(not(unix))]
    pub(super) fn room(&self) -> (usize, usize) {
        ROOM
    }

    /// Shows a page in place of the one before.
    pub(super) fn show(&self, page: &str) {
        // Each line is cleared behind its end, and all that is below the last.
        let lines: Vec<String> = page.lines().map(|line| format!("{line}\x1b[K")).collect();
        put(&format!("\x1b[H{}\x1b[J", lines.join("\n")));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        put(LEAVE);
        #[cfg(unix)]
        let _ = rustix::termios::tcsetattr(
            std::io::stdin(),
            rustix::termios::OptionalActions::Now,
            &self.before,
        );
    }
}

/// What is typed.
pub(super) struct Keys(Stdin);

impl Keys {
    pub(super) fn new() -> Self {
        Self(tokio::io::stdin())
    }

    /// Waits until somebody wants to leave; for ever, if nobody can say so any more.
    pub(super) async fn quit(&mut self) {
        let mut typed = [0; 64];
        while let Ok(len @ 1..) = self.0.read(&mut typed).await {
            if typed[..len].iter().any(|key| b"qQ".contains(key)) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// What cannot be drawn is drawn the next time.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Where the terminal does not say how large it is.
const ROOM: (usize, usize) = (80, 24);
