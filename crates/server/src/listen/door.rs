//! Who comes in: one task for each connection, no more of them than there are seats.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::http::Connection;
use super::{Bodies, Limits, Phase, ending};
use crate::sqs::Service;

/// How long no connection is taken after one could not be: most likely there are no files left.
const BREATH: Duration = Duration::from_millis(50);

pub(super) struct Door {
    pub(super) service: Service,
    pub(super) limits: Limits,
    pub(super) seats: Arc<Semaphore>,
    pub(super) bodies: Arc<Bodies>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Door {
    /// Lets connections in until the end, and waits until the last of them has gone.
    pub(super) async fn serve(self, listener: TcpListener) {
        let door = Arc::new(self);
        let mut connections = JoinSet::new();
        let mut phase = door.phase.clone();
        loop {
            let accepted = async {
                let seat = door.seats.clone().acquire_owned().await;
                (listener.accept().await, seat)
            };
            tokio::select! {
                biased;
                () = ending(&mut phase) => break,
                Some(_) = connections.join_next() => {}
                (accepted, seat) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let door = door.clone();
                        connections.spawn(async move {
                            door.let_in(stream).await;
                            drop(seat);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be taken");
                        tokio::time::sleep(BREATH).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn let_in(&self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection has no TCP_NODELAY");
        }
        match &self.tls {
            None => self.talk(stream, "http").await,
            Some(tls) => {
                let handshake = tokio::time::timeout(self.limits.head_within, tls.accept(stream));
                let mut phase = self.phase.clone();
                let shaken = tokio::select! {
                    shaken = handshake => shaken,
                    () = ending(&mut phase) => return,
                };
                match shaken {
                    Ok(Ok(stream)) => Box::pin(self.talk(stream, "https")).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake has failed"),
                    Err(_) => tracing::debug!("a handshake has taken too long"),
                }
            }
        }
    }

    async fn talk<IO>(&self, io: IO, scheme: &'static str)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { service, limits, seats: _, bodies, phase, tls: _ } = self;
        let connection = Connection {
            service: service.clone(),
            limits: *limits,
            bodies: bodies.clone(),
            scheme,
        };
        connection.serve(io, phase.clone()).await;
    }
}
