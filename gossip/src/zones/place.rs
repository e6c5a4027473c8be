//! Places: where a node is in the tree of zones.
//!
//! A *zone* is all nodes whose ids begin with the same hex digits. The root is the zone of no
//! digit; a zone has up to 16 zones of one digit more. Ids are hashes, so the tree is about even
//! without anybody having drawn it up.

use live_objects::NodeId;

/// How many digits an id has.
pub(crate) const DIGITS: usize = 2 * NodeId::LEN;

/// How many zones a zone has.
pub(crate) const FANOUT: usize = 16;

/// A digit of an id, the first being 0.
pub(crate) const fn digit(node: NodeId, at: usize) -> usize {
    let byte = node.as_bytes()[at / 2];
    (if at.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }) as usize
}

/// With how many of the same digits two ids begin.
pub(crate) fn common(one: NodeId, other: NodeId) -> usize {
    (0..DIGITS).take_while(|at| digit(one, *at) == digit(other, *at)).count()
}

/// The zone of the first `len` digits of an id: its first and its last node.
pub(crate) fn zone(node: NodeId, len: usize) -> (NodeId, NodeId) {
    let (mut first, mut last) = (*node.as_bytes(), *node.as_bytes());
    for at in len..DIGITS {
        let mask = if at.is_multiple_of(2) { 0xf0 } else { 0x0f };
        first[at / 2] &= !mask;
        last[at / 2] |= mask;
    }
    (NodeId::from_bytes(first), NodeId::from_bytes(last))
}

/// The zone beside one's own that has this digit at that place.
pub(crate) fn sibling(node: NodeId, at: usize, digit: usize) -> (NodeId, NodeId) {
    let mut bytes = *node.as_bytes();
    let byte = &mut bytes[at / 2];
    *byte = if at.is_multiple_of(2) {
        *byte & 0x0f | (digit as u8) << 4
    } else {
        *byte & 0xf0 | digit as u8
    };
    zone(NodeId::from_bytes(bytes), at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str, fill: u8) -> NodeId {
        let mut bytes = [fill; NodeId::LEN];
        for (at, char) in text.chars().enumerate() {
            let digit = char.to_digit(16).unwrap() as u8;
            let byte = &mut bytes[at / 2];
            *byte =
                if at.is_multiple_of(2) { *byte & 0x0f | digit << 4 } else { *byte & 0xf0 | digit };
        }
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn zones_begin_with_the_same_digits() {
        let node = id("a5c", 0x77);
        assert_eq!(
            [digit(node, 0), digit(node, 1), digit(node, 2), digit(node, 3)],
            [10, 5, 12, 7]
        );
        assert_eq!(common(node, id("a5d", 0x77)), 2);
        assert_eq!(common(node, node), DIGITS);
        assert_eq!(zone(node, 0), (id("", 0), id("", 0xff)));
        assert_eq!(zone(node, 3), (id("a5c", 0), id("a5c", 0xff)));
        assert_eq!(zone(node, DIGITS), (node, node));
        assert_eq!(sibling(node, 1, 0), (id("a0", 0), id("a0", 0xff)));
        assert_eq!(sibling(node, 2, 15), (id("a5f", 0), id("a5f", 0xff)));
    }
}
