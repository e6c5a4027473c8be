//! Which nodes of a cluster may be in it no longer: revocation lists (RFC 5280, section 5).
//!
//! A list names certificates by their numbers. Here a certificate's number is the id of the node
//! that it is for, so that a list names *nodes*: whoever is in it is refused with every certificate
//! that its key ever got or gets. (RFC 5280 wants a number of its own for each certificate; that a
//! key's certificates share one is meant.)
//!
//! A list counts only for what the authority that signed it has issued. So an authority with an old
//! key beside the new one signs two lists, which name the same nodes.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use live_objects::NodeId;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{BorrowedCertRevocationList, EndEntityCert};

use crate::clock::unix_ms;
use crate::identity::Flaw;

/// The lists of all authorities that have revoked somebody.
#[derive(Clone, Default, Debug)]
pub(crate) struct Revocations {
    pub(crate) lists: Vec<CertificateRevocationListDer<'static>>,
    pub(crate) nodes: BTreeSet<NodeId>,
}

impl Revocations {
    pub(crate) fn from_pem(text: &str) -> Result<Self, Flaw> {
        let flaw = |error: &dyn std::fmt::Display| Flaw::new(CRL, error);
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(text.as_bytes()).collect();
        let lists = lists.map_err(|error| Flaw::pem(CRL, &error))?;
        if lists.is_empty() {
            return Err(flaw(&"it holds no revocation list"));
        }
        let mut nodes = BTreeSet::new();
        for list in &lists {
            let list = BorrowedCertRevocationList::from_der(list).map_err(|error| flaw(&error))?;
            for entry in &list {
                let entry = entry.map_err(|error| flaw(&error))?;
                let node = node_of_number(entry.serial_number);
                nodes.insert(node.ok_or_else(|| flaw(&"it names a certificate of no node"))?);
            }
        }
        Ok(Self { lists, nodes })
    }
}

/// A list of these nodes for each of the authority's keys, in PEM.
pub(crate) fn sign(nodes: &BTreeSet<NodeId>, issuers: &[Issuer<'static, KeyPair>]) -> String {
    let now = UNIX_EPOCH + Duration::from_millis(unix_ms());
    let entry = |node: &NodeId| RevokedCertParams {
        serial_number: number_of(*node),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now.into(),
        // A list stands until the next, whenever that is made.
        next_update: date_time_ymd(4096, 1, 1),
        // Nobody is ever taken off a list.
        crl_number: SerialNumber::from(nodes.len() as u64),
        issuing_distribution_point: None,
        revoked_certs: nodes.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let sign = |issuer| params.signed_by(issuer).and_then(|list| list.pem());
    issuers.iter().map(|issuer| sign(issuer).expect("what is asked for can be signed")).collect()
}

/// The number of all certificates of a node.
pub(crate) fn number_of(node: NodeId) -> SerialNumber {
    // A number neither begins with a zero nor is negative.
    SerialNumber::from([&[FIRST], &node.as_bytes()[..]].concat())
}

/// Whether a certificate, in PEM, has the number of this node: else a list does not name it.
pub(crate) fn is_numbered(certificate: &str, node: NodeId) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(certificate.as_bytes()) else {
        return false;
    };
    let certificate = EndEntityCert::try_from(&certificate);
    certificate.is_ok_and(|it| node_of_number(it.serial()) == Some(node))
}

fn node_of_number(number: &[u8]) -> Option<NodeId> {
    let id = number.strip_prefix(&[FIRST])?;
    Some(NodeId::from_bytes(id.try_into().ok()?))
}

const FIRST: u8 = 1;
/// The lists of an authority, or those that a node goes by.
pub(crate) const CRL: &str = "ca.crl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_of_one_node() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let node = NodeId::from_bytes([byte; NodeId::LEN]);
            assert_eq!(node_of_number(&number_of(node).to_bytes()), Some(node));
        }
        assert_eq!(node_of_number(&[]), None);
        assert_eq!(node_of_number(&[FIRST, 2, 3]), None);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
            let flaw = Revocations::from_pem(text).unwrap_err();
            assert!(format!("{flaw:?}").starts_with(CRL), "{flaw:?}");
        }
    }
}
