//! A running hash over everything that happened, to see that two runs were the same run.
//!
//! It guards against accidents (a random iteration order, an ambient clock), not against forgers,
//! so it is made for speed: eight bytes a multiplication.

use live_objects::Time;

/// A running 64-bit hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31);
    }

    pub(crate) fn time(&mut self, time: Time) {
        self.number(time.as_nanos());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let chunks = bytes.chunks_exact(8);
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        for chunk in chunks {
            self.number(u64::from_le_bytes(chunk.try_into().expect("chunks of eight")));
        }
        self.number(u64::from_le_bytes(last));
    }

    pub(crate) const fn hash(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut trace = Trace::new();
        parts.iter().for_each(|part| trace.bytes(part));
        trace.hash()
    }

    #[test]
    fn every_byte_and_every_border_counts() {
        let base = of(&[b"0123456789", b"ab"]);
        assert_eq!(base, of(&[b"0123456789", b"ab"]));
        assert_ne!(base, of(&[b"0123456780", b"ab"]));
        assert_ne!(base, of(&[b"0123456789a", b"b"]));
        assert_ne!(base, of(&[b"ab", b"0123456789"]));
        assert_ne!(of(&[b"a"]), of(&[b"a\0"]));
    }
}
