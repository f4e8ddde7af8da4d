//! Protected connections.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Config, SslMode};

/// What makes connections to the server that `config` names.
pub(crate) fn connector(config: &Config) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|e| unusable(&e.to_string()))?;
    let is_checked = config.ssl_mode == SslMode::VerifyFull || config.root_cert.is_some();
    let client = if is_checked {
        builder.with_root_certificates(roots(config)?).with_no_client_auth()
    } else {
        let unchecked = Arc::new(Unchecked { provider });
        builder.dangerous().with_custom_certificate_verifier(unchecked).with_no_client_auth()
    };
    Ok(MakeRustlsConnect::new(client))
}

fn roots(config: &Config) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match &config.root_cert {
        Some(file) => {
            let certificates = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| unusable(&format!("{} cannot be read: {e}", file.display())))?;
            roots.add_parsable_certificates(certificates);
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(unusable(
            "there is no certificate of an authority; name one with `sslrootcert`",
        ));
    }
    Ok(roots)
}

fn unusable(why: &str) -> Error {
    let why = format!("TLS cannot be used: {why}");
    Error::new(ErrorKind::Invalid, Operation::Open, why).about("a postgres: broker")
}

/// Takes any certificate, as PostgreSQL's own clients do with `prefer` and `require`: it keeps
/// listeners out, and nobody who answers in the server's place.
#[derive(Debug)]
struct Unchecked {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
