//! The authority of a cluster: whose certificates it signs, those are in.
//!
//! An authority is a key and a certificate that the key signed itself, in the files `ca.key` and
//! `ca.pem`. Its name is derived from its key, so that the key alone is enough to sign on, and so
//! that nobody takes one authority for another.

use std::fmt;
use std::path::Path;

use live_objects::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
};

use crate::identity::{
    CA, Flaw, Identity, IdentityError, Pem, certificates_of_authorities, node_of, read, save,
};

/// A cluster's authority, which decides who is in the cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    certificate: String,
}

impl Authority {
    /// A new authority, and with it a new cluster.
    pub fn create() -> Self {
        let key = generate();
        let params = params_of(&key);
        let certificate = params.self_signed(&key).expect("what is asked for can be signed").pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Reads `ca.key` and `ca.pem`.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let (key, certificate) = (read(&folder.join(KEY))?, read(&folder.join(CA))?);
        Self::from_pem(&key, certificate).map_err(|flaw| flaw.into_error(folder))
    }

    fn from_pem(key: &str, certificate: String) -> Result<Self, Flaw> {
        let key = KeyPair::from_pem(key).map_err(|error| Flaw::new(KEY, error))?;
        let own = NodeId::from_public_key(&key.subject_public_key_info());
        let certificates = certificates_of_authorities(&certificate)?;
        if !certificates.iter().any(|each| node_of(each).is_ok_and(|holder| holder == own)) {
            return Err(Flaw::new(KEY, "no certificate in ca.pem beside it is of this key"));
        }
        Ok(Self { issuer: Issuer::new(params_of(&key), key), certificate })
    }

    /// Writes `ca.key` and `ca.pem`, for the owner's eyes only.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        save(folder, &[(KEY, &self.issuer.key().serialize_pem()), (CA, &self.certificate)])
    }

    /// An identity for a new node.
    pub fn issue(&self) -> Identity {
        let key = generate();
        let mut params = CertificateParams::new([SERVER_NAME.to_owned()])
            .expect("the name that all nodes go by is a name");
        params.distinguished_name = named("LO/GO node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate =
            params.signed_by(&key, &self.issuer).expect("what is asked for can be signed");
        let pem = Pem {
            key: key.serialize_pem(),
            certificate: certificate.pem(),
            authorities: self.certificate.clone(),
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

fn generate() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("the system gives random numbers")
}

fn params_of(key: &KeyPair) -> CertificateParams {
    let holder = NodeId::from_public_key(&key.subject_public_key_info());
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

/// The name in every node's certificate: who a node is, its key says.
pub(crate) const SERVER_NAME: &str = "node.logo";
const KEY: &str = "ca.key";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_authority_signs_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("authority");
        let authority = Authority::create();
        authority.save(&folder).unwrap();
        let loaded = Authority::load(&folder).unwrap();
        let (before, after) = (authority.issue(), loaded.issue());
        assert_eq!(before.authorities, after.authorities);
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!([mode(&folder), mode(&folder.join(KEY))], [0o700, 0o600]);
        }
    }

    #[test]
    fn a_key_of_another_authority_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Authority::create().save(folder.path()).unwrap();
        let certificate = fs::read_to_string(folder.path().join(CA)).unwrap();
        Authority::create().save(folder.path()).unwrap();
        fs::write(folder.path().join(CA), certificate).unwrap();
        let error = Authority::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("ca.key cannot be used"), "{error}");
    }
}
