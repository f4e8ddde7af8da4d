//! What a server proves itself with.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_core::Result;
use tokio_rustls::TlsAcceptor;

use super::invalid;

/// A certificate and its key. Shows nothing in `Debug`.
#[derive(Clone)]
pub struct Tls {
    /// The certificate and those between it and the authority's, in PEM.
    pub certificates: Vec<u8>,
    /// Its private key, in PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    pub(super) fn acceptor(&self, address: SocketAddr) -> Result<TlsAcceptor> {
        let wrong = || {
            let why =
                "the certificate and key cannot be used; both must be PEM, and belong together";
            invalid(address, why)
        };
        let certificates: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&self.certificates).collect();
        let certificates = certificates.map_err(|error| wrong().caused_by(error))?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| wrong().caused_by(error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(certificates, key));
        let mut config = config.map_err(|error| wrong().caused_by(error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
