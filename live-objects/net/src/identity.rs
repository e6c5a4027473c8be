//! Who a node is: its key, its certificate, and the authorities of its cluster.
//!
//! A node's id is the hash of its public key, so it stays the same as long as the key does, and
//! nobody else can bear it. A cluster is whoever holds a certificate signed by one of the cluster's
//! authorities, and the short form of it that goes with datagrams, a credential. An identity lies
//! in the files `node.key`, `node.pem`, which holds certificate and credential, `ca.pem`, which
//! holds the certificates of all authorities that the node trusts, and `ca.crl`, which is there if
//! they have revoked anybody.
//!
//! That the files belong together is checked when they are read; whether the authorities beside it
//! accept a certificate and a credential depends on the time, and is checked where they are used
//! (`tls`).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use live_objects::NodeId;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tracing::warn;

use crate::authority;
use crate::credential::{Credential, CredentialError, Trust};
use crate::pair::Secret;
use crate::private;
use crate::revocation::{CRL, Revocations};
use crate::turn::Turn;

/// A node's key and certificate, the authorities whose certificates it accepts, and whom they have
/// revoked. Two are equal if they would be written to files alike.
#[derive(Clone)]
pub struct Identity {
    node: NodeId,
    pem: Arc<Pem>,
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) credential: Credential,
    pub(crate) secret: Secret,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) revoked: Revocations,
}

/// An identity as it is written to files.
#[derive(PartialEq, Eq)]
pub(crate) struct Pem {
    pub(crate) key: String,
    pub(crate) certificate: String,
    pub(crate) authorities: String,
    pub(crate) revoked: Option<String>,
}

impl Identity {
    /// The id that the key gives the node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Reads `node.key`, `node.pem`, `ca.pem` and, if it is there, `ca.crl`.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let text = |file: &str| read(&folder.join(file));
        let key = read_secret(&folder.join(KEY))?;
        let (certificate, authorities) = (text(NODE)?, text(CA)?);
        let revoked = read_if_there(&folder.join(CRL))?;
        let pem = Pem { key, certificate, authorities, revoked };
        Self::from_pem(pem).map_err(|flaw| flaw.into_error(folder))
    }

    /// Writes `node.key`, `node.pem`, `ca.pem` and, if anybody is revoked, `ca.crl`, for the
    /// owner's eyes only. An identity that is there is lost. Refused where an authority is. Waits
    /// while others change the folder.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        let turn = Turn::make(folder)?;
        authority::expect_none(&turn)?;
        self.write(&turn)
    }

    pub(crate) fn write(&self, turn: &Turn) -> Result<(), IdentityError> {
        let Pem { key, certificate, authorities, revoked } = &*self.pem;
        // A node that looks meanwhile knows the authority before it is shown its certificate.
        let trusted = [(CA, Some(authorities.as_str())), (CRL, revoked.as_deref())];
        turn.save(&trusted)?;
        turn.save(&[(KEY, Some(key)), (NODE, Some(certificate))])
    }

    /// The certificate and the credential, in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.pem.certificate
    }

    pub(crate) fn from_pem(pem: Pem) -> Result<Self, Flaw> {
        let key = key(&pem.key)?;
        let secret = Secret::of_key(&key).ok_or_else(|| Flaw::new(KEY, CredentialError::Kind))?;
        let certificates = certificates(NODE, &pem.certificate)?;
        let authorities = certificates_of_authorities(&pem.authorities)?;
        let revoked = pem.revoked.as_deref().map(Revocations::from_pem).transpose()?;
        let node = node_of(&certificates[0]).map_err(|error| Flaw::new(NODE, error))?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(certificates, key, &provider);
        let certified = Arc::new(certified.map_err(|error| Flaw::new(KEY, error))?);
        let credential = Credential::from_pem(&pem.certificate).map_err(|error| {
            Flaw::new(NODE, format!("{error}: sign it again with `logo cert sign --again`"))
        })?;
        if credential.node() != node {
            return Err(Flaw::new(NODE, "the credential in it is another node's"));
        }
        let (pem, revoked) = (Arc::new(pem), revoked.unwrap_or_default());
        Ok(Self { node, pem, certified, credential, secret, authorities, revoked })
    }

    /// Whose credentials a node with this identity believes.
    pub(crate) fn trust(&self) -> Result<Trust, rustls::Error> {
        let keys: Result<Vec<_>, _> = self.authorities.iter().map(public_key).collect();
        let keys = keys?;
        Ok(Trust::new(keys.iter().map(Vec::as_slice), self.revoked.nodes.clone()))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for Identity {}

/// The key is not shown.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The id of the node that holds this certificate's key.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeId, rustls::Error> {
    Ok(NodeId::from_public_key(&public_key(certificate)?))
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, rustls::Error> {
    Ok(ParsedCertificate::try_from(certificate)?.subject_public_key_info().to_vec())
}

pub(crate) fn certificates_of_authorities(
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    certificates(CA, text)
}

/// What `node.key` holds.
pub(crate) fn key(text: &str) -> Result<PrivateKeyDer<'static>, Flaw> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| Flaw::pem(KEY, &error))
}

fn certificates(file: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.map_err(|error| Flaw::pem(file, &error))?;
    if certificates.is_empty() {
        return Err(Flaw::new(file, "it holds no certificate"));
    }
    Ok(certificates)
}

/// Reads a file that others may read, but not write.
pub(crate) fn read(path: &Path) -> Result<String, IdentityError> {
    warn_of_others(path, WRITE);
    private::read(path).map_err(|error| IdentityError::file(path, error))
}

/// Reads a file that is the owner's secret.
pub(crate) fn read_secret(path: &Path) -> Result<String, IdentityError> {
    warn_of_others(path, READ | WRITE);
    private::read(path).map_err(|error| IdentityError::file(path, error))
}

/// Says, once for each file, that others than the owner have some of these rights to it.
fn warn_of_others(path: &Path, rights: u32) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !have_others(path, rights) {
        return;
    }
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < TOLD_MAX && told.insert(path.to_owned()) {
        let path = path.display();
        warn!("{path} can be read or written by others than its owner: chmod 600 {path}");
    }
}

fn have_others(path: &Path, rights: u32) -> bool {
    // A file that cannot be asked about cannot be read either.
    fs::metadata(path).is_ok_and(|file| private::rights_of_others(&file) & rights != 0)
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, IdentityError> {
    let text = read(path);
    if is_missing(&text) { Ok(None) } else { text.map(Some) }
}

pub(crate) fn is_missing(text: &Result<String, IdentityError>) -> bool {
    let Err(IdentityError::File { source, .. }) = text else { return false };
    source.kind() == io::ErrorKind::NotFound
}

/// Why a file cannot be used, before it is known where the file lies.
pub(crate) struct Flaw {
    file: &'static str,
    why: String,
}

impl Flaw {
    pub(crate) fn new(file: &'static str, why: impl fmt::Display) -> Self {
        Self { file, why: why.to_string() }
    }

    pub(crate) fn pem(file: &'static str, error: &pem::Error) -> Self {
        let why = match error {
            pem::Error::MissingSectionEnd { .. } => "a section does not end",
            pem::Error::IllegalSectionStart { .. } => "the line that begins a section is broken",
            pem::Error::Base64Decode(_) => "a section is not in base64",
            pem::Error::NoItemsFound => "no section is of the kind that belongs here",
            _ => "a section is too large",
        };
        Self::new(file, format!("it holds no readable PEM: {why}"))
    }

    pub(crate) fn into_error(self, folder: &Path) -> IdentityError {
        IdentityError::Unusable { path: folder.join(self.file), why: self.why }
    }
}

impl fmt::Debug for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

/// Why an identity or an authority was not read or written. What was written before stays.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file was not read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should, or does not belong to the files beside it.
    #[error("{} cannot be used: {why}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Where an authority should be is none, or not all of it.
    #[error("{} {why}", path.display())]
    NoAuthority {
        /// The file that is missing.
        path: PathBuf,
        /// What that means, and what to do.
        why: String,
    },
    /// The folder holds what would be lost. Nothing was written.
    #[error("{} holds {what}: {remedy}", folder.display())]
    Occupied {
        /// Which folder.
        folder: PathBuf,
        /// What is in it.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

impl IdentityError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// The key of the node.
pub(crate) const KEY: &str = "node.key";
/// The certificate of the node, and its credential.
pub(crate) const NODE: &str = "node.pem";
/// The certificates of the authorities that are trusted.
pub(crate) const CA: &str = "ca.pem";
/// Rights of others, as in a file's mode.
const READ: u32 = 0o044;
const WRITE: u32 = 0o022;
/// Of how many files it is told that others have rights to them.
const TOLD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn an_identity_outlives_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("node");
        let identity = Authority::create().issue();
        identity.save(&folder).unwrap();
        let loaded = Identity::load(&folder).unwrap();
        assert_eq!(loaded.node(), identity.node());
        assert_eq!(loaded.authorities, identity.authorities);
        assert!(!format!("{loaded:?}").contains("PRIVATE"));
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(left.len(), 4, "{left:?}: three files and a lock, no draft is left behind");
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create();
        let (one, other) = (authority.issue(), authority.issue());
        assert_ne!(one.node(), other.node());
        one.save(folder.path()).unwrap();
        private::write(&folder.path().join(KEY), &other.pem.key).unwrap();
        let error = Identity::load(folder.path()).unwrap_err();
        assert!(matches!(&error, IdentityError::Unusable { path, .. } if path.ends_with(KEY)));
    }

    #[test]
    fn an_identity_without_a_credential_or_with_anothers_is_to_be_signed_again() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create();
        let (one, other) = (authority.issue(), authority.issue());
        one.save(folder.path()).unwrap();
        let path = folder.path().join(NODE);
        let credential = one.credential.to_pem();
        let bare = one.certificate().replace(&credential, "");
        for (text, says) in [
            (bare.clone(), "there is no credential beside the certificate: sign it again"),
            (bare + &other.credential.to_pem(), "the credential in it is another node's"),
        ] {
            private::write(&path, &text).unwrap();
            let error = Identity::load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("node.pem cannot be used: {says}")), "{error}");
        }
        authority.save(&folder.path().join("authority")).unwrap();
        authority.sign_again_into(&folder.path().join("authority"), folder.path()).unwrap();
        assert_eq!(Identity::load(folder.path()).unwrap().node(), one.node());
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Identity::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(KEY), "{error}");
        Authority::create().issue().save(folder.path()).unwrap();
        private::write(&folder.path().join(CA), "").unwrap();
        let error = Identity::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("ca.pem cannot be used: it holds no certificate"), "{error}");
    }

    #[test]
    fn the_list_of_the_revoked_goes_with_an_identity() {
        let (folder, node) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut authority = Authority::found(folder.path()).unwrap();
        let bad = authority.sign(folder.path()).unwrap().node();
        authority.revoke(folder.path(), bad).unwrap();
        let identity = authority.issue();
        identity.save(node.path()).unwrap();
        let loaded = Identity::load(node.path()).unwrap();
        assert_eq!(loaded, identity);
        assert_eq!(loaded.revoked.nodes, [bad].into());
        let path = node.path().join(CRL);
        private::write(&path, "nothing").unwrap();
        let error = Identity::load(node.path()).unwrap_err().to_string();
        assert!(error.contains("ca.crl cannot be used: it holds no revocation list"), "{error}");
        Authority::create().issue().save(node.path()).unwrap();
        assert!(!path.exists(), "a list of another cluster does not stay");
    }

    #[test]
    fn who_saves_in_one_folder_at_once_leaves_one_identity() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create();
        let identities: Vec<_> = (0..8).map(|_| authority.issue()).collect();
        std::thread::scope(|scope| {
            for identity in &identities {
                scope.spawn(|| identity.save(folder.path()).unwrap());
            }
        });
        assert!(identities.contains(&Identity::load(folder.path()).unwrap()));
    }

    #[cfg(unix)]
    #[test]
    fn rights_of_others_are_seen() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        Authority::create().issue().save(folder.path()).unwrap();
        let path = folder.path().join(KEY);
        for (mode, read, write) in [
            (0o600, false, false),
            (0o640, true, false),
            (0o604, true, false),
            (0o602, false, true),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!([have_others(&path, READ), have_others(&path, WRITE)], [read, write]);
            Identity::load(folder.path()).unwrap();
        }
    }

    #[test]
    fn a_broken_pem_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        Authority::create().issue().save(folder.path()).unwrap();
        for file in [KEY, NODE, CA] {
            let path = folder.path().join(file);
            let text = fs::read_to_string(&path).unwrap();
            private::write(&path, &text[..text.len() / 2]).unwrap();
            let error = Identity::load(folder.path()).unwrap_err().to_string();
            let says = format!("{file} cannot be used: it holds no readable PEM: a section does");
            assert!(error.contains(&says), "{error}");
            private::write(&path, &text).unwrap();
        }
        private::write(&folder.path().join(KEY), "nothing").unwrap();
        let error = Identity::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it holds no readable PEM: no section"), "{error}");
    }
}
