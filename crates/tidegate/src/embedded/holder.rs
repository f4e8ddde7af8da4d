//! The engine in this process, and the socket on which others reach it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::{Atomic, Broker, Driver, Error, ErrorKind, Operation, Result};
use tidegate_remote::listen::{Options, Server};

/// The socket's name in the data directory.
const SOCKET: &str = "socket";
/// How long those who are attached have to get their answers when the holder is closed.
const DRAIN: Duration = Duration::from_secs(2);
/// Threads that answer on the socket. WHY: not the application's runtime: a handler that blocks it must
/// not keep other processes waiting, and it may end before the broker does.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// The engine with its socket.
#[derive(Debug)]
pub(super) struct Holder {
    broker: Broker,
    socket: Mutex<Option<Server>>,
}

/// Where the socket of a data directory is.
pub(super) fn socket_of(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

impl Holder {
    /// Opens the socket beside the data. Without one the engine serves this process alone, and that is
    /// logged.
    pub(super) async fn new(broker: Broker, dir: &Path) -> Self {
        let socket = listen(broker.clone(), &socket_of(dir)).await;
        let socket = socket.inspect_err(|error| {
            tracing::warn!(%error, "no socket beside the data: no other process can attach");
        });
        Self { broker, socket: Mutex::new(socket.ok()) }
    }

    pub(super) const fn broker(&self) -> &Broker {
        &self.broker
    }

    pub(super) fn driver(&self) -> &Arc<dyn Driver> {
        &self.broker.parts().driver
    }

    pub(super) fn atomic(&self) -> Result<&Arc<dyn Atomic>> {
        self.broker.parts().atomic.as_ref().ok_or_else(|| {
            let why = "the engine lost its one step";
            Error::new(ErrorKind::Unexpected, Operation::Settle, why)
        })
    }

    /// Answers what has been asked, then closes the engine and lets go of the directory.
    pub(super) async fn close(&self) -> Result<()> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = socket {
            socket.stop(DRAIN).await;
        }
        self.broker.close().await
    }
}

async fn listen(broker: Broker, path: &Path) -> std::io::Result<Server> {
    let server = Server::new(broker, Options { threads: Some(THREADS), ..Options::default() });
    server.listen_unix(path).await?;
    Ok(server)
}
