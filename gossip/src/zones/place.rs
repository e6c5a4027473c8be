//! Places: where a node is in the tree of zones.
//!
//! A *zone* is all nodes whose ids begin with the same bits. The root is the zone of no bit; each
//! zone has two halves, by the next bit. A node is in one half of each zone that it is in; the
//! other is its *sibling zone*, and its number of bits that are the same the *level* of that. Ids
//! are hashes, so the tree is about even without anybody having drawn it up: among n nodes a node
//! has about log2 n sibling zones in which anybody is.

use live_objects::NodeId;

/// At which level another node is in the sibling zone of this one: with how many of the same bits
/// their ids begin. A node is in no sibling zone of its own: that is all of its bits.
pub(crate) fn level(one: NodeId, other: NodeId) -> usize {
    let bits = |node: NodeId| u128::from_be_bytes(*node.as_bytes());
    (bits(one) ^ bits(other)).leading_zeros() as usize
}

/// The zone of all whose ids begin with so many bits as this one: the first and the last id that
/// can be in it.
pub(crate) fn zone(node: NodeId, bits: u32) -> (NodeId, NodeId) {
    let below = u128::MAX.checked_shr(bits).unwrap_or(0);
    let first = u128::from_be_bytes(*node.as_bytes()) & !below;
    let id = |bits: u128| NodeId::from_bytes(bits.to_be_bytes());
    (id(first), id(first | below))
}

/// The sibling zone of a node at a level: the first and the last id that can be in it.
pub(crate) fn sibling(node: NodeId, level: usize) -> (NodeId, NodeId) {
    let bit = 1 << (u128::BITS - 1 - level as u32);
    let beside = u128::from_be_bytes(*node.as_bytes()) ^ bit;
    zone(NodeId::from_bytes(beside.to_be_bytes()), level as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_the_bits_in_common() {
        let node = |first: u8, last: u8| {
            let mut bytes = [0; NodeId::LEN];
            (bytes[0], bytes[15]) = (first, last);
            NodeId::from_bytes(bytes)
        };
        assert_eq!(level(node(0b1000_0000, 0), node(0, 0)), 0);
        assert_eq!(level(node(0b1010_0000, 0), node(0b1011_0000, 0)), 3);
        assert_eq!(level(node(7, 0), node(7, 1)), 127);
        assert_eq!(level(node(7, 1), node(7, 1)), 128);
    }

    #[test]
    fn a_sibling_zone_is_all_of_its_level() {
        for me in [[0; NodeId::LEN], [0x5a; NodeId::LEN], [0xff; NodeId::LEN]] {
            let me = NodeId::from_bytes(me);
            let bits = |node: NodeId| u128::from_be_bytes(*node.as_bytes());
            for at in 0..128 {
                let (first, last) = sibling(me, at);
                assert_eq!((level(me, first), level(me, last)), (at, at));
                let size = bits(last) - bits(first);
                assert_eq!(size, u128::MAX.checked_shr(at as u32 + 1).unwrap_or(0));
            }
        }
    }
}
