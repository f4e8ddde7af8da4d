//! Whether a connection has a process of the server to itself, as statements that are prepared need.
//!
//! A pooler that gives each transaction another process cannot pass on the key by which that process is told to
//! cancel, so it makes up its own; the process's id in it is then another one than the server tells.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Asks the server once. Not known is no.
pub(crate) async fn is_direct(client: &Client) -> bool {
    let Some(told) = process_at_start(client).await else { return false };
    let asked = client.query_typed("SELECT pg_backend_pid()", &[]).await;
    let is = asked.ok().and_then(|rows| rows.first()?.try_get::<_, i32>(0).ok());
    is == Some(told)
}

/// The process's id as it was told when the connection began. The client keeps it to itself but for what it
/// would send to cancel: length, code, process and secret, four bytes each.
async fn process_at_start(client: &Client) -> Option<i32> {
    let mut sent = Sent(Vec::new());
    client.cancel_token().cancel_query_raw(&mut sent, Untouched).await.ok()?;
    let request = sent.0.last_chunk::<16>()?;
    let process = request.get(8..12)?;
    process.try_into().ok().map(i32::from_be_bytes)
}

/// Keeps what is sent. Whoever asks for TLS is answered yes.
struct Sent(Vec<u8>);

impl AsyncWrite for &mut Sent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<Result<usize>> {
        self.0.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for &mut Sent {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if into.remaining() > 0 {
            into.put_slice(b"S");
        }
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for &mut Sent {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// In place of TLS.
struct Untouched;

impl<'s> TlsConnect<&'s mut Sent> for Untouched {
    type Stream = &'s mut Sent;
    type Error = Infallible;
    type Future = Ready<std::result::Result<&'s mut Sent, Infallible>>;

    fn connect(self, stream: &'s mut Sent) -> Self::Future {
        ready(Ok(stream))
    }
}
