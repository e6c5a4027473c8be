//! Who the nodes of a world are, and where: ids and addresses by number.

use std::collections::BTreeMap;
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
    indices: BTreeMap<NodeId, usize>,
}

impl Site {
    /// Nodes 0 to `nodes` - 1. A node is the same one in every world, whatever the seed.
    pub(crate) fn new(nodes: usize) -> Self {
        assert!(nodes <= NODES_MAX, "a world has {NODES_MAX} nodes at most");
        let id = |index: usize| NodeId::from_public_key(format!("node {index}").as_bytes());
        let ids: Vec<NodeId> = (0..nodes).map(id).collect();
        let indices = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        Self(Arc::new(Ids { ids, indices }))
    }

    pub(crate) fn id(&self, index: usize) -> NodeId {
        self.0.ids[index]
    }

    pub(crate) fn index(&self, id: NodeId) -> Option<usize> {
        self.0.indices.get(&id).copied()
    }

    /// Where node `index` is reached.
    pub(crate) fn address(index: usize) -> SocketAddr {
        let [_, a, b, c] = u32::try_from(index).expect("NODES_MAX is below 2^24").to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(10, a, b, c), PORT))
    }

    /// What node `index` shows of itself: a value of its own, as long as on real sockets so that
    /// what carries it counts as many bytes. Nobody here looks at it.
    pub(crate) fn credential(index: usize) -> Bytes {
        let mut credential = [0; CREDENTIAL_BYTES];
        credential[..8].copy_from_slice(&(index as u64).to_be_bytes());
        Bytes::copy_from_slice(&credential)
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
}
