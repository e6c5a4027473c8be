//! What a node shows of itself to peers that have no link to it: its credential.
//!
//! ```text
//!  0         1             33           41            105
//!  +---------+-------------+------------+-------------+
//!  | version | Ed25519 key | not after  | signature   |
//!  +---------+-------------+------------+-------------+
//!                            u64, seconds since 1970
//! ```
//!
//! It is a certificate for those who count bytes: an authority of the cluster signs it whenever it
//! signs a certificate, and both lie in `node.pem`. The key is the node's own, so the node's id,
//! which is the key's hash, need not be in it. What is signed begins with words that no certificate
//! and no list of the revoked begins with, so that one signature never passes for another.
//!
//! A credential is no secret. It proves nothing of whoever shows it: the key in it does, since only
//! its holder can seal and open what is sealed for it (`pair`).

use std::collections::BTreeSet;

use bytes::Bytes;
use live_objects::{CREDENTIAL_BYTES_MAX, NodeId};
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{PublicKeyData, SigningKey};
use ring::signature::{ED25519, UnparsedPublicKey};
use thiserror::Error;

/// A credential that has the right form. Whether to believe it says a [`Trust`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Credential {
    bytes: Bytes,
    node: NodeId,
    key: Key,
    not_after: u64,
}

/// An Ed25519 public key.
pub(crate) type Key = [u8; 32];

impl Credential {
    /// Its length on the wire.
    pub(crate) const LEN: usize = 1 + 32 + 8 + 64;

    /// An authority's word that the holder of a key belongs to the cluster, for so many seconds
    /// after 1970.
    pub(crate) fn sign(
        authority: &impl SigningKey,
        holder: &impl PublicKeyData,
        not_after: u64,
    ) -> Result<Self, CredentialError> {
        let key = key_of(&holder.subject_public_key_info()).ok_or(CredentialError::Kind)?;
        key_of(&authority.subject_public_key_info()).ok_or(CredentialError::Kind)?;
        let said = [&[VERSION][..], &key, &not_after.to_be_bytes()].concat();
        let signature = authority.sign(&to_sign(&said)).map_err(|_| CredentialError::Kind)?;
        Self::read(&[said, signature].concat().into())
    }

    pub(crate) fn read(bytes: &Bytes) -> Result<Self, CredentialError> {
        let (version, rest) = bytes.split_first_chunk::<1>().ok_or(CredentialError::Form)?;
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(CredentialError::Form)?;
        let (not_after, signature) = rest.split_first_chunk().ok_or(CredentialError::Form)?;
        if *version != [VERSION] || signature.len() != SIGNATURE_LEN {
            return Err(CredentialError::Form);
        }
        let (node, not_after) = (node_of(key), u64::from_be_bytes(*not_after));
        Ok(Self { bytes: bytes.clone(), node, key: *key, not_after })
    }

    /// The one in a text that may hold other sections too.
    pub(crate) fn from_pem(text: &str) -> Result<Self, CredentialError> {
        let sections = pem::parse_many(text).map_err(|_| CredentialError::Form)?;
        let section = sections.into_iter().find(|section| section.tag() == LABEL);
        let section = section.ok_or(CredentialError::Missing)?;
        Self::read(&section.into_contents().into())
    }

    pub(crate) fn to_pem(&self) -> String {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        pem::encode_config(&Pem::new(LABEL, self.bytes.to_vec()), config)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whose it is.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether its time is over.
    pub(crate) fn is_over(&self, unix_s: u64) -> bool {
        self.not_after < unix_s
    }
}

/// Whose credentials a node believes.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    authorities: Vec<Key>,
    revoked: BTreeSet<NodeId>,
}

impl Trust {
    /// In authorities with these keys, as certificates show them. One of another kind than
    /// Ed25519 has signed no credential.
    pub(crate) fn new<'a>(
        authorities: impl Iterator<Item = &'a [u8]>,
        revoked: BTreeSet<NodeId>,
    ) -> Self {
        Self { authorities: authorities.filter_map(key_of).collect(), revoked }
    }

    /// Whether a credential is to be believed now.
    pub(crate) fn check(
        &self,
        credential: &Credential,
        unix_s: u64,
    ) -> Result<(), CredentialError> {
        if self.revoked.contains(&credential.node) {
            return Err(CredentialError::Revoked);
        }
        if credential.is_over(unix_s) {
            return Err(CredentialError::Over);
        }
        let (said, signature) = credential.bytes.split_at(Credential::LEN - SIGNATURE_LEN);
        let signed = to_sign(said);
        let is_signed_by =
            |key: &Key| UnparsedPublicKey::new(&ED25519, key).verify(&signed, signature).is_ok();
        let is_signed = self.authorities.iter().any(is_signed_by);
        if is_signed { Ok(()) } else { Err(CredentialError::Unsigned) }
    }
}

/// Why a credential is not made or not believed. The peer's fault, unless it is this node's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum CredentialError {
    #[error("there is no credential beside the certificate")]
    Missing,
    #[error("the credential is broken, or of a later version")]
    Form,
    #[error("the key is no Ed25519 key: credentials are for those alone")]
    Kind,
    #[error("the credential is of a node that was revoked")]
    Revoked,
    #[error("the credential's time is over")]
    Over,
    #[error("no authority that is trusted has signed the credential")]
    Unsigned,
}

/// The id of the node that holds this key.
fn node_of(key: &Key) -> NodeId {
    NodeId::from_public_key(&[&PREFIX[..], key].concat())
}

/// The key in a subject public key info, if it is one of Ed25519 (RFC 8410, section 4).
fn key_of(info: &[u8]) -> Option<Key> {
    info.strip_prefix(&PREFIX)?.try_into().ok()
}

fn to_sign(said: &[u8]) -> Vec<u8> {
    [DOMAIN, said].concat()
}

const VERSION: u8 = 1;
const SIGNATURE_LEN: usize = 64;
const LABEL: &str = "LOGO CREDENTIAL";
const DOMAIN: &[u8] = b"LO/GO credential of a node\0";
/// What stands before the key in a subject public key info of Ed25519.
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

const _: () = assert!(Credential::LEN <= CREDENTIAL_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

    fn key_pair() -> KeyPair {
        KeyPair::generate_for(&PKCS_ED25519).unwrap()
    }

    fn trust(authorities: &[&KeyPair], revoked: &[NodeId]) -> Trust {
        let infos: Vec<_> = authorities.iter().map(|key| key.subject_public_key_info()).collect();
        Trust::new(infos.iter().map(Vec::as_slice), revoked.iter().copied().collect())
    }

    #[test]
    fn it_says_whose_it_is_and_until_when() {
        let (authority, holder) = (key_pair(), key_pair());
        let credential = Credential::sign(&authority, &holder, 1_000).unwrap();
        let node = NodeId::from_public_key(&holder.subject_public_key_info());
        assert_eq!((credential.node(), credential.bytes().len()), (node, Credential::LEN));
        let trust = trust(&[&key_pair(), &authority], &[]);
        assert_eq!(trust.check(&credential, 1_000), Ok(()));
        assert_eq!(trust.check(&credential, 1_001), Err(CredentialError::Over));
    }

    #[test]
    fn it_lies_beside_a_certificate() {
        let credential = Credential::sign(&key_pair(), &key_pair(), 1).unwrap();
        let other = pem::encode(&Pem::new("CERTIFICATE", vec![7; 300]));
        let text = other.clone() + &credential.to_pem();
        assert_eq!(Credential::from_pem(&text), Ok(credential));
        assert_eq!(Credential::from_pem(&other), Err(CredentialError::Missing));
        let broken = text.replace("LOGO CREDENTIAL-----\n", "LOGO CREDENTIAL-----\nAA");
        assert_eq!(Credential::from_pem(&broken), Err(CredentialError::Form));
    }

    #[test]
    fn one_of_another_authority_or_of_a_revoked_node_is_not_believed() {
        let (authority, holder) = (key_pair(), key_pair());
        let credential = Credential::sign(&authority, &holder, 1_000).unwrap();
        let abroad = trust(&[&key_pair()], &[]);
        assert_eq!(abroad.check(&credential, 0), Err(CredentialError::Unsigned));
        let later = trust(&[&authority], &[credential.node()]);
        assert_eq!(later.check(&credential, 0), Err(CredentialError::Revoked));
    }

    #[test]
    fn keys_of_other_kinds_have_none() {
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        assert_eq!(Credential::sign(&key_pair(), &other, 1), Err(CredentialError::Kind));
        assert_eq!(Credential::sign(&other, &key_pair(), 1), Err(CredentialError::Kind));
    }

    #[test]
    fn none_of_its_bytes_can_be_another() {
        let authority = key_pair();
        let credential = Credential::sign(&authority, &key_pair(), u64::from(u32::MAX)).unwrap();
        let trust = trust(&[&authority], &[]);
        for at in 0..Credential::LEN {
            let mut forged = credential.bytes().to_vec();
            forged[at] ^= 1;
            let forged = Credential::read(&forged.into());
            assert!(forged.and_then(|it| trust.check(&it, 0)).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..=CREDENTIAL_BYTES_MAX)) {
            let read = Credential::read(&bytes.into());
            let _ = read.and_then(|it| trust(&[&key_pair()], &[]).check(&it, 0));
        }
    }
}
