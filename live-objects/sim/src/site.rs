//! Who the nodes of a world are, and where: ids and addresses by number, and the way back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use live_objects::NodeId;

/// The nodes of a world. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Site(Arc<Ids>);

#[derive(Debug)]
struct Ids {
    ids: Vec<NodeId>,
    credentials: Vec<Bytes>,
    /// By id, and where those begin whose ids have each head, with an end.
    indices: Vec<(NodeId, u32)>,
    bits: u32,
    begins: Vec<u32>,
}

impl Site {
    /// Nodes 0 to `nodes` - 1. A node is the same one in every world, whatever the seed.
    pub(crate) fn new(nodes: usize) -> Self {
        assert!(nodes <= NODES_MAX, "a world has {NODES_MAX} nodes at most");
        let id = |index: usize| NodeId::from_public_key(format!("node {index}").as_bytes());
        let ids: Vec<NodeId> = (0..nodes).map(id).collect();
        let mut indices: Vec<_> = ids.iter().copied().zip(0..).collect();
        indices.sort_unstable();
        let bits = nodes.max(2).ilog2();
        let begin = |head| indices.partition_point(|(id, _)| head_of(*id, bits) < head) as u32;
        let begins = (0..=1 << bits).map(begin).collect();
        let credentials = (0..nodes).map(credential).collect();
        Self(Arc::new(Ids { ids, credentials, indices, bits, begins }))
    }

    pub(crate) fn id(&self, index: usize) -> NodeId {
        self.0.ids[index]
    }

    pub(crate) fn index(&self, id: NodeId) -> Option<usize> {
        // Ids are hashes, spread evenly: few begin alike.
        let head = head_of(id, self.0.bits);
        let (begin, end) = (self.0.begins[head], self.0.begins[head + 1]);
        let alike = &self.0.indices[begin as usize..end as usize];
        alike.iter().find(|(other, _)| *other == id).map(|(_, index)| *index as usize)
    }

    /// Where node `index` is reached.
    pub(crate) fn address(index: usize) -> SocketAddr {
        let [_, a, b, c] = u32::try_from(index).expect("NODES_MAX is below 2^24").to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(10, a, b, c), PORT))
    }

    /// What node `index` shows of itself: a value of its own, as long as on real sockets so that
    /// what carries it counts as many bytes. Nobody here looks at it.
    pub(crate) fn credential(&self, index: usize) -> Bytes {
        self.0.credentials[index].clone()
    }

    /// Which node is reached there.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<usize> {
        let index = match address {
            SocketAddr::V4(v4) => u32::from(*v4.ip()).checked_sub(u32::from(NET))? as usize,
            SocketAddr::V6(_) => return None,
        };
        (index < self.0.ids.len() && address.port() == PORT).then_some(index)
    }
}

fn credential(index: usize) -> Bytes {
    let mut credential = [0; CREDENTIAL_BYTES];
    credential[..8].copy_from_slice(&(index as u64).to_be_bytes());
    Bytes::copy_from_slice(&credential)
}

/// The first bits of an id, as a number.
fn head_of(id: NodeId, bits: u32) -> usize {
    let (head, _) = id.as_bytes().split_first_chunk().expect("an id is longer");
    (u64::from_be_bytes(*head) >> (u64::BITS - bits)) as usize
}

const NET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const PORT: u16 = 7_400;
const NODES_MAX: usize = 1 << 24;
/// The length of a credential of `live-objects-net`: version, key, expiry, signature.
const CREDENTIAL_BYTES: usize = 1 + 32 + 8 + 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_back_to_their_nodes() {
        let site = Site::new(70_000);
        for index in [0, 1, 255, 256, 69_999] {
            assert_eq!(site.at(Site::address(index)), Some(index));
            assert_eq!(site.index(site.id(index)), Some(index));
        }
        assert_eq!(site.at(Site::address(70_000)), None);
        assert_eq!(site.at("192.168.0.1:7400".parse().unwrap()), None);
    }

    #[test]
    fn ids_lead_back_to_their_nodes() {
        for nodes in [1, 2, 3, 1_000] {
            let site = Site::new(nodes);
            assert!((0..nodes).all(|index| site.index(site.id(index)) == Some(index)));
            let strangers = (nodes..2_000).map(|index| Site::new(2_000).id(index));
            assert!(strangers.take(50).all(|stranger| site.index(stranger).is_none()));
            for end in [[0; 16], [0xff; 16]] {
                assert_eq!(site.index(NodeId::from_bytes(end)), None);
            }
        }
    }
}
