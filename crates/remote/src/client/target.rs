//! Where a server is, and what it asks for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};

use crate::listen::socket_path;

/// How long a server may take to answer the first call.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A connection over TCP on which nothing was heard for so long is asked whether it is still there,
/// and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes of answers that may be under way on one stream and on all: larger than what is sent while an
/// acknowledgement crosses a continent at 1 Gbit/s would only be memory.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where a server is. Shows no token.
#[derive(Clone)]
pub struct Target {
    place: Place,
    token: Option<String>,
}

#[derive(Clone)]
enum Place {
    Unix(PathBuf),
    Tcp { address: String, tls: Option<Tls> },
}

/// How a server's certificate is checked.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The certificates of those who may have signed it, in PEM; `None` are those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The name it must be for; `None` is the host of the address.
    pub name: Option<String>,
}

impl Target {
    /// The server behind a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { place: Place::Unix(path.into()), token: None }
    }

    /// The server at `address`, a host and a port.
    pub fn tcp(address: impl Into<String>) -> Self {
        Self { place: Place::Tcp { address: address.into(), tls: None }, token: None }
    }

    /// Over TLS.
    pub fn tls(mut self, how: Tls) -> Self {
        if let Place::Tcp { tls, .. } = &mut self.place {
            *tls = Some(how);
        }
        self
    }

    /// With this access token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    pub(super) fn credentials(&self) -> Result<Credentials> {
        let bearer = |token: &String| {
            let mut bearer: MetadataValue<Ascii> =
                format!("Bearer {token}").parse().map_err(|_| {
                    let why = "the access token has characters that no token has";
                    Error::new(ErrorKind::Invalid, Operation::Open, why).about(self.to_string())
                })?;
            bearer.set_sensitive(true);
            Ok(bearer)
        };
        Ok(Credentials { bearer: self.token.as_ref().map(bearer).transpose()? })
    }

    pub(super) async fn channel(&self) -> Result<Channel> {
        let connected = match &self.place {
            Place::Unix(path) => self.over_unix(path.clone()).await,
            Place::Tcp { address, tls } => self.over_tcp(address, tls.as_ref()).await?,
        };
        connected.map_err(|error| {
            let why = format!("nothing answers there: {}", innermost(&error));
            Error::new(ErrorKind::Unavailable, Operation::Open, why)
                .about(self.to_string())
                .caused_by(error)
        })
    }

    async fn over_unix(&self, path: PathBuf) -> Result<Channel, tonic::transport::Error> {
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move {
                let (_dir, path) = socket_path(&path)?;
                UnixStream::connect(path).await.map(TokioIo::new)
            }
        });
        // The name is never looked up.
        windows(Endpoint::from_static("http://tidegate")).connect_with_connector(connector).await
    }

    async fn over_tcp(
        &self,
        address: &str,
        tls: Option<&Tls>,
    ) -> Result<Result<Channel, tonic::transport::Error>> {
        let invalid = |why: String| {
            Error::new(ErrorKind::Invalid, Operation::Open, why).about(self.to_string())
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"));
        let mut endpoint = endpoint.map_err(|_| {
            invalid(format!("{address:?} is no address; write a host and a port, as queue-1:9326"))
        })?;
        if let Some(Tls { authorities, name }) = tls {
            let mut config = ClientTlsConfig::new();
            config = match authorities {
                Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
                None => config.with_native_roots(),
            };
            if let Some(name) = name {
                config = config.domain_name(name);
            }
            endpoint = endpoint.tls_config(config).map_err(|error| {
                invalid(format!("the certificates cannot be used: {}", innermost(&error)))
            })?;
        }
        let endpoint = windows(endpoint)
            .tcp_nodelay(true)
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect().await)
    }
}

fn windows(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// The error that led to all others.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            Place::Tcp { address, tls: None } => write!(f, "tidegate://{address}"),
            Place::Tcp { address, tls: Some(_) } => write!(f, "tidegate+tls://{address}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// What goes with every call.
#[derive(Clone)]
pub(super) struct Credentials {
    bearer: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    pub(super) const fn bearer(&self) -> Option<&MetadataValue<Ascii>> {
        self.bearer.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_where_it_is_and_no_secret() {
        let target = Target::tcp("queue-1:9326").tls(Tls::default()).token("hunter2-hunter2");
        assert_eq!(target.to_string(), "tidegate+tls://queue-1:9326");
        assert!(!format!("{target:?}").contains("hunter2"));
        assert_eq!(Target::unix("/d/socket").to_string(), "unix:/d/socket");
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_without_being_shown() {
        let refused = Target::tcp("h:1").token("hunter2\n").credentials();
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_and_one_without_a_server_is_unavailable() {
        let wrong = Target::tcp("not an address").channel().await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Invalid);
        let nobody = Target::unix("/nonexistent/socket").channel().await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::Unavailable);
    }
}
