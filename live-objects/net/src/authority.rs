//! The authority of a cluster: whose certificates it signs, those are in.
//!
//! An authority is a key and a certificate that the key signed itself, in the files `ca.key` and
//! `ca.pem`. Its name is derived from its key, so that the key alone is enough to sign on, and so
//! that nobody takes one authority for another.
//!
//! After [`Authority::rotate`] the first key signs, and what the old ones signed is still trusted,
//! until [`Authority::drop_old`]. A key that has no certificate in `ca.pem` is of a rotation that
//! was cut off, and is passed over: so `ca.key` is written before `ca.pem` when a key comes and
//! after it when one goes, and each state between can be used. `ca.crl` names revoked nodes, and
//! `issued/` has a copy of what was signed.
//!
//! Whoever changes an authority's folder has the [`Turn`] there, and goes on from what is there by
//! then, not from what was loaded before: so of changes that are made at once none is lost. Who
//! writes a node's folder has the turn there first, and only then that of the authority.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use live_objects::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use crate::credential::{Credential, CredentialError};
use crate::identity::{
    self, CA, Flaw, Identity, IdentityError, KEY as NODE_KEY, NODE, Pem,
    certificates_of_authorities, is_missing, node_of, read, read_if_there, read_secret,
};
use crate::revocation::{self, CRL, Revocations};
use crate::turn::Turn;

/// A cluster's authority, which decides who is in the cluster.
pub struct Authority {
    /// The keys whose certificates are trusted: the one that signs, then older ones.
    issuers: Vec<Issuer<'static, KeyPair>>,
    /// All certificates that are trusted, in PEM.
    certificates: String,
    revoked: Revocations,
    /// The lists of the revoked, in PEM, if anybody is.
    lists: Option<String>,
}

impl Authority {
    /// A new authority, and with it a new cluster.
    pub fn create() -> Self {
        let issuer = issuer_of(generate());
        let certificates = certificate_of(&issuer);
        let revoked = Revocations::default();
        Self { issuers: vec![issuer], certificates, revoked, lists: None }
    }

    /// A new authority in this folder, which is made if it is not there. Refused where an authority
    /// or an identity is. What is left of a call that was cut off, `ca.key` alone, is completed.
    pub fn found(folder: &Path) -> Result<Self, IdentityError> {
        let turn = Turn::make(folder)?;
        let authority = if turn.holds(KEY)? && !turn.holds(CA)? {
            expect_no_file(&turn, &[NODE_KEY, NODE])?;
            Self::of_keys(folder)?
        } else {
            expect_vacant(&turn)?;
            Self::create()
        };
        authority.write(&turn)?;
        Ok(authority)
    }

    /// The authority whose `ca.pem` is missing: the key says all that is in it.
    fn of_keys(folder: &Path) -> Result<Self, IdentityError> {
        let keys = read_secret(&folder.join(KEY))?;
        let lists = read_if_there(&folder.join(CRL))?;
        let whole = issuers_of(&keys).and_then(|issuers| {
            Self::from_pem(&keys, issuers.iter().map(certificate_of).collect(), lists)
        });
        whole.map_err(|flaw| flaw.into_error(folder))
    }

    /// Reads `ca.key`, `ca.pem` and, if it is there, `ca.crl`.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let (key, certificates) = (folder.join(KEY), folder.join(CA));
        let (keys, texts, place) = (read_secret(&key), read(&certificates), folder.display());
        let (keys, certificates) = match (is_missing(&keys), is_missing(&texts)) {
            (false, false) => (keys?, texts?),
            (false, true) => {
                let why = format!("is not there: make it from ca.key with `logo cert new {place}`");
                return Err(IdentityError::NoAuthority { path: certificates, why });
            }
            (true, false) => {
                let why = "is not there, and ca.pem is: name the folder that has the authority's \
                           key, or put the key back";
                return Err(IdentityError::NoAuthority { path: key, why: why.to_owned() });
            }
            (true, true) => {
                let why = format!("is not there: make an authority with `logo cert new {place}`");
                return Err(IdentityError::NoAuthority { path: key, why });
            }
        };
        let lists = read_if_there(&folder.join(CRL))?;
        Self::from_pem(&keys, certificates, lists).map_err(|flaw| flaw.into_error(folder))
    }

    fn from_pem(keys: &str, certificates: String, lists: Option<String>) -> Result<Self, Flaw> {
        let holders: Vec<_> =
            certificates_of_authorities(&certificates)?.iter().flat_map(node_of).collect();
        let mut issuers = issuers_of(keys)?;
        issuers.retain(|issuer| holders.contains(&holder_of(issuer.key())));
        if issuers.is_empty() {
            return Err(Flaw::new(KEY, "no certificate in ca.pem beside it is of a key in it"));
        }
        let revoked = lists.as_deref().map(Revocations::from_pem).transpose()?.unwrap_or_default();
        Ok(Self { issuers, certificates, revoked, lists })
    }

    /// Writes `ca.key`, `ca.pem` and, if anybody is revoked, `ca.crl`, for the owner's eyes only.
    /// Refused where an authority or an identity is.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        let turn = Turn::make(folder)?;
        expect_vacant(&turn)?;
        self.write(&turn)
    }

    fn write(&self, turn: &Turn) -> Result<(), IdentityError> {
        let (keys, lists) = (keys(&self.issuers), self.lists.as_deref());
        turn.save(&[(CRL, lists), (KEY, Some(&keys)), (CA, Some(&self.certificates))])
    }

    /// The turn to change an authority's folder, and the authority as it is there by then.
    fn in_turn(folder: &Path) -> Result<(Turn, Self), IdentityError> {
        let turn = Turn::take(folder)?;
        Ok((turn, Self::load(folder)?))
    }

    /// An identity for a new node, of which no copy is kept.
    pub fn issue(&self) -> Identity {
        self.certify(&generate())
    }

    /// An identity for a new node, signed as the authority in this folder is by now. A copy of its
    /// certificate is kept there, so that the node can be revoked.
    pub fn sign(&self, folder: &Path) -> Result<Identity, AuthorityError> {
        let (turn, authority) = Self::in_turn(folder)?;
        keep(&turn, authority.issue())
    }

    /// As [`Authority::sign`], and writes the identity to the node's folder. Refused if that holds
    /// an identity already, or an authority.
    pub fn sign_into(&self, folder: &Path, of: &Path) -> Result<Identity, AuthorityError> {
        // An authority's folder is no node's: so nobody waits for the two turns the other way.
        Self::load(folder)?;
        let turn = Turn::make(of)?;
        expect_none(&turn)?;
        if turn.holds(NODE_KEY)? {
            let remedy = "name another folder, or keep its key with --again";
            let what = "an identity already";
            return Err(IdentityError::Occupied { folder: of.to_owned(), what, remedy }.into());
        }
        let identity = self.sign(folder)?;
        identity.write(&turn)?;
        Ok(identity)
    }

    /// A new identity with the `node.key` in the node's folder, and so for the same node. A copy is
    /// kept as by [`Authority::sign`]. In the node's folder nothing changes.
    pub fn sign_again(&self, folder: &Path, of: &Path) -> Result<Identity, AuthorityError> {
        let key = identity::key(&read_secret(&of.join(NODE_KEY))?)
            .and_then(|key| KeyPair::try_from(&key).map_err(|error| Flaw::new(NODE_KEY, error)));
        let key = key.map_err(|flaw| flaw.into_error(of))?;
        let node = holder_of(&key);
        if key.algorithm() != &PKCS_ED25519 {
            return Err(Flaw::new(NODE_KEY, CredentialError::Kind).into_error(of).into());
        }
        let (turn, authority) = Self::in_turn(folder)?;
        if authority.revoked.nodes.contains(&node) {
            return Err(AuthorityError::Revoked(node));
        }
        keep(&turn, authority.certify(&key))
    }

    /// As [`Authority::sign_again`], and writes the identity to the node's folder. Refused if that
    /// holds an authority.
    pub fn sign_again_into(&self, folder: &Path, of: &Path) -> Result<Identity, AuthorityError> {
        Self::load(folder)?;
        let turn = Turn::take(of)?;
        expect_none(&turn)?;
        let identity = self.sign_again(folder, of)?;
        identity.write(&turn)?;
        Ok(identity)
    }

    /// Takes a new key, which signs from now on. What the old ones signed is trusted by whoever has
    /// the new `ca.pem`. If this is cut off, the folder has the old authority or the new one.
    pub fn rotate(&mut self, folder: &Path) -> Result<(), AuthorityError> {
        let (turn, mut next) = Self::in_turn(folder)?;
        let issuer = issuer_of(generate());
        next.certificates.insert_str(0, &certificate_of(&issuer));
        // Old keys stay as long as their certificates: they sign who is revoked of their nodes.
        next.issuers.insert(0, issuer);
        next.sign_lists();
        // The certificates go last: until then the new key is none of the authority's.
        next.write(&turn)?;
        *self = next;
        Ok(())
    }

    /// Trusts only what the key that signs now has signed. Tells how many old keys it dropped.
    pub fn drop_old(&mut self, folder: &Path) -> Result<usize, AuthorityError> {
        let (turn, mut next) = Self::in_turn(folder)?;
        let old = certificates_of_authorities(&next.certificates).map_or(0, |all| all.len() - 1);
        next.issuers.truncate(1);
        next.certificates = certificate_of(&next.issuers[0]);
        // The certificates go first: a key without one is none of the authority's.
        turn.save(&[(CA, Some(&next.certificates))])?;
        next.sign_lists();
        next.write(&turn)?;
        *self = next;
        Ok(old)
    }

    /// Revokes a node, in `ca.crl`: whoever has the file refuses the node's key from now on. That
    /// cannot be taken back.
    pub fn revoke(&mut self, folder: &Path, node: NodeId) -> Result<(), AuthorityError> {
        let (turn, mut next) = Self::in_turn(folder)?;
        let copy = folder.join(ISSUED).join(copy_of(node));
        if next.revoked.nodes.contains(&node) {
            return Err(AuthorityError::AlreadyRevoked(node));
        }
        match read_if_there(&copy)? {
            None => return Err(AuthorityError::Unknown { node, copy }),
            Some(text) if revocation::is_numbered(&text, node) => {}
            Some(_) => {
                let why = format!("it is no certificate that was signed here for node {node}");
                return Err(IdentityError::Unusable { path: copy, why }.into());
            }
        }
        next.revoked.nodes.insert(node);
        next.sign_lists();
        turn.save(&[(CRL, next.lists.as_deref())])?;
        *self = next;
        Ok(())
    }

    /// Makes the lists anew, of the keys that there are now.
    fn sign_lists(&mut self) {
        if !self.revoked.nodes.is_empty() {
            let lists = revocation::sign(&self.revoked.nodes, &self.issuers);
            self.revoked = Revocations::from_pem(&lists).expect("what was just made is whole");
            self.lists = Some(lists);
        }
    }

    fn certify(&self, key: &KeyPair) -> Identity {
        let mut params = CertificateParams::new([SERVER_NAME.to_owned()])
            .expect("the name that all nodes go by is a name");
        params.serial_number = Some(revocation::number_of(holder_of(key)));
        params.distinguished_name = named("LO/GO node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuers[0]);
        let certificate = certificate.expect("what is asked for can be signed").pem();
        let not_after = u64::try_from(params.not_after.unix_timestamp());
        let not_after = not_after.expect("no certificate ends before 1970");
        let credential = Credential::sign(self.issuers[0].key(), key, not_after);
        let credential = credential.expect("both keys are of the kind that was checked");
        let pem = Pem {
            key: key.serialize_pem(),
            certificate: certificate + &credential.to_pem(),
            authorities: self.certificates.clone(),
            revoked: self.lists.clone(),
        };
        Identity::from_pem(pem).expect("what was just made is whole")
    }
}

/// The key is not shown.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Keeps a copy of what was signed.
fn keep(turn: &Turn, identity: Identity) -> Result<Identity, AuthorityError> {
    turn.save_in(ISSUED, &copy_of(identity.node()), identity.certificate())?;
    Ok(identity)
}

/// Refuses a folder that holds an authority, be it without its key: a node's files would go over
/// the authority's.
pub(crate) fn expect_none(turn: &Turn) -> Result<(), IdentityError> {
    if turn.holds(KEY)? || turn.holds(ISSUED)? {
        let folder = turn.folder().to_owned();
        let remedy = "name another folder for the node";
        return Err(IdentityError::Occupied { folder, what: "an authority", remedy });
    }
    Ok(())
}

/// Refuses a folder that holds an authority or an identity.
fn expect_vacant(turn: &Turn) -> Result<(), IdentityError> {
    if turn.holds(KEY)? {
        let (folder, what) = (turn.folder().to_owned(), "an authority already");
        let remedy = "name another folder, or give it a new key with `logo cert rotate`";
        return Err(IdentityError::Occupied { folder, what, remedy });
    }
    expect_no_file(turn, &[NODE_KEY, NODE, CA, CRL])
}

/// Refuses a folder that holds one of a node's files.
fn expect_no_file(turn: &Turn, files: &[&'static str]) -> Result<(), IdentityError> {
    for &what in files {
        if turn.holds(what)? {
            let folder = turn.folder().to_owned();
            let remedy = "it is a node's or another authority's, name another folder";
            return Err(IdentityError::Occupied { folder, what, remedy });
        }
    }
    Ok(())
}

/// Those whose keys `ca.key` holds.
fn issuers_of(keys: &str) -> Result<Vec<Issuer<'static, KeyPair>>, Flaw> {
    let mut issuers = Vec::new();
    for key in PrivateKeyDer::pem_slice_iter(keys.as_bytes()) {
        let key = key.map_err(|error| Flaw::pem(KEY, &error))?;
        let key = KeyPair::try_from(&key).map_err(|error| Flaw::new(KEY, error))?;
        if key.algorithm() != &PKCS_ED25519 {
            return Err(Flaw::new(KEY, CredentialError::Kind));
        }
        issuers.push(issuer_of(key));
    }
    if issuers.is_empty() {
        return Err(Flaw::new(KEY, "it holds no key"));
    }
    Ok(issuers)
}

fn generate() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("the system gives random numbers")
}

fn issuer_of(key: KeyPair) -> Issuer<'static, KeyPair> {
    Issuer::new(params_of(&key), key)
}

fn certificate_of(issuer: &Issuer<'static, KeyPair>) -> String {
    let key = issuer.key();
    params_of(key).self_signed(key).expect("what is asked for can be signed").pem()
}

fn keys(issuers: &[Issuer<'static, KeyPair>]) -> String {
    issuers.iter().map(|issuer| issuer.key().serialize_pem()).collect()
}

/// The file with the copy of a node's certificate.
fn copy_of(node: NodeId) -> String {
    format!("{node}.pem")
}

fn holder_of(key: &KeyPair) -> NodeId {
    NodeId::from_public_key(&key.subject_public_key_info())
}

fn params_of(key: &KeyPair) -> CertificateParams {
    let holder = holder_of(key);
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("LO/GO cluster {holder}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Why an authority did not do as asked. Unless a file was not written, nothing changed.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] IdentityError),
    /// The node's key gets no certificate any more.
    #[error("node {0} is revoked, and its key with it: sign a new identity, in another folder")]
    Revoked(NodeId),
    /// The node was revoked before.
    #[error("node {0} is revoked already: nodes that have the authority's ca.crl refuse it")]
    AlreadyRevoked(NodeId),
    /// The authority is not known to have issued to the node.
    #[error(
        "this authority has signed nothing for node {node}: {} is not there; if the copy was \
         lost, put the node's node.pem in its place",
        copy.display()
    )]
    Unknown {
        /// Which node.
        node: NodeId,
        /// The copy of its certificate that is missing.
        copy: PathBuf,
    },
}

/// The name in every node's certificate: who a node is, its key says.
pub(crate) const SERVER_NAME: &str = "node.logo";
const KEY: &str = "ca.key";
/// The folder with the copies, in the authority's folder.
const ISSUED: &str = "issued";
