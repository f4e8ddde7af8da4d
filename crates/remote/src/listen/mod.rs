//! What listens: the service on a Unix socket and on TCP ports.
//!
//! `door` lets connections in, `threads` answer them, `connection` ends them, `gate` asks every request for its token,
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
mod threads;
mod tokens;
mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tidegate_core::{Broker, Error, ErrorKind, Operation, Result};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::service::{Limits, Service};
use connection::Patience;
use door::{Door, Doorkeeper, Guest, Listen};
use gate::Gate;
use threads::{Place, Thread, Threads};

pub use tcp::{ADDRESS_DEFAULT, Tcp, Tls};
pub use tokens::{Digest, SECRET_CHARS_MIN, TOKENS_MAX, Tokens};
pub use unix::socket_path;

/// The service whose health is told; the empty name is that of the server as a whole, which is the
/// same.
const HEALTH_OF: [&str; 2] = ["tidegate.v1.Broker", ""];
/// Connections of a socket that wait to be let in.
const BACKLOG: u32 = 1_024;
/// How long connections have to close by themselves once everything is answered.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a server allows, and what it runs on.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What one client may have under way.
    pub limits: Limits,
    /// Threads that answer, each with connections of its own. With `None` all are answered on the runtime on which
    /// [`Server::listen_tcp`] or [`Server::listen_unix`] is called first. The threads end with the server, and with
    /// them what the broker has begun on them: a connection that it made there is made anew when it is needed next.
    pub threads: Option<NonZeroUsize>,
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
    /// No threads of its own; 1,024 connections with 1,024 streams each, 10 s for the first call, 60 s for a call,
    /// 30 s for the rest of a request; clients are asked after 30 s of silence and have 20 s to answer.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            threads: None,
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
    threads: OnceLock<Threads>,
    /// What each socket has on each thread, and its door. `None` once the server was stopped.
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
            threads: OnceLock::new(),
            sockets: Mutex::new(Some(JoinSet::new())),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers on a Unix socket at `path`. Whatever has the name is replaced in one step; the file stays when the server ends. Only programs of the same user and of
    /// root are let in, and they may do everything.
    ///
    /// # Errors
    /// Those of making the socket and the threads; `InvalidInput` for a path that no socket's address holds.
    pub async fn listen_unix(&self, path: &Path) -> io::Result<()> {
        let threads = self.shared.threads().map_err(io::Error::other)?;
        let listener = {
            let _on = threads.first().handle.enter();
            unix::listen_unix(path)?
        };
        let routes = self.shared.routes(Gate::open()).map_err(io::Error::other)?;
        let transport = routes::transport(&self.shared.options);
        self.shared.serve(listener, threads, &transport, &routes).await.map_err(io::Error::other)
    }

    /// Answers on a TCP port. Returns the address with the port that it is.
    ///
    /// # Errors
    /// `Invalid` for an address that other machines reach, with neither tokens nor `insecure`; for one
    /// that nothing can listen at; and for certificates and keys that cannot be used. `Unavailable` if
    /// another program listens there, or the threads cannot be started; `Closed` after a stop.
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
        let threads = self.shared.threads()?;
        let listener = {
            let _on = threads.first().handle.enter();
            tcp::bind(address)?
        };
        let bound = listener.local_addr().map_err(|error| {
            tcp::invalid(address, "the system does not tell where it listens").caused_by(error)
        })?;
        let routes = self.shared.routes(Gate::of(tokens))?;
        self.shared.serve(listener, threads, &transport, &routes).await?;
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

    /// The threads, which are started when they are first asked for.
    fn threads(&self) -> Result<&Threads> {
        if let Some(threads) = self.threads.get() {
            return Ok(threads);
        }
        let threads = Threads::new(self.options.threads).map_err(|error| {
            let why = "the threads that answer cannot be started; allow the process more, or ask for fewer";
            Error::new(ErrorKind::Unavailable, Operation::Open, why).caused_by(error)
        })?;
        Ok(self.threads.get_or_init(|| threads))
    }

    async fn serve<L: Listen>(
        &self,
        listener: L,
        threads: &Threads,
        transport: &routes::Transport,
        routes: &tonic::service::Routes,
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
        {
            let mut sockets = self.sockets();
            let ended = || Error::new(ErrorKind::Closed, Operation::Open, "the server was stopped");
            let sockets = sockets.as_mut().ok_or_else(ended)?;
            let mut guests = Vec::new();
            for thread in threads.all() {
                let (sender, let_in) = mpsc::unbounded_channel();
                let door = door.clone();
                let connections = UnboundedReceiverStream::new(let_in)
                    .map(move |(guest, place)| door.connection::<L>(guest, place));
                let serving = transport
                    .clone()
                    .add_routes(routes.clone())
                    .serve_with_incoming_shutdown(connections, closing(self.phase.subscribe()));
                sockets.spawn_on(
                    async move {
                        if let Err(error) = serving.await {
                            tracing::error!(%error, "a socket is served no longer");
                        }
                    },
                    &thread.handle,
                );
                guests.push((thread, sender));
            }
            let closing = closing(self.phase.subscribe());
            let letting_in = let_in(Doorkeeper::new(listener, door), guests);
            sockets.spawn_on(
                async move {
                    tokio::select! {
                        () = closing => {}
                        () = letting_in => {}
                    }
                },
                &threads.first().handle,
            );
        }
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

/// Until the server lets nobody in any more.
async fn closing(mut phase: watch::Receiver<Phase>) {
    // An error is the end of the server.
    let _ = phase.wait_for(|phase| *phase != Phase::Open).await;
}

/// Those who are let in to a thread.
type Guests<A> = mpsc::UnboundedSender<(Guest<A>, Place)>;

/// Lets connections in, each to the thread that has the fewest.
async fn let_in<L: Listen>(mut door: Doorkeeper<L>, threads: Vec<(Thread, Guests<L::Arrived>)>) {
    loop {
        let guest = door.next().await;
        let Some((thread, guests)) = threads.iter().min_by_key(|(thread, _)| thread.load()) else {
            return;
        };
        if guests.send((guest, thread.place())).is_err() {
            return;
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shared.service).finish()
    }
}
