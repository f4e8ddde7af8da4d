//! One consumer's place at a queue of the memory broker.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use event_listener::{Event, EventListener};

use super::driver::Memory;
use crate::clock::Timestamp;
use crate::driver::{Held, ReceiveOptions, Session};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::lease::{Lease, LeaseToken, Settled, Verdict};
use crate::name::QueueName;

pub(super) struct MemorySession {
    memory: Memory,
    queue: QueueName,
    id: u64,
    closed: AtomicBool,
}

impl fmt::Debug for MemorySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemorySession").field(&self.queue).finish()
    }
}

impl MemorySession {
    pub(super) fn new(memory: Memory, queue: QueueName, id: u64) -> Self {
        Self { memory, queue, id, closed: AtomicBool::new(false) }
    }

    fn open(&self, doing: Operation) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let why = "the session was closed";
            return Err(Error::new(ErrorKind::Closed, doing, why).on(&self.queue));
        }
        Ok(())
    }

    /// What is ready now, or else when to look again and what to listen to meanwhile.
    fn try_receive(&self, options: &ReceiveOptions) -> Result<Attempt> {
        self.memory.command(Operation::Receive, |store, now| {
            let leases = store.receive(&self.queue, self.id, options, now)?;
            if !leases.is_empty() {
                return Ok(Attempt::Got(leases));
            }
            let ready = store.queue(&self.queue, Operation::Receive)?.ready.clone();
            Ok(Attempt::Nothing {
                // INVARIANT: listened to under the lock, so that nothing becomes ready unheard.
                ready: ready.listen(),
                _event: ready,
                sooner: self.memory.sooner().listen(),
                timer: store.next_timer(),
            })
        })
    }
}

enum Attempt {
    Got(Vec<Lease>),
    Nothing {
        ready: EventListener,
        _event: Arc<Event>,
        sooner: EventListener,
        timer: Option<Timestamp>,
    },
}

#[async_trait]
impl Session for MemorySession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let clock = self.memory.clock().clone();
        let deadline = clock.now().plus(options.wait);
        loop {
            self.open(Operation::Receive)?;
            match self.try_receive(options)? {
                Attempt::Got(leases) => return Ok(leases),
                Attempt::Nothing { .. } if clock.now() >= deadline => return Ok(Vec::new()),
                Attempt::Nothing { ready, _event, sooner, timer } => {
                    let until = timer.map_or(deadline, |timer| timer.min(deadline));
                    first_of(ready, sooner, clock.sleep_until(until)).await;
                }
            }
        }
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        self.open(Operation::Settle)?;
        self.memory.command(Operation::Settle, |store, now| {
            let tokens = verdicts.iter().map(|(token, _)| token);
            let tokens = store.read_tokens(&self.queue, tokens, Operation::Settle)?;
            let mut outcomes = Vec::with_capacity(verdicts.len());
            for (token, (_, verdict)) in tokens.into_iter().zip(verdicts) {
                outcomes.push(store.settle(&self.queue, token, verdict, now));
            }
            Ok(outcomes)
        })
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        self.open(Operation::Extend)?;
        self.memory.command(Operation::Extend, |store, now| {
            let tokens = leases.iter().map(|(token, _)| token);
            let tokens = store.read_tokens(&self.queue, tokens, Operation::Extend)?;
            let mut outcomes = Vec::with_capacity(leases.len());
            for (token, (_, length)) in tokens.into_iter().zip(leases) {
                outcomes.push(store.extend(&self.queue, token, *length, now));
            }
            Ok(outcomes)
        })
    }

    async fn close(&self, held: Held) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.memory.command(Operation::Close, |store, now| {
            if held == Held::Release {
                store.release_session(&self.queue, self.id, now);
            }
            store.wake(&self.queue);
            Ok(())
        })
    }
}

/// Ends when one of the three does.
async fn first_of(
    a: impl Future<Output = ()>,
    b: impl Future<Output = ()>,
    c: impl Future<Output = ()>,
) {
    let (mut a, mut b, mut c) = (pin!(a), pin!(b), pin!(c));
    poll_fn(|cx| {
        let ended = a.as_mut().poll(cx).is_ready()
            || b.as_mut().poll(cx).is_ready()
            || c.as_mut().poll(cx).is_ready();
        if ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
