//! How many different items there are: HyperLogLog (Flajolet, Fusy, Gandouet and Meunier, AofA
//! 2007), with the improved raw estimator of Ertl ("New cardinality estimation algorithms for
//! HyperLogLog sketches", 2017, algorithm 6), which needs neither a table of corrections nor
//! another estimator where there are few.
//!
//! Half of an item's hash chooses a register; it keeps the highest position of the first 1 in the
//! other half. Of m registers the relative error is 1.04 / √m, here 1.9 %. Merging takes the higher
//! of two registers, and is exact: an item counts once wherever it was seen.
//!
//! Registers are six bits. A part of 1,024 is written in whichever of three ways is shortest: as
//! those that are not 0, of two bytes each; with three bits for each that is not far from the
//! others, which is usual and takes some 430 bytes; or plainly, as 768.
//!
//! Invariant: no register is above [`REGISTER_MAX`].

use bytes::{Buf, BufMut, BytesMut};

use super::{SketchError, hash};

/// Which items some members have seen, as far as it takes to count them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Distinct {
    registers: Box<[u8]>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self { registers: vec![0; Self::REGISTERS].into() }
    }
}

impl Distinct {
    /// How many registers there are.
    pub const REGISTERS: usize = PART_REGISTERS * Self::PARTS as usize;
    /// The standard error of a count, as a part of it.
    pub const ERROR: f64 = 0.018_764;
    pub(crate) const PARTS: u8 = 3;

    /// Of no items.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an item in, unless it was.
    pub fn insert(&mut self, item: &[u8]) {
        let hash = hash(item);
        let index = ((hash >> 32) * Self::REGISTERS as u64) >> 32;
        let register = &mut self.registers[index as usize];
        *register = (*register).max((hash as u32).leading_zeros() as u8 + 1);
    }

    /// How many different items there are, about.
    pub fn estimate(&self) -> f64 {
        let mut counts = [0_u32; REGISTER_MAX as usize + 1];
        self.registers.iter().for_each(|register| counts[usize::from(*register)] += 1);
        let registers = self.registers.len() as f64;
        let part = |count: u32| f64::from(count) / registers;
        let [zeros, middle @ .., full] = counts;
        let begin = registers * tau(1.0 - part(full));
        let sum = middle.iter().rev().fold(begin, |sum, count| 0.5 * (sum + f64::from(*count)));
        let sum = sum + registers * sigma(part(zeros));
        (ALPHA * registers * registers / sum).min(f64::MAX)
    }

    /// What all parts are parts of.
    pub(crate) fn whole<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let registers: Vec<u8> = parts.flat_map(|part| part.registers.iter().copied()).collect();
        Self { registers: registers.into() }
    }

    pub(super) fn parts(&self) -> Vec<Self> {
        let chunks = self.registers.chunks(PART_REGISTERS);
        chunks.map(|registers| Self { registers: registers.into() }).collect()
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        assert_eq!(self.registers.len(), other.registers.len(), "parts are of the same length");
        let both = self.registers.iter().zip(&other.registers);
        Self { registers: both.map(|(one, other)| *one.max(other)).collect() }
    }

    pub(super) fn size(&self) -> usize {
        self.registers.len()
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + self.shortest().1
    }

    /// The way of writing that takes the fewest bytes, and how many.
    fn shortest(&self) -> (Way, usize) {
        let mut counts = [0_usize; 64];
        self.registers.iter().for_each(|register| counts[usize::from(*register)] += 1);
        let len = self.registers.len();
        let few = (Way::Few, 2 * (len - counts[0]));
        let plain = (Way::Plain, (len * REGISTER_BITS as usize).div_ceil(8));
        let near = |base: usize| counts[base..base + ESCAPE as usize].iter().sum::<usize>();
        let bases = (0..=64 - ESCAPE as usize).map(|base| {
            let bits = len * NEAR_BITS as usize + (len - near(base)) * REGISTER_BITS as usize;
            (Way::Near(base as u8), 1 + bits.div_ceil(8))
        });
        let all = [few, plain].into_iter().chain(bases);
        all.min_by_key(|(_, len)| *len).expect("there are two at least")
    }

    /// ```text
    ///  0 u8, and of each register that is not 0:  index of ten bits, register of six
    ///  1 u8, base u8, and of each register:       register - base of three bits if that is below
    ///                                             7, else 7 and the register of six
    ///  2 u8, and of each register:                six bits
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        let mut bits = Bits::default();
        match self.shortest().0 {
            Way::Few => {
                out.put_u8(0);
                let registers = self.registers.iter().zip(0_u16..);
                for (register, index) in registers.filter(|(register, _)| **register > 0) {
                    out.put_u16(index << REGISTER_BITS | u16::from(*register));
                }
            }
            Way::Near(base) => {
                out.put_slice(&[1, base]);
                for register in &self.registers {
                    match register.checked_sub(base).filter(|above| *above < ESCAPE) {
                        Some(above) => bits.put(out, above, NEAR_BITS),
                        None => {
                            bits.put(out, ESCAPE, NEAR_BITS);
                            bits.put(out, *register, REGISTER_BITS);
                        }
                    }
                }
            }
            Way::Plain => {
                out.put_u8(2);
                self.registers.iter().for_each(|register| bits.put(out, *register, REGISTER_BITS));
            }
        }
        bits.end(out);
    }

    /// Reads a part.
    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let mut registers = vec![0; PART_REGISTERS];
        let mut bits = Bits::default();
        match bytes.try_get_u8()? {
            0 => {
                while !bytes.is_empty() {
                    let both = bytes.try_get_u16()?;
                    let register = both as u8 & ((1 << REGISTER_BITS) - 1);
                    registers[usize::from(both >> REGISTER_BITS)] = register;
                }
            }
            1 => {
                let base = bytes.try_get_u8()?.min(REGISTER_MAX);
                for register in &mut registers {
                    *register = match bits.take(bytes, NEAR_BITS)? {
                        ESCAPE => bits.take(bytes, REGISTER_BITS)?,
                        above => base + above,
                    };
                }
            }
            2 => {
                for register in &mut registers {
                    *register = bits.take(bytes, REGISTER_BITS)?;
                }
            }
            _ => return Err(SketchError::Unsound("registers written in no known way")),
        }
        if registers.iter().any(|register| *register > REGISTER_MAX) {
            return Err(SketchError::Unsound("a register that is too high"));
        }
        Ok(Self { registers: registers.into() })
    }
}

/// How a part is written.
#[derive(Clone, Copy)]
enum Way {
    Few,
    Near(u8),
    Plain,
}

/// Bits that are on their way into bytes or out of them, the first ones highest.
#[derive(Default)]
struct Bits {
    held: u16,
    len: u32,
}

impl Bits {
    fn put(&mut self, out: &mut BytesMut, value: u8, bits: u32) {
        self.held = self.held << bits | u16::from(value);
        self.len += bits;
        if self.len >= 8 {
            self.len -= 8;
            out.put_u8((self.held >> self.len) as u8);
            self.held &= (1 << self.len) - 1;
        }
    }

    fn end(self, out: &mut BytesMut) {
        if self.len > 0 {
            out.put_u8((self.held << (8 - self.len)) as u8);
        }
    }

    fn take(&mut self, bytes: &mut &[u8], bits: u32) -> Result<u8, SketchError> {
        if self.len < bits {
            self.held = self.held << 8 | u16::from(bytes.try_get_u8()?);
            self.len += 8;
        }
        self.len -= bits;
        let value = self.held >> self.len;
        self.held &= (1 << self.len) - 1;
        Ok(value as u8)
    }
}

/// Algorithm 6 of Ertl's paper.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The same.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

const PART_REGISTERS: usize = 1_024;
const REGISTER_BITS: u32 = 6;
const NEAR_BITS: u32 = 3;
const ESCAPE: u8 = (1 << NEAR_BITS) - 1;

/// All 32 bits are 0. With so many registers that is enough for 10^12 items.
const REGISTER_MAX: u8 = 32 + 1;

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

#[cfg(test)]
mod tests {
    use super::super::Sketch;
    use super::super::tests::{bytes, part_laws};
    use super::*;
    use proptest::prelude::*;

    fn of(items: impl Iterator<Item = u64>) -> Distinct {
        let mut sketch = Distinct::new();
        items.for_each(|item| sketch.insert(&item.to_be_bytes()));
        sketch
    }

    proptest! {
        #[test]
        fn parts_merge(
            items in prop::collection::vec(any::<u64>(), 3),
            sizes in prop::collection::vec(0..20_000_u64, 3),
        ) {
            let sketch = |at: usize| {
                let whole = of((0..sizes[at]).map(|number| items[at].wrapping_add(number)));
                Sketch::Distinct(whole.parts().remove(at))
            };
            let [one, two, three] = [0, 1, 2].map(sketch);
            part_laws(&[one.clone(), two.clone(), three.clone()])?;
            prop_assert_eq!(one.merged(&two).merged(&three), one.merged(&two.merged(&three)));
        }

        #[test]
        fn registers_of_any_kind_come_back(registers in prop::collection::vec(
            prop_oneof![9 => 5..14_u8, 1 => 0..=REGISTER_MAX], PART_REGISTERS,
        )) {
            let part = Distinct { registers: registers.into() };
            part_laws(&[Sketch::Distinct(part)])?;
        }
    }

    #[test]
    fn counts_are_about_right_whether_few_or_many() {
        assert_eq!(Distinct::new().estimate(), 0.0);
        for size in [1, 10, 1_000, 10_000, 30_000, 300_000] {
            let whole = of((0..size).map(|number| number * 3));
            let error = (whole.estimate() / size as f64 - 1.0).abs();
            assert!(error <= 3.0 * Distinct::ERROR, "{error} of {size}");
            assert_eq!(Distinct::whole(whole.parts().iter()), whole);
        }
        let full = Distinct { registers: vec![REGISTER_MAX; Distinct::REGISTERS].into() };
        assert_eq!(full.estimate(), f64::MAX);
    }

    /// Registers of two builds that hash differently would never agree.
    #[test]
    fn golden_hash() {
        assert_eq!(hash(b""), 0xe220_a839_7b1d_cdaf);
        assert_eq!(hash(b"a longer item"), 0x2234_725a_f0b0_9251);
    }

    #[test]
    fn each_way_is_taken_where_it_is_shortest() {
        let len = |sketch: Distinct| sketch.parts()[0].encoded_len();
        assert_eq!(len(Distinct::new()), 1);
        assert!(len(of(0..400)) < 300);
        assert!((400..470).contains(&len(of(0..1_000_000))));
        let scattered = (0..PART_REGISTERS).map(|at| (at % 34) as u8).collect();
        let plain = Distinct { registers: scattered };
        assert_eq!(plain.encoded_len(), 1 + 768);
    }

    #[test]
    fn golden_bytes() {
        let mut part = Distinct::new().parts().remove(0);
        (part.registers[1], part.registers[1_023]) = (9, 2);
        assert_eq!(bytes(&Sketch::Distinct(part.clone())), "000049ffc2");
        part.registers.fill(12);
        part.registers[0] = 20;
        let near = bytes(&Sketch::Distinct(part));
        assert!(near.starts_with("0106ea6db6db"), "{near}");
    }

    #[test]
    fn damage_is_refused() {
        let take = |bytes: &[u8]| Distinct::take(&mut &bytes[..]);
        assert!(take(&[0]).is_ok());
        assert_eq!(take(&[0, 1]), Err(SketchError::Truncated));
        assert_eq!(take(&[2, 0, 0]), Err(SketchError::Truncated));
        assert!(take(&[0, 0, 63]).is_err(), "a register of 63");
        assert!(take(&[3]).is_err(), "a way of 3");
        assert!(take(&[1, 0xff, 0, 0]).is_err());
    }
}
