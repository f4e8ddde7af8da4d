//! A connection as the protocol's server sees it: bytes, until something ends them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::transport::server::Connected;

use super::Phase;
use super::gate::FirstCall;

/// A connection. It ends by itself when the server cuts it off, and when no call was let in within the
/// first seconds.
pub(super) struct Connection<IO> {
    io: IO,
    first_call: FirstCall,
    /// `None` once it has come.
    end: Option<End>,
    _seat: OwnedSemaphorePermit,
}

type End = Pin<Box<dyn Future<Output = &'static str> + Send>>;

impl<IO> Connection<IO> {
    /// `seat` is given back when the connection is gone.
    pub(super) fn new(
        io: IO,
        seat: OwnedSemaphorePermit,
        first_call_within: Duration,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let first_call = FirstCall::default();
        let end = end(first_call.clone(), first_call_within, phase);
        Self { io, first_call, end: Some(Box::pin(end)), _seat: seat }
    }

    /// Fails once the end has come. INVARIANT: asked before every read and write, so that whichever of
    /// them waits is woken by the end.
    fn go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(end) = &mut self.end {
            let Poll::Ready(why) = end.as_mut().poll(cx) else { return Ok(()) };
            tracing::debug!(why, "a connection was closed");
            self.end = None;
        }
        Err(ErrorKind::ConnectionAborted.into())
    }
}

async fn end(
    first_call: FirstCall,
    within: Duration,
    mut phase: watch::Receiver<Phase>,
) -> &'static str {
    let silent = async {
        tokio::time::sleep(within).await;
        if first_call.has_come() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = silent => "no call was let in within the first seconds",
        // An error is the end of the server.
        _ = phase.wait_for(|phase| *phase == Phase::Cut) => "the server has ended",
    }
}

impl<IO> fmt::Debug for Connection<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl<IO> Connected for Connection<IO> {
    type ConnectInfo = FirstCall;

    fn connect_info(&self) -> FirstCall {
        self.first_call.clone()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.go_on(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.go_on(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.go_on(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
