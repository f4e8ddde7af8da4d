//! Counts connections and closes those beyond their number.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

/// How often it is told that connections are turned away.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How many connections there may be.
#[derive(Debug)]
pub(super) struct Admission {
    most: usize,
    free: Arc<Semaphore>,
    turned_away: Mutex<TurnedAway>,
}

#[derive(Debug, Default)]
struct TurnedAway {
    count: u64,
    told: Option<Instant>,
}

impl Admission {
    pub(super) fn new(most: usize) -> Self {
        Self { most, free: Arc::new(Semaphore::new(most)), turned_away: Mutex::default() }
    }

    /// Lets a connection in; `None` closes it.
    pub(super) fn admit<I>(&self, connection: I) -> Option<Admitted<I>> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Some(Admitted { connection, _permit: permit }),
            Err(_) => {
                self.turn_away();
                None
            }
        }
    }

    fn turn_away(&self) {
        let mut away = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        away.count += 1;
        if away.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            away.told = Some(Instant::now());
            let (turned_away, most) = (std::mem::take(&mut away.count), self.most);
            tracing::warn!(turned_away, most, "connections are turned away: there are too many");
        }
    }
}

/// A connection that counts until it is closed.
#[derive(Debug)]
pub(super) struct Admitted<I> {
    connection: I,
    _permit: OwnedSemaphorePermit,
}

impl<I: Connected> Connected for Admitted<I> {
    type ConnectInfo = I::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection.connect_info()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Admitted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Admitted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_too_many_is_turned_away_until_another_is_closed() {
        let admission = Admission::new(2);
        let first = admission.admit(()).unwrap();
        let _second = admission.admit(()).unwrap();
        assert!(admission.admit(()).is_none());
        drop(first);
        assert!(admission.admit(()).is_some());
    }
}
