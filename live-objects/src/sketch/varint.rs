//! Integers of seven bits a byte, the lowest first, with the highest bit set in all bytes but the
//! last: small ones, of which sketches are full, take a byte.

use bytes::{Buf, BufMut, BytesMut};

use super::SketchError;

/// How long an integer is when written.
pub(super) fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

pub(super) fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, SketchError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8()?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(SketchError::Unsound("an integer longer than 64 bits"))
}

/// The longest integer.
pub(super) const VARINT_LEN_MAX: usize = 10;

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
        assert!(take_varint(&mut &[0xff; 10][..]).is_err());
        assert_eq!(take_varint(&mut &[0xff; 9][..]), Err(SketchError::Truncated));
    }
}
