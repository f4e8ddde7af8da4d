//! The TCP port: for the programs of other machines, with tokens and TLS.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Error, Operation, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::transport::{Identity, ServerTlsConfig};

use super::BACKLOG;
use super::door::Listen;
use super::tokens::Tokens;

/// Where a server listens unless it is told otherwise: this machine alone.
pub const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9326);

/// How a TCP port is listened on: where, and who may come.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// The address. Port 0 is one that the system chooses.
    pub address: SocketAddr,
    /// The tokens that are asked for. Without any, all who can connect may do all.
    pub tokens: Option<Arc<Tokens>>,
    /// Without it bytes, tokens among them, can be read on the way.
    pub tls: Option<Tls>,
    /// Whether a port that other machines reach may be without tokens.
    pub insecure: bool,
}

/// What a server proves itself with. Shows nothing in `Debug`.
#[derive(Clone)]
pub struct Tls {
    /// Its certificate and those between it and the authority's, in PEM.
    pub certificates: Vec<u8>,
    /// Its private key, in PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tcp {
    /// At `address`, for all who can connect, without TLS.
    pub const fn open(address: SocketAddr) -> Self {
        Self { address, tokens: None, tls: None, insecure: false }
    }

    /// Refuses what other machines reach and nobody guards, as listening there would.
    ///
    /// # Errors
    /// `Invalid`, which says what to do.
    pub fn check(&self) -> Result<()> {
        let is_guarded = self.tokens.is_some() || self.insecure;
        if is_guarded || self.address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let why = "other machines reach this address and no access tokens are set, so anybody there \
                   could do anything; set tokens, listen on 127.0.0.1, or say that it is meant to be \
                   insecure";
        Err(invalid(self.address, why))
    }
}

impl Tls {
    pub(super) fn config(&self, handshake_within: Duration) -> ServerTlsConfig {
        let identity = Identity::from_pem(&self.certificates, &self.key);
        ServerTlsConfig::new().identity(identity).timeout(handshake_within)
    }
}

/// A listener that belongs to the runtime of the caller.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    listener(address).map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::AddrInUse => tidegate_core::ErrorKind::Unavailable,
            _ => tidegate_core::ErrorKind::Invalid,
        };
        let why = match error.kind() {
            ErrorKind::AddrInUse => {
                "another program listens there; stop it, or choose another port"
            }
            ErrorKind::AddrNotAvailable => "it is no address of this machine; choose one that is",
            ErrorKind::PermissionDenied => {
                "this user may not listen there; choose a port from 1024"
            }
            _ => "nothing can listen there; choose another address",
        };
        Error::new(kind, Operation::Open, why).about(address.to_string()).caused_by(error)
    })
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // WHY: a server that is started anew must not wait for what is left of the last one's connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(super) fn invalid(address: SocketAddr, why: impl Into<String>) -> Error {
    Error::new(tidegate_core::ErrorKind::Invalid, Operation::Open, why).about(address.to_string())
}

impl Listen for TcpListener {
    type Arrived = std::net::TcpStream;
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<Option<Self::Arrived>> {
        let (stream, _) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        stream.into_std().map(Some)
    }

    fn take_in(arrived: Self::Arrived) -> io::Result<TcpStream> {
        TcpStream::from_std(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_machines_reach_needs_tokens_or_a_word() {
        let at = |address: &str| Tcp::open(address.parse().unwrap());
        for near in ["127.0.0.1:0", "127.1.2.3:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert!(at(near).check().is_ok(), "{near}");
        }
        for far in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "[::ffff:10.0.0.1]:0"] {
            let error = at(far).check().unwrap_err();
            assert!(error.to_string().contains("set tokens"), "{error}");
            assert!(Tcp { insecure: true, ..at(far) }.check().is_ok());
            let tokens = Some(Arc::new(Tokens::new()));
            assert!(Tcp { tokens, ..at(far) }.check().is_ok());
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_a_matter_of_time() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Unavailable);
        assert!(error.to_string().contains("another program listens there"), "{error}");
    }

    #[test]
    fn a_key_is_never_shown() {
        let tls = Tls { certificates: b"secret".to_vec(), key: b"secret".to_vec() };
        assert!(
            !format!("{:?}", Tcp { tls: Some(tls), ..Tcp::open(ADDRESS_DEFAULT) })
                .contains("secret")
        );
    }
}
