//! How links are set up: mutual TLS 1.3 under QUIC, one version of the protocol, bounded buffers.
//!
//! Both ends show a certificate that an authority of the cluster signed and has not revoked;
//! anything else ends in the handshake. The version is negotiated there too, as the ALPN protocol:
//! a node that speaks none of ours is refused before a byte of it is read.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use thiserror::Error;

use crate::credential::Trust;
use crate::identity::Identity;

/// What an endpoint needs to be server and client.
pub(crate) struct Setup {
    pub(crate) endpoint: EndpointConfig,
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
    pub(crate) verifier: Verifier,
    pub(crate) trust: Trust,
}

/// Tells whose certificates a node accepts.
#[derive(Clone, Debug)]
pub(crate) struct Verifier(Arc<dyn ClientCertVerifier>);

impl Verifier {
    /// Whether a peer that shows these, its own first, is accepted now.
    pub(crate) fn verify(&self, shown: &[CertificateDer<'_>]) -> Result<(), CertificateError> {
        let [own, between @ ..] = shown else {
            return Err(CertificateError::new("no certificate is shown"));
        };
        let verified = self.0.verify_client_cert(own, between, UnixTime::now());
        verified.map(|_| ()).map_err(CertificateError::new)
    }
}

impl Setup {
    /// For a node that speaks these versions of the protocol, the best first.
    pub(crate) fn new(identity: &Identity, protocols: &[&[u8]]) -> Result<Self, CertificateError> {
        let protocols: Vec<_> = protocols.iter().map(|name| name.to_vec()).collect();
        let mut roots = RootCertStore::empty();
        for authority in &identity.authorities {
            roots.add(authority.clone()).map_err(CertificateError::new)?;
        }
        let (roots, provider) =
            (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        let lists = &identity.revoked.lists;
        // An authority that has revoked nobody has no list.
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .with_crls(lists.clone())
            .allow_unknown_revocation_status()
            .build()
            .map_err(CertificateError::new)?;
        // What this node would refuse of others it does not show them.
        let verifier = Verifier(clients.clone());
        verifier.verify(&identity.certified.cert)?;
        let trust = identity.trust().map_err(CertificateError::new)?;
        let now = UnixTime::now().as_secs();
        trust.check(&identity.credential, now).map_err(CertificateError::new)?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .with_crls(lists.clone())
            .allow_unknown_revocation_status()
            .build()
            .map_err(CertificateError::new)?;
        let shown = Arc::new(SingleCertAndKey::from(identity.certified.clone()));
        let tls13 = [&rustls::version::TLS13];

        let server = rustls::ServerConfig::builder_with_provider(provider.clone());
        let mut server = server
            .with_protocol_versions(&tls13)
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_cert_resolver(shown.clone());
        server.alpn_protocols = protocols.clone();
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let client = rustls::ClientConfig::builder_with_provider(provider);
        let mut client = client
            .with_protocol_versions(&tls13)
            .expect("the provider has TLS 1.3")
            .with_webpki_verifier(servers)
            .with_client_cert_resolver(shown);
        client.alpn_protocols = protocols;
        client.resumption = Resumption::disabled();

        let transport = Arc::new(transport());
        let server = QuicServerConfig::try_from(server).expect("TLS 1.3 has QUIC's first suite");
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport.clone());
        let client = QuicClientConfig::try_from(client).expect("TLS 1.3 has QUIC's first suite");
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        let mut endpoint = EndpointConfig::default();
        // So that what is not QUIC can share the port: see `socket`.
        endpoint.grease_quic_bit(false);
        Ok(Self { endpoint, server, client, verifier, trust })
    }
}

/// This node's certificate would be refused by the others.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct CertificateError(String);

impl CertificateError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let silent = IdleTimeout::try_from(SILENT).expect("ten seconds are no long time");
    transport
        .max_idle_timeout(Some(silent))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_uni_streams(VarInt::from_u32(2))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_BYTES_MAX))
        // More than one stream holds, so that bulk never stands in the way of control.
        .receive_window(VarInt::from_u32(STREAM_BYTES_MAX * 4))
        .send_window(u64::from(STREAM_BYTES_MAX) * 4)
        .datagram_receive_buffer_size(Some(DATAGRAMS_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAMS_BYTES_MAX);
    transport
}

/// The version of the protocol.
pub(crate) const PROTOCOL: &[u8] = b"logo/1";
/// A peer that is not heard for so long does not answer.
pub(crate) const SILENT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// What a stream holds that was sent and not read.
const STREAM_BYTES_MAX: u32 = 1 << 20;
/// What a connection holds of datagrams, in each direction.
const DATAGRAMS_BYTES_MAX: usize = 256 << 10;
