//! What a client has sent on a stream: messages that have arrived together are read together, as many
//! as there is room for. What is read counts as unanswered from then on.

use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use prost::Message;
use tonic::Status;

use super::room::Call;

/// Most messages that are read at a time.
pub(super) const AT_ONCE: usize = 256;

/// The messages of a stream, until it ends or breaks.
#[derive(Debug)]
pub(super) struct Arrivals<S, T> {
    /// `None` once there is nothing more to come.
    stream: Option<S>,
    broken: Option<Status>,
    /// What a message has in memory beside its bytes.
    beside: fn(&T) -> usize,
    call: Call,
}

/// A message, and what it takes: its bytes, and what is beside them in memory.
pub(super) type Arrived<T> = (T, usize);

impl<S, T> Arrivals<S, T>
where
    S: Stream<Item = Result<T, Status>> + Unpin,
    T: Message,
{
    pub(super) const fn of(stream: S, beside: fn(&T) -> usize, call: Call) -> Self {
        Self { stream: Some(stream), broken: None, beside, call }
    }

    /// Whether nothing more comes.
    pub(super) const fn has_ended(&self) -> bool {
        self.stream.is_none()
    }

    /// Reads no more.
    pub(super) fn end(&mut self) {
        self.stream = None;
    }

    /// Why it ended, if it broke. Tells it once.
    pub(super) const fn broken(&mut self) -> Option<Status> {
        self.broken.take()
    }

    /// Waits for a message and takes those that have arrived with it, until they fill `room_bytes`. With
    /// no room it takes nothing and waits for ever. Empty at the end. Dropping it loses nothing.
    pub(super) async fn next(&mut self, room_bytes: usize) -> Vec<Arrived<T>> {
        if room_bytes == 0 {
            return std::future::pending().await;
        }
        poll_fn(|cx| self.poll(room_bytes, cx)).await
    }

    fn poll(&mut self, room_bytes: usize, cx: &mut Context<'_>) -> Poll<Vec<Arrived<T>>> {
        let (mut arrived, mut bytes) = (Vec::new(), 0);
        while let Some(stream) = self.stream.as_mut()
            && bytes < room_bytes
            && arrived.len() < AT_ONCE
        {
            match stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    let length = message.encoded_len() + (self.beside)(&message);
                    self.call.begin(length);
                    self.call.whole();
                    bytes += length;
                    arrived.push((message, length));
                }
                Poll::Ready(Some(Err(status))) => {
                    (self.stream, self.broken) = (None, Some(status));
                }
                Poll::Ready(None) => self.stream = None,
                Poll::Pending if arrived.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(arrived)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::proto::HelloRequest;

    /// 102 bytes as a message.
    fn long() -> Result<HelloRequest, Status> {
        Ok(HelloRequest { client: "c".repeat(100) })
    }

    #[tokio::test]
    async fn no_more_is_taken_than_there_is_room_for() {
        let mut arrivals =
            Arrivals::of(stream::iter([long(), long(), long(), long()]), |_| 0, Call::default());
        assert!(arrivals.next(0).now_or_never().is_none());
        assert_eq!(arrivals.next(1).await.len(), 1, "one is longer than the room, and alone");
        assert_eq!(arrivals.next(103).await.len(), 2);
        assert_eq!(arrivals.next(1_000).await.len(), 1);
        assert!(arrivals.has_ended());
        assert!(arrivals.next(1_000).await.is_empty());
    }

    #[tokio::test]
    async fn what_a_message_takes_beside_its_bytes_counts() {
        let mut arrivals =
            Arrivals::of(stream::iter([long(), long(), long()]), |_| 400, Call::default());
        assert_eq!(arrivals.next(503).await, [(long().unwrap(), 502), (long().unwrap(), 502)]);
    }

    #[tokio::test]
    async fn many_are_taken_in_parts() {
        let mut arrivals = Arrivals::of(
            stream::iter(std::iter::repeat_with(long).take(300)),
            |_| 0,
            Call::default(),
        );
        assert_eq!(arrivals.next(usize::MAX).await.len(), AT_ONCE);
        assert_eq!(arrivals.next(usize::MAX).await.len(), 300 - AT_ONCE);
    }

    #[tokio::test]
    async fn what_came_before_the_break_is_taken_and_the_break_is_told_once() {
        let broken = Err(Status::data_loss("cut"));
        let mut arrivals =
            Arrivals::of(stream::iter([long(), broken, long()]), |_| 0, Call::default());
        assert_eq!(arrivals.next(1_000).await.len(), 1);
        assert_eq!(arrivals.broken().unwrap().message(), "cut");
        assert!(arrivals.broken().is_none());
        assert!(arrivals.next(1_000).await.is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_nothing() {
        let (send, sent) = mpsc::unbounded_channel();
        let mut arrivals = Arrivals::of(UnboundedReceiverStream::new(sent), |_| 0, Call::default());
        assert!(arrivals.next(1_000).now_or_never().is_none());
        send.send(long()).unwrap();
        assert_eq!(arrivals.next(1_000).await.len(), 1);
    }
}
