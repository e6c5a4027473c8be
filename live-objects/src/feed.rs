//! An object's feed: commands that wait for the module to take them.
//!
//! QSM (NCA 2008) lets the network *pull* messages from the groups when it can send them, instead
//! of letting groups push messages into buffers. A feed is that: bounded, read just in time, in
//! slices as large as the module has room for. A command stays in the feed until the module
//! *releases* it, since a module may have to say it again: what was cut into frames before a view
//! change and did not get through is cut again in the next view ([`Feed::rewind`]).

use std::collections::VecDeque;

use crate::event::Command;

/// What a module took from a feed: a command or, if that was larger than asked for, a slice of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The command's number in this feed: 0, 1, 2, …
    pub message: u64,
    /// Where in the command's payload this slice begins, in bytes.
    pub offset: usize,
    /// Whether this slice is the command's last.
    pub last: bool,
    /// The command, its payload cut to the slice.
    pub command: Command,
}

/// Commands in the order they were given. Those before `next` were taken, and wait to be released.
#[derive(Default)]
pub(crate) struct Feed {
    commands: VecDeque<Command>,
    /// The number of the first command kept.
    first: u64,
    /// The number of the command to be taken next, and how much of it was taken.
    next: u64,
    offset: usize,
    /// What all commands kept count for.
    bytes: usize,
}

impl Feed {
    /// Takes a command in; returns its number.
    pub(crate) fn push(&mut self, command: Command) -> u64 {
        self.bytes += command.cost();
        self.commands.push_back(command);
        self.first + self.commands.len() as u64 - 1
    }

    /// Whether every command was taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.next == self.first + self.commands.len() as u64
    }

    /// What the feed counts for in a byte budget.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn take(&mut self, bytes_max: usize) -> Option<Taken> {
        assert!(bytes_max > 0, "a slice of nothing would never end");
        let command = self.commands.get(self.index(self.next))?;
        let (message, offset) = (self.next, self.offset);
        let (slice, last) = command.slice(offset, bytes_max);
        if last {
            self.next += 1;
            self.offset = 0;
        } else {
            self.offset += slice.payload().len();
        }
        Some(Taken { message, offset, last, command: slice })
    }

    /// Forgets the commands up to and with `message`; returns what they counted for.
    pub(crate) fn release(&mut self, message: u64) -> usize {
        assert!(message < self.next, "released command {message} before it was wholly taken");
        let mut freed = 0;
        while self.first <= message {
            let command = self.commands.pop_front().expect("all up to next are in the feed");
            freed += command.cost();
            self.first += 1;
        }
        self.bytes -= freed;
        freed
    }

    /// Takes again from the command `message` on.
    pub(crate) fn rewind(&mut self, message: u64) {
        assert!(self.first <= message && message <= self.next, "rewound to a command not kept");
        self.next = message;
        self.offset = 0;
    }

    fn index(&self, message: u64) -> usize {
        usize::try_from(message - self.first).expect("a feed holds fewer commands than usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn command(text: &'static str) -> Command {
        Command::Custom(Bytes::from_static(text.as_bytes()))
    }

    fn taken(message: u64, offset: usize, last: bool, text: &'static str) -> Option<Taken> {
        Some(Taken { message, offset, last, command: command(text) })
    }

    #[test]
    fn a_large_command_is_taken_in_slices() {
        let mut feed = Feed::default();
        feed.push(command("abcde"));
        feed.push(command("f"));
        assert_eq!(feed.take(2), taken(0, 0, false, "ab"));
        assert_eq!(feed.take(3), taken(0, 2, true, "cde"));
        assert_eq!(feed.take(9), taken(1, 0, true, "f"));
        assert_eq!(feed.take(9), None);
    }

    #[test]
    fn an_empty_command_is_one_slice() {
        let mut feed = Feed::default();
        feed.push(command(""));
        assert_eq!(feed.take(1), taken(0, 0, true, ""));
        assert_eq!(feed.take(1), None);
    }

    #[test]
    fn what_was_not_released_can_be_taken_again() {
        let mut feed = Feed::default();
        assert_eq!(["a", "b", "cd"].map(|text| feed.push(command(text))), [0, 1, 2]);
        let all = feed.bytes();
        assert_eq!(feed.take(9), taken(0, 0, true, "a"));
        assert_eq!(feed.take(9), taken(1, 0, true, "b"));
        assert_eq!(feed.take(1), taken(2, 0, false, "c"));
        assert_eq!(feed.release(0) + feed.bytes(), all);
        feed.rewind(1);
        assert_eq!(feed.take(9), taken(1, 0, true, "b"));
        assert_eq!(feed.take(9), taken(2, 0, true, "cd"));
        feed.release(2);
        assert!(feed.is_taken());
        assert_eq!(feed.bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "before it was wholly taken")]
    fn a_command_is_not_released_half_taken() {
        let mut feed = Feed::default();
        feed.push(command("ab"));
        feed.take(1);
        feed.release(0);
    }

    proptest! {
        /// However slices are cut, what was given comes out in order and whole.
        #[test]
        fn slices_join_to_what_was_given(
            given in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let mut feed = Feed::default();
            given.iter().for_each(|bytes| {
                feed.push(Command::Custom(bytes.clone().into()));
            });
            let mut got: Vec<Vec<u8>> = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while let Some(taken) = feed.take(*cuts.next().unwrap()) {
                let bytes = taken.command.payload().clone();
                if taken.offset == 0 {
                    got.push(Vec::new());
                }
                prop_assert_eq!(taken.message as usize + 1, got.len());
                let whole = got.last_mut().unwrap();
                prop_assert_eq!(taken.offset, whole.len());
                whole.extend_from_slice(&bytes);
            }
            prop_assert_eq!(got, given);
        }
    }
}
