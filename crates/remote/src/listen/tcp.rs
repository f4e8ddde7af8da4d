//! A TCP port.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Identity;

use super::admission::{Admission, Admitted};
use super::tokens::Tokens;

/// Where the native protocol is served unless something else is said.
pub const ADDRESS_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_326);

/// How a TCP port is listened on.
#[derive(Clone)]
pub struct Tcp {
    /// The address; port 0 is one that is free.
    pub address: SocketAddr,
    /// Who may come in; `None` is everybody.
    pub tokens: Option<Arc<Tokens>>,
    /// The certificate and its key; `None` is without TLS.
    pub tls: Option<Identity>,
    /// Whether everybody may come in from other machines too.
    pub insecure: bool,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp")
            .field("address", &self.address)
            .field("tokens", &self.tokens)
            .field("tls", &self.tls.is_some())
            .field("insecure", &self.insecure)
            .finish()
    }
}

impl Tcp {
    /// Everybody on this machine may come in, at `address`.
    pub const fn open(address: SocketAddr) -> Self {
        Self { address, tokens: None, tls: None, insecure: false }
    }

    /// Refuses to let other machines in without a token.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.address.ip().is_loopback() || self.tokens.is_some() || self.insecure {
            return Ok(());
        }
        let why = format!(
            "other machines can reach {}, and without access tokens all of them could do anything: \
             give it tokens, listen on 127.0.0.1, or say that this is what you want",
            self.address
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// Listens and hands out those who connect.
pub(super) async fn incoming(
    address: SocketAddr,
    admission: Arc<Admission>,
) -> io::Result<(impl Stream<Item = io::Result<Admitted<TcpStream>>> + Send + use<>, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let admit = move |connection: io::Result<TcpStream>| {
        let admission = admission.clone();
        async move {
            match connection {
                Ok(connection) => {
                    // WHY: an answer is small and somebody waits for it.
                    let _ = connection.set_nodelay(true);
                    admission.admit(connection).map(Ok)
                }
                Err(error) => Some(Err(error)),
            }
        }
    };
    Ok((TcpListenerStream::new(listener).filter_map(admit), bound))
}
