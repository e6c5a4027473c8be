//! Integers of seven bits a byte, the lowest first, with the highest bit set in all bytes but the
//! last: small ones, of which packets and sketches are full, take a byte. (LEB128, as in DWARF 5,
//! section 7.6.)

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

/// How long an integer is when written, in bytes.
pub fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes an integer behind what is there.
pub fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Reads the integer that the bytes begin with, and goes on behind it. After an error it is not
/// said where the bytes go on.
///
/// # Errors
///
/// If the bytes end within it, or it is too large.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, VarintError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| VarintError::Truncated)?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(VarintError::TooLarge)
}

/// Why an integer cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum VarintError {
    /// The bytes end within it.
    #[error("an integer that does not end")]
    Truncated,
    /// It does not fit into 64 bits.
    #[error("an integer longer than 64 bits")]
    TooLarge,
}

/// The longest integer, in bytes.
pub const VARINT_LEN_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_are_as_long_as_they_say(number: u64, shift in 0..64_u32) {
            let number = number >> shift;
            let mut out = BytesMut::new();
            put_varint(&mut out, number);
            prop_assert_eq!(out.len(), varint_len(number));
            prop_assert!(out.len() <= VARINT_LEN_MAX);
            prop_assert_eq!(take_varint(&mut &out[..]), Ok(number));
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(take_varint(&mut &[0xff; 10][..]), Err(VarintError::TooLarge));
        assert_eq!(take_varint(&mut &[0xff; 9][..]), Err(VarintError::Truncated));
    }
}
