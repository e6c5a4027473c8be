//! Who a node is: its key, its certificate, and the authorities of its cluster.
//!
//! A node's id is the hash of its public key, so it stays the same as long as the key does, and
//! nobody else can bear it. A cluster is whoever holds a certificate signed by one of the cluster's
//! authorities. An identity lies in the files `node.key`, `node.pem`, `ca.pem`, which holds the
//! certificates of all authorities that the node trusts, and `ca.crl`, which is there if they have
//! revoked anybody.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use live_objects::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::private;
use crate::revocation::{CRL, Revocations};

/// A node's key and certificate, the authorities whose certificates it accepts, and whom they have
/// revoked. Two are equal if they would be written to files alike.
#[derive(Clone)]
pub struct Identity {
    node: NodeId,
    pem: Arc<Pem>,
    pub(crate) certified: Arc<CertifiedKey>,
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
        let (key, certificate, authorities) = (text(KEY)?, text(NODE)?, text(CA)?);
        let revoked = read_if_there(&folder.join(CRL))?;
        let pem = Pem { key, certificate, authorities, revoked };
        Self::from_pem(pem).map_err(|flaw| flaw.into_error(folder))
    }

    /// Writes `node.key`, `node.pem`, `ca.pem` and, if anybody is revoked, `ca.crl`, for the
    /// owner's eyes only.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        let Pem { key, certificate, authorities, revoked } = &*self.pem;
        // A node that looks meanwhile knows the authority before it is shown its certificate.
        let trusted = [(CA, Some(authorities.as_str())), (CRL, revoked.as_deref())];
        save(folder, &trusted)?;
        save(folder, &[(KEY, Some(key)), (NODE, Some(certificate))])
    }

    /// The certificate, in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.pem.certificate
    }

    pub(crate) fn from_pem(pem: Pem) -> Result<Self, Flaw> {
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
        let key = key.map_err(|error| Flaw::new(KEY, error))?;
        let certificates = certificates(NODE, &pem.certificate)?;
        let authorities = certificates_of_authorities(&pem.authorities)?;
        let revoked = pem.revoked.as_deref().map(Revocations::from_pem).transpose()?;
        let node = node_of(&certificates[0]).map_err(|error| Flaw::new(NODE, error))?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(certificates, key, &provider);
        let certified = Arc::new(certified.map_err(|error| Flaw::new(KEY, error))?);
        let (pem, revoked) = (Arc::new(pem), revoked.unwrap_or_default());
        Ok(Self { node, pem, certified, authorities, revoked })
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
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(NodeId::from_public_key(&key))
}

pub(crate) fn certificates_of_authorities(
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    certificates(CA, text)
}

fn certificates(file: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.map_err(|error| Flaw::new(file, error))?;
    if certificates.is_empty() {
        return Err(Flaw::new(file, "it holds no certificate"));
    }
    Ok(certificates)
}

pub(crate) fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|error| IdentityError::file(path, error))
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, IdentityError> {
    match read(path) {
        Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        text => text.map(Some),
    }
}

/// Writes these files one after another into a folder, which is made if it is not there. A file
/// without a text is removed.
pub(crate) fn save(folder: &Path, files: &[(&str, Option<&str>)]) -> Result<(), IdentityError> {
    private::make_folder(folder).map_err(|error| IdentityError::file(folder, error))?;
    for (file, text) in files {
        let path = folder.join(file);
        let saved = match text {
            Some(text) => private::write(&path, text),
            None => private::remove(&path),
        };
        saved.map_err(|error| IdentityError::file(&path, error))?;
    }
    Ok(())
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
}

impl IdentityError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// The key of the node.
pub(crate) const KEY: &str = "node.key";
const NODE: &str = "node.pem";
/// The certificates of the authorities that are trusted.
pub(crate) const CA: &str = "ca.pem";

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
        assert_eq!(left.len(), 3, "{left:?}: no draft is left behind");
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
        let mut authority = Authority::create();
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
}
