//! Puts the service on a Unix socket or a TCP port.
//!
//! What is not answered is refused before it is read: connections beyond their number, streams beyond
//! theirs, headers and requests that are too long, callers without a token. `unix` and `tcp` listen,
//! `admission` counts and knows who is at the other end, `tokens` are those who may come in.

mod admission;
mod tcp;
mod tokens;
mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::{Access, Broker};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::{Connected, Router, ServerTlsConfig};
use tonic_health::server::HealthReporter;

use crate::proto;
use crate::proto::broker_server::BrokerServer;
use crate::service::{Limits, Service};
use admission::{Admission, Admitted};

pub use tcp::{ADDRESS_DEFAULT, Tcp};
pub use tokens::{Token, Tokens};
pub use unix::socket_path;

/// What every listener of a server keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What one client may have under way.
    pub limits: Limits,
    /// Connections at a time, on all listeners together. One more is closed at once.
    pub connections_max: usize,
    /// Streams and calls at a time on one connection; more wait at the client.
    pub streams_max: u32,
    /// How long a plain call may take.
    pub call_timeout: Duration,
}

impl Default for Options {
    /// 1,024 connections with 1,024 streams each, and a minute for a plain call.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connections_max: 1_024,
            streams_max: 1_024,
            call_timeout: Duration::from_secs(60),
        }
    }
}

/// The longest list of headers that is read, in bytes: a token of the longest kind, and room.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// A connection on which nothing was heard for so long is asked whether it is still there,
const KEEPALIVE: Duration = Duration::from_secs(30);
/// and closed if it does not answer in this time.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// How long a client may take to agree on encryption.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of requests that may be under way on one stream and on one connection. A stream of sends is
/// bounded by its credit; this bounds what lies in memory before it is parsed.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How long connections may take to close when all their calls have ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// A broker that listens. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    options: Options,
    admission: Arc<Admission>,
    health: HealthReporter,
    end: watch::Sender<bool>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shared.service).finish()
    }
}

impl Server {
    /// A server of `broker` that does not listen yet.
    pub fn new(broker: Broker, options: Options) -> Self {
        let service = Service::new(broker, options.limits);
        let admission = Arc::new(Admission::new(options.connections_max));
        let (health, _) = tonic_health::server::health_reporter();
        let (end, listeners) = (watch::Sender::new(false), Mutex::default());
        Self { shared: Arc::new(Shared { service, options, admission, health, end, listeners }) }
    }

    /// Listens on a Unix socket that only this user can reach, in the place of one that may be there:
    /// the caller knows that nobody listens on it. Whoever connects may do all.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn listen_unix(&self, path: &Path) -> io::Result<()> {
        let incoming = unix::incoming(path, self.shared.admission.clone())?;
        let access = |request: tonic::Request<()>| Ok(with(request, Access::full()));
        self.serve::<UnixStream, _, _>(incoming, access, None).await
    }

    /// Listens on a TCP port, and tells which.
    ///
    /// # Errors
    /// `PermissionDenied` for an address that others can reach, without tokens; those of the network;
    /// `InvalidInput` for certificates that cannot be used.
    pub async fn listen_tcp(&self, tcp: Tcp) -> io::Result<SocketAddr> {
        tcp.check()?;
        let Tcp { address, tokens, tls, insecure: _ } = tcp;
        let (incoming, bound) = tcp::incoming(address, self.shared.admission.clone()).await?;
        let tls = tls.map(|identity| ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE));
        let access = move |request: tonic::Request<()>| match &tokens {
            None => Ok(with(request, Access::full())),
            Some(tokens) => tokens.access(request.metadata()).map(|access| with(request, access)),
        };
        self.serve(incoming, access, tls).await?;
        Ok(bound)
    }

    async fn serve<I, S, A>(
        &self,
        incoming: S,
        access: A,
        tls: Option<ServerTlsConfig>,
    ) -> io::Result<()>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Connected + Unpin + Send + 'static,
        S: Stream<Item = io::Result<Admitted<I>>> + Send + 'static,
        A: FnMut(tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let router = self.router(access, tls).await?;
        let mut end = self.shared.end.subscribe();
        let serving = tokio::spawn(async move {
            let ended = async move {
                // A server that is gone has ended too.
                let _ = end.wait_for(|ended| *ended).await;
            };
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, ended).await {
                tracing::error!(%error, "a listener failed");
            }
        });
        self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(serving);
        Ok(())
    }

    /// The services that one listener offers.
    async fn router<A>(&self, access: A, tls: Option<ServerTlsConfig>) -> io::Result<Router>
    where
        A: FnMut(tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let Options { limits, connections_max: _, streams_max, call_timeout } = self.shared.options;
        let mut builder = tonic::transport::Server::builder()
            .timeout(call_timeout)
            .max_concurrent_streams(streams_max)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if let Some(tls) = tls {
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
            builder = builder.tls_config(tls).map_err(invalid)?;
        }
        let broker = BrokerServer::new(self.shared.service.clone())
            .max_decoding_message_size(limits.request_bytes_max as usize)
            .max_encoding_message_size(usize::MAX);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(io::Error::other)?;
        let health =
            tonic_health::server::HealthService::from_health_reporter(self.shared.health.clone());
        self.shared.health.set_serving::<BrokerServer<Service>>().await;
        let health = tonic_health::pb::health_server::HealthServer::new(health);
        Ok(builder
            // WHY: whether the server is well is asked by those who have no token.
            .add_service(health)
            .add_service(InterceptedService::new(reflection, access.clone()))
            .add_service(InterceptedService::new(broker, access)))
    }

    /// Ends: tells the clients, answers what has been asked, and closes all connections. What is not
    /// answered after `patience` is cut off.
    pub async fn stop(&self, patience: Duration) {
        let Shared { service, health, end, listeners, .. } = &*self.shared;
        health.set_not_serving::<BrokerServer<Service>>().await;
        service.drain();
        let drained = tokio::time::timeout(patience, service.drained()).await;
        end.send_replace(true);
        let ending = std::mem::take(&mut *listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let farewell = if drained.is_ok() { FAREWELL } else { Duration::ZERO };
        let until = tokio::time::Instant::now() + farewell;
        for mut listener in ending {
            if tokio::time::timeout_at(until, &mut listener).await.is_err() {
                listener.abort();
            }
        }
    }
}

fn with(mut request: tonic::Request<()>, access: Access) -> tonic::Request<()> {
    request.extensions_mut().insert(access);
    request
}
