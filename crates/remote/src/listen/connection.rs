//! A connection as the protocol's server sees it: bytes, until something ends them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::Phase;
use super::gate::FirstCall;
use super::threads::Place;
use crate::service::Room;

/// A connection. It ends by itself when the server cuts it off, when no call was let in within the
/// first seconds, and when the client takes nothing of what it is sent.
pub(super) struct Connection<IO> {
    io: IO,
    client: Client,
    /// `None` once it has come.
    end: Option<End>,
    taken_within: Duration,
    /// The end of a write that waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _seat: (OwnedSemaphorePermit, Place),
}

/// Who is on a connection, as all its requests carry it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) first_call: FirstCall,
    pub(super) room: Room,
}

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the beginning until a call is let in.
    pub(super) first_call_within: Duration,
    /// For room to write, while it takes nothing.
    pub(super) taken_within: Duration,
}

type End = Pin<Box<dyn Future<Output = &'static str> + Send>>;

impl<IO> Connection<IO> {
    /// `seat`, that of the server and that of a thread, is given back when the connection is gone.
    pub(super) fn new(
        io: IO,
        seat: (OwnedSemaphorePermit, Place),
        room: Room,
        patience: Patience,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let Patience { first_call_within, taken_within } = patience;
        let client = Client { first_call: FirstCall::default(), room };
        let end = end(client.first_call.clone(), first_call_within, phase);
        let end: Option<End> = Some(Box::pin(end));
        Self { io, client, end, taken_within, stalled: None, _seat: seat }
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

    /// Fails a write that waits for too long. WHY: a client that reads nothing holds up all that the
    /// protocol would say to it, its last words too.
    fn bounded(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let within = self.taken_within;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(stalled.as_mut().poll(cx));
        tracing::debug!("a connection was closed whose client takes nothing");
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

async fn end(
    first_call: FirstCall,
    within: Duration,
    mut phase: watch::Receiver<Phase>,
) -> &'static str {
    let silent = async {
        sleep(within).await;
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
    type ConnectInfo = Client;

    fn connect_info(&self) -> Client {
        self.client.clone()
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
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.bounded(written, cx)
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
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.bounded(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
