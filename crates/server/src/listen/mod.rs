//! What listens: the protocol on TCP ports.
//!
//! `door` lets connections in and bounds how many, `http` reads requests within the limits and answers
//! them, `patience` ends connections whose clients do not take their answers and `timer` those whose do
//! not ask, `tls` is what a server proves itself with.

mod door;
mod http;
mod patience;
mod timer;
mod tls;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::sqs::Service;

pub use tls::Tls;

/// Where a server listens unless it is told otherwise: this machine alone.
pub const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9324);
/// Longest body that counts as short.
const SHORT_BODY_BYTES_MAX: u32 = 64 << 10;
/// How long connections have to close by themselves once everything is answered.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a server allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections of all ports together. One more waits at the door until one goes.
    pub connections_max: usize,
    /// Longest body of a request, in bytes. A message of 1 MiB is four times as long at most where half
    /// of it is escaped.
    pub body_bytes_max: usize,
    /// Bytes of the bodies of more than 64 KiB that are read or answered at the same time. More wait, for
    /// as long as a body may take, and are refused then: the client tries again.
    pub bodies_bytes_max: usize,
    /// The same of shorter ones, so that they wait behind none that is longer.
    pub short_bodies_bytes_max: usize,
    /// Longest head of a request, in bytes.
    pub head_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
    /// How long a client may take for the head of a request, the time between two requests included, and
    /// for the handshake of TLS.
    pub head_within: Duration,
    /// How long a client may take for the body of a request.
    pub body_within: Duration,
    /// How long a client may take to take an answer, from when the system has no more room for it.
    pub answer_within: Duration,
}

impl Default for Limits {
    /// 16,384 connections; bodies of 4 MiB, 32 MiB of them at a time, and 8 MiB of those that are short; heads of
    /// 64 KiB with 100 headers; 60 s for a head, 30 s for a body, 60 s to take an answer.
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            body_bytes_max: 4 << 20,
            bodies_bytes_max: 32 << 20,
            short_bodies_bytes_max: 8 << 20,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            head_within: Duration::from_secs(60),
            body_within: Duration::from_secs(30),
            answer_within: Duration::from_secs(60),
        }
    }
}

/// How a port is listened on: where, and who may come.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address. Port 0 is one that the system chooses.
    pub address: SocketAddr,
    /// Without it everything can be read on the way.
    pub tls: Option<Tls>,
    /// Whether whoever comes must prove who they are.
    pub is_guarded: bool,
    /// Whether a port that other machines reach may be without a guard.
    pub insecure: bool,
}

impl Listen {
    /// At `address`, for all who can connect, without TLS.
    pub const fn open(address: SocketAddr) -> Self {
        Self { address, tls: None, is_guarded: false, insecure: false }
    }

    /// Refuses what other machines reach and nobody guards, as listening there would.
    ///
    /// # Errors
    /// `Invalid`, which says what to do.
    pub fn check(&self) -> Result<()> {
        let is_near = self.address.ip().to_canonical().is_loopback();
        if is_near || self.is_guarded || self.insecure {
            return Ok(());
        }
        let why = "other machines reach this address and any credentials are accepted, so anybody there \
                   could do anything; listen on 127.0.0.1, or say that it is meant to be insecure";
        Err(invalid(self.address, why))
    }
}

/// A server of the protocol. Clones are the same server; when the last one is dropped it ends at once, as
/// after [`Server::stop`] with no time.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    limits: Limits,
    /// Places for connections, and for bytes of bodies.
    seats: Arc<Semaphore>,
    bodies: Arc<Bodies>,
    phase: watch::Sender<Phase>,
    /// One task for each port. `None` once the server was stopped.
    ports: Mutex<Option<JoinSet<()>>>,
}

/// Places for bytes of bodies.
#[derive(Debug)]
struct Bodies {
    short: Semaphore,
    long: Semaphore,
}

impl Bodies {
    fn new(limits: &Limits) -> Self {
        let short = Semaphore::new(limits.short_bodies_bytes_max);
        Self { short, long: Semaphore::new(limits.bodies_bytes_max) }
    }

    fn of(&self, bytes: u32) -> &Semaphore {
        if bytes <= SHORT_BODY_BYTES_MAX { &self.short } else { &self.long }
    }
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections come and stay.
    Open,
    /// None come; those that are there close when what they have begun is answered.
    Closing,
    /// None are left.
    Cut,
}

/// Until the server no longer lets in, or is cut.
async fn ending(phase: &mut watch::Receiver<Phase>) {
    // An error is the end of the server.
    let _ = phase.wait_for(|phase| *phase != Phase::Open).await;
}

async fn cut(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Cut).await;
}

impl Server {
    /// A server that listens nowhere yet.
    pub fn new(service: Service, limits: Limits) -> Self {
        let shared = Shared {
            service,
            limits,
            seats: Arc::new(Semaphore::new(limits.connections_max)),
            bodies: Arc::new(Bodies::new(&limits)),
            phase: watch::Sender::new(Phase::Open),
            ports: Mutex::new(Some(JoinSet::new())),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers on a TCP port, on the runtime of the caller. Returns the address with the port that it is.
    ///
    /// # Errors
    /// `Invalid` for an address that other machines reach and nobody guards; for one that nothing can
    /// listen at; and for certificates and keys that cannot be used. `Unavailable` if another program
    /// listens there, `Closed` after a stop.
    pub async fn listen(&self, listen: Listen) -> Result<SocketAddr> {
        listen.check()?;
        let Listen { address, tls, is_guarded: _, insecure: _ } = listen;
        let tls = tls.map(|tls| tls.acceptor(address)).transpose()?;
        let listener = bind(address).await?;
        let bound = listener.local_addr().map_err(|error| {
            invalid(address, "the system does not tell where it listens").caused_by(error)
        })?;
        let door = door::Door {
            service: self.shared.service.clone(),
            limits: self.shared.limits,
            seats: self.shared.seats.clone(),
            bodies: self.shared.bodies.clone(),
            phase: self.shared.phase.subscribe(),
            tls,
        };
        let spawned = self.shared.ports().as_mut().map(|ports| ports.spawn(door.serve(listener)));
        let ended = || Error::new(ErrorKind::Closed, Operation::Open, "the server was stopped");
        spawned.ok_or_else(ended)?;
        Ok(bound)
    }

    /// Ends the server: no connection is let in any more, receives that wait are answered with what there
    /// is, and what has begun has until `timeout` to be answered. Then all connections are closed. Returns
    /// whether all was answered. What receivers hold stays theirs until its time ends.
    ///
    /// It can be called again while it waits, with a shorter time.
    pub async fn stop(&self, timeout: Duration) -> bool {
        let shared = &self.shared;
        shared.service.end();
        shared.phase.send_replace(Phase::Closing);
        let mut ports = shared.ports().take().unwrap_or_default();
        let closed = async { while ports.join_next().await.is_some() {} };
        let is_answered = tokio::time::timeout(timeout, closed).await.is_ok();
        shared.phase.send_replace(Phase::Cut);
        let cut_off = async { while ports.join_next().await.is_some() {} };
        if !is_answered && tokio::time::timeout(GOODBYE, cut_off).await.is_err() {
            tracing::debug!("some connections do not end; they are dropped");
        }
        is_answered
    }
}

impl Shared {
    fn ports(&self) -> std::sync::MutexGuard<'_, Option<JoinSet<()>>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shared.service).finish()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let (kind, why) = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                (ErrorKind::Unavailable, "another program listens there; choose another port")
            }
            _ => (ErrorKind::Invalid, "it cannot be listened at"),
        };
        Error::new(kind, Operation::Open, why).about(address.to_string()).caused_by(error)
    })
}

fn invalid(address: SocketAddr, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Open, why).about(address.to_string())
}
