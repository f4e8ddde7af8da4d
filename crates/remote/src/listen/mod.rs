//! What listens: the service on a Unix socket and on TCP ports.
//!
//! `door` lets connections in, `connection` ends them, `gate` asks every request for its token,
//! `deadline` ends calls that take too long, `metered` reads them as far as their connection has room; `unix` and `tcp` are the two kinds of socket, `routes` is what is answered on them.

mod connection;
mod deadline;
mod door;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod gate;
mod metered;
mod routes;
mod tcp;
mod tokens;
mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::{Broker, Error, ErrorKind, Operation, Result};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::service::{Limits, Service};
use connection::Patience;
use door::{Door, Listen};
use gate::Gate;

pub use tcp::{ADDRESS_DEFAULT, Tcp, Tls};
pub use tokens::{Digest, SECRET_CHARS_MIN, TOKENS_MAX, Tokens};
pub use unix::socket_path;

/// The service whose health is told; the empty name is that of the server as a whole, which is the
/// same.
const HEALTH_OF: [&str; 2] = ["tidegate.v1.Broker", ""];
/// How long connections have to close by themselves once everything is answered.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a server allows.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What one client may have under way.
    pub limits: Limits,
    /// Most connections of all sockets together. One more is closed at once.
    pub connections_max: usize,
    /// Most calls and streams at once on a connection. More wait on the client's side.
    pub streams_max: u32,
    /// A connection on which no call was let in for so long from its beginning, the handshake of TLS
    /// included, is closed.
    pub first_call_within: Duration,
    /// How long a call may take until its answer begins; then it is `DEADLINE_EXCEEDED`. Streams begin
    /// at once and stay open.
    pub call_timeout: Duration,
    /// How long the rest of a request may take that is read on although its connection has no room for it
    /// ([`Limits::connection_bytes`]); then it is `RESOURCE_EXHAUSTED`.
    pub part_within: Duration,
    /// How clients are noticed that are gone without a word.
    pub keepalive: Keepalive,
}

/// A client that is silent for `after` is asked whether it is still there, and closed if it does not
/// answer `within`. One that takes nothing of what it is sent is closed after both.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Silence until it is asked.
    pub after: Duration,
    /// Time for its answer.
    pub within: Duration,
}

impl Default for Options {
    /// 1,024 connections with 1,024 streams each, 10 s for the first call, 60 s for a call, 30 s for
    /// the rest of a request; clients are
    /// asked after 30 s of silence and have 20 s to answer.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connections_max: 1_024,
            streams_max: 1_024,
            first_call_within: Duration::from_secs(10),
            call_timeout: Duration::from_secs(60),
            part_within: Duration::from_secs(30),
            keepalive: Keepalive {
                after: Duration::from_secs(30),
                within: Duration::from_secs(20),
            },
        }
    }
}

/// A server over a broker. Clones are the same server; when the last one is dropped it ends at once, as
/// after [`Server::stop`] with no time.
///
/// Beside the service, `grpc.health.v1.Health` and `grpc.reflection.v1.ServerReflection` are answered:
/// health to all, reflection to those with a token.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    options: Options,
    health: HealthReporter,
    seats: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
    /// One task for each socket. `None` once the server was stopped.
    sockets: Mutex<Option<JoinSet<()>>>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections come and stay.
    Open,
    /// None come; those that are there close when their calls are over.
    Closing,
    /// None are left.
    Cut,
}

impl Server {
    /// A server that listens nowhere yet.
    pub fn new(broker: Broker, options: Options) -> Self {
        let shared = Shared {
            service: Service::new(broker, options.limits),
            health: HealthReporter::new(),
            seats: Arc::new(Semaphore::new(options.connections_max)),
            phase: watch::Sender::new(Phase::Open),
            sockets: Mutex::new(Some(JoinSet::new())),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers on a Unix socket at `path`, on the runtime of the caller. Whatever has the name is
    /// replaced in one step; the file stays when the server ends. Only programs of the same user and of
    /// root are let in, and they may do everything.
    ///
    /// # Errors
    /// Those of making the socket; `InvalidInput` for a path that no socket's address holds.
    pub async fn listen_unix(&self, path: &Path) -> io::Result<()> {
        let listener = unix::listen_unix(path)?;
        let routes = self.shared.routes(Gate::open()).map_err(io::Error::other)?;
        let transport = routes::transport(&self.shared.options);
        self.shared.serve(listener, transport, routes).await.map_err(io::Error::other)
    }

    /// Answers on a TCP port, on the runtime of the caller. Returns the address with the port that it is.
    ///
    /// # Errors
    /// `Invalid` for an address that other machines reach, with neither tokens nor `insecure`; for one
    /// that nothing can listen at; and for certificates and keys that cannot be used. `Unavailable` if
    /// another program listens there, `Closed` after a stop.
    pub async fn listen_tcp(&self, tcp: Tcp) -> Result<SocketAddr> {
        tcp.check()?;
        let Tcp { address, tokens, tls, insecure: _ } = tcp;
        let transport = routes::transport(&self.shared.options);
        let transport = match &tls {
            None => transport,
            Some(tls) => transport.tls_config(tls.config(self.shared.options.first_call_within)).map_err(|error| {
                let why =
                    "the certificate and key cannot be used; both must be PEM, and belong together";
                tcp::invalid(address, why).caused_by(error)
            })?,
        };
        let listener = tcp::bind(address).await?;
        let bound = listener.local_addr().map_err(|error| {
            tcp::invalid(address, "the system does not tell where it listens").caused_by(error)
        })?;
        let routes = self.shared.routes(Gate::of(tokens))?;
        self.shared.serve(listener, transport, routes).await?;
        Ok(bound)
    }

    /// Ends the server. Its health is `NOT_SERVING` from now on, clients are told that the end is near,
    /// nothing new begins; what has begun has until `timeout` to be answered. Then all connections are
    /// closed. Returns whether all was answered.
    ///
    /// It can be called again while it waits, with a shorter time. Dropping it leaves the server as it
    /// is then: stop it again, or drop it too.
    pub async fn stop(&self, timeout: Duration) -> bool {
        let shared = &self.shared;
        shared.tell_health(ServingStatus::NotServing).await;
        shared.service.drain();
        let answered = tokio::time::timeout(timeout, shared.service.drained()).await.is_ok();
        shared.phase.send_replace(Phase::Closing);
        let mut sockets = shared.sockets().take().unwrap_or_default();
        let closed = async { while sockets.join_next().await.is_some() {} };
        if answered && tokio::time::timeout(GOODBYE, closed).await.is_err() {
            tracing::debug!("some clients keep their connections; they are closed now");
        }
        shared.phase.send_replace(Phase::Cut);
        answered
    }
}

impl Shared {
    fn routes(&self, gate: Gate) -> Result<tonic::service::Routes> {
        let request_bytes_max = self.options.limits.request_bytes_max as usize;
        routes::routes(self.service.clone(), self.health.clone(), gate, request_bytes_max)
    }

    async fn serve<L: Listen>(
        &self,
        listener: L,
        mut transport: routes::Transport,
        routes: tonic::service::Routes,
    ) -> Result<()> {
        let door = Door {
            seats: self.seats.clone(),
            connections_max: self.options.connections_max,
            room: (self.options.limits.connection_bytes, self.options.part_within),
            patience: Patience {
                first_call_within: self.options.first_call_within,
                taken_within: self.options.keepalive.after + self.options.keepalive.within,
            },
            phase: self.phase.subscribe(),
        };
        let mut phase = self.phase.subscribe();
        let closing = async move {
            // An error is the end of the server.
            let _ = phase.wait_for(|phase| *phase != Phase::Open).await;
        };
        let connections = door::connections(listener, door);
        let serving =
            transport.add_routes(routes).serve_with_incoming_shutdown(connections, closing);
        let spawned = self.sockets().as_mut().map(|sockets| {
            sockets.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "a socket is served no longer");
                }
            });
        });
        let ended = || Error::new(ErrorKind::Closed, Operation::Open, "the server was stopped");
        spawned.ok_or_else(ended)?;
        self.tell_health(ServingStatus::Serving).await;
        Ok(())
    }

    async fn tell_health(&self, status: ServingStatus) {
        for name in HEALTH_OF {
            self.health.set_service_status(name, status).await;
        }
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Option<JoinSet<()>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shared.service).finish()
    }
}
