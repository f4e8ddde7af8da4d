//! Calls that wait to go out at the same time go out as one message and are answered by one.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::proto;

/// Most calls that are looked at before the first of them goes out.
const AT_ONCE: usize = 256;
/// Most bytes of a message that carries several calls.
pub(super) const MESSAGE_BYTES: usize = 4 << 20;

/// A message that can carry what another one asks for beside its own.
pub(super) trait Joins: Sized {
    fn number(&self) -> u64;

    /// Whether nothing that was asked later may go before it.
    fn is_barrier(&self) -> bool;

    /// Whether one message can ask for what both do.
    fn goes_with(&self, other: &Self) -> bool;

    /// Takes in what `other` asks for, which goes with it.
    fn join(&mut self, other: Self);
}

/// A call on its way out.
#[derive(Debug)]
pub(super) struct Call<T> {
    pub(super) message: T,
    /// How many things it asks for, with an outcome each.
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// Whether it has to go out alone.
    pub(super) alone: bool,
}

/// A call, and once it carries others, the number of each, its own first, and how much of it is theirs.
type Carrier<T> = (Call<T>, Vec<(u64, usize)>);

/// Calls that went out as one and are not answered: under the number of the first, the number of each
/// and how many of the outcomes are its own.
#[derive(Debug, Default)]
pub(super) struct Together(Mutex<HashMap<u64, Vec<(u64, usize)>>>);

impl Together {
    fn put(&self, number: u64, carried: Vec<(u64, usize)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, carried);
    }

    /// The calls that a message carried, if it was more than one. Tells it once.
    pub(super) fn take(&self, number: u64) -> Option<Vec<(u64, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

/// Whether an error says that nothing was carried out, for something in the message made no sense. Each
/// of the calls it carried is tried alone then.
pub(super) fn is_refusal(error: &proto::Error) -> bool {
    error.kind() == proto::ErrorKind::Invalid
}

/// The messages that go out, until nobody sends any more.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    calls: UnboundedReceiver<Call<T>>,
    arrived: Vec<Call<T>>,
    ready: VecDeque<T>,
    together: Arc<Together>,
    /// Most things that one message asks for.
    count_max: usize,
}

impl<T: Joins> Outgoing<T> {
    pub(super) fn new(
        calls: UnboundedReceiver<Call<T>>,
        together: Arc<Together>,
        count_max: usize,
    ) -> Self {
        Self { calls, arrived: Vec::new(), ready: VecDeque::new(), together, count_max }
    }

    /// Makes messages of what has arrived, as few as it fits.
    fn sort(&mut self) {
        let mut messages: Vec<Carrier<T>> = Vec::new();
        for call in self.arrived.drain(..) {
            if let Some(call) = join(&mut messages, call, self.count_max) {
                messages.push((call, Vec::new()));
            }
        }
        for (call, carried) in messages {
            if !carried.is_empty() {
                self.together.put(call.message.number(), carried);
            }
            self.ready.push_back(call.message);
        }
    }
}

/// Puts a call into the latest message that it goes with, so that both keep their order. Gives it back
/// if there is none, or no room.
fn join<T: Joins>(messages: &mut [Carrier<T>], call: Call<T>, count_max: usize) -> Option<Call<T>> {
    let last = messages
        .iter()
        .rposition(|(into, _)| into.message.is_barrier() || into.message.goes_with(&call.message));
    let Some((into, carried)) = last.and_then(|last| messages.get_mut(last)) else {
        return Some(call);
    };
    let fits = into.count + call.count <= count_max && into.bytes + call.bytes <= MESSAGE_BYTES;
    if into.alone || call.alone || !fits || !into.message.goes_with(&call.message) {
        return Some(call);
    }
    let Call { message, count, bytes, alone: _ } = call;
    if carried.is_empty() {
        carried.push((into.message.number(), into.count));
    }
    carried.push((message.number(), count));
    (into.count, into.bytes) = (into.count + count, into.bytes + bytes);
    into.message.join(message);
    None
}

impl<T: Joins + Unpin> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if this.ready.is_empty() {
            match this.calls.poll_recv_many(cx, &mut this.arrived, AT_ONCE) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(None),
                Poll::Ready(_) => this.sort(),
            }
        }
        Poll::Ready(this.ready.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::mpsc;

    use super::*;

    /// Asks for `count` things of `target`; 0 is a barrier.
    #[derive(Debug, PartialEq)]
    struct Ask {
        number: u64,
        target: char,
        count: usize,
    }

    impl Joins for Ask {
        fn number(&self) -> u64 {
            self.number
        }

        fn is_barrier(&self) -> bool {
            self.target == '|'
        }

        fn goes_with(&self, other: &Self) -> bool {
            self.target == other.target && self.target != '|'
        }

        fn join(&mut self, other: Self) {
            self.count += other.count;
        }
    }

    /// What goes out, at most five things a message: `a2` is a call for two things of `a`, `!` one that
    /// goes alone.
    fn goes_out(calls: &[&str]) -> (Vec<String>, Arc<Together>) {
        let (send, sent) = mpsc::unbounded_channel();
        for (number, call) in (1..).zip(calls) {
            let alone = call.ends_with('!');
            let target = call.chars().next().unwrap();
            let count = call[1..].trim_end_matches('!').parse().unwrap_or(0);
            let bytes = if target == 'L' { MESSAGE_BYTES } else { count };
            send.send(Call { message: Ask { number, target, count }, count, bytes, alone })
                .unwrap();
        }
        let together = Arc::new(Together::default());
        let mut outgoing = Outgoing::new(sent, together.clone(), 5);
        let messages = std::iter::from_fn(|| outgoing.next().now_or_never().flatten());
        let shown = messages.map(|ask| format!("{}:{}{}", ask.number, ask.target, ask.count));
        (shown.collect(), together)
    }

    #[test]
    fn calls_that_go_together_go_out_as_one_and_know_their_parts() {
        let (messages, together) = goes_out(&["a2", "b1", "a1", "b1"]);
        assert_eq!(messages, ["1:a3", "2:b2"]);
        assert_eq!(together.take(1), Some(vec![(1, 2), (3, 1)]));
        assert_eq!(together.take(1), None);
        assert_eq!(together.take(2), Some(vec![(2, 1), (4, 1)]));
    }

    #[test]
    fn a_call_that_went_out_by_itself_has_no_parts() {
        let (messages, together) = goes_out(&["a2", "b1"]);
        assert_eq!(messages, ["1:a2", "2:b1"]);
        assert_eq!((together.take(1), together.take(2)), (None, None));
    }

    #[test]
    fn what_does_not_fit_begins_a_message_and_nothing_goes_past_it() {
        assert_eq!(goes_out(&["a3", "a3", "a1", "a2"]).0, ["1:a3", "2:a4", "4:a2"]);
        assert_eq!(goes_out(&["L1", "L1"]).0, ["1:L1", "2:L1"]);
    }

    #[test]
    fn one_that_goes_alone_takes_nothing_in() {
        assert_eq!(goes_out(&["a1", "a1!", "a1", "a1"]).0, ["1:a1", "2:a1", "3:a2"]);
    }

    #[test]
    fn nothing_goes_before_a_barrier_that_came_after_it() {
        assert_eq!(goes_out(&["a1", "|", "a1", "a1"]).0, ["1:a1", "2:|0", "3:a2"]);
    }
}
