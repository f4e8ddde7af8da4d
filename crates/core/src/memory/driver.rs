//! The driver's face of the memory broker: one lock around the store, every call under it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use event_listener::Event;

use super::capabilities;
use super::session::MemorySession;
use super::store::Store;
use crate::atomic::{Atomic, FollowUp};
use crate::capabilities::Capabilities;
use crate::clock::{Clock, Timestamp};
use crate::driver::{Driver, Enqueued, Session, SessionOptions};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::lease::{LeaseToken, Settled, Verdict};
use crate::name::QueueName;
use crate::queue::QueueSpec;
use crate::task::NewTask;

/// The memory broker. Made by [`super::broker`].
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    capabilities: Capabilities,
    clock: Arc<dyn Clock>,
    store: Mutex<Open>,
    /// Told when a timer is set before all others, and at the close.
    sooner: Event,
}

#[derive(Debug, Default)]
struct Open {
    store: Store,
    closed: bool,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            capabilities: capabilities(),
            clock,
            store: Mutex::default(),
            sooner: Event::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Told when waiting receivers must look at the timers again.
    pub(super) fn sooner(&self) -> &Event {
        &self.shared.sooner
    }

    /// Runs one command on the store as it is now, with all that is due done before.
    pub(super) fn command<T>(
        &self,
        doing: Operation,
        command: impl FnOnce(&mut Store, Timestamp) -> Result<T>,
    ) -> Result<T> {
        let mut open = self.lock();
        if open.closed {
            return Err(Error::new(ErrorKind::Closed, doing, "the broker was closed"));
        }
        let now = self.shared.clock.now();
        open.store.advance(now);
        let timer_before = open.store.next_timer();
        let answer = command(&mut open.store, now);
        let timer_after = open.store.next_timer();
        drop(open);
        if timer_after.is_some_and(|after| timer_before.is_none_or(|before| after < before)) {
            self.shared.sooner.notify(usize::MAX);
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for Memory {
    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.command(Operation::Declare, |store, _| store.declare(spec))
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        self.command(Operation::Enqueue, |store, now| store.enqueue(queue, tasks, now))
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        // WHY: no membership here, and nobody outlives a broker that dies with its process.
        let SessionOptions { membership: _, holder: _ } = options;
        let id = self.command(Operation::OpenSession, |store, _| {
            store.queue(queue, Operation::OpenSession)?;
            Ok(store.number())
        })?;
        Ok(Arc::new(MemorySession::new(self.clone(), queue.clone(), id)))
    }

    async fn close(&self) -> Result<()> {
        let mut open = self.lock();
        open.closed = true;
        open.store.wake_all();
        drop(open);
        self.shared.sooner.notify(usize::MAX);
        Ok(())
    }
}

#[async_trait]
impl Atomic for Memory {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        self.command(Operation::Settle, |store, now| {
            let tokens = store.read_tokens(queue, [token].into_iter(), Operation::Settle)?;
            match tokens.first() {
                Some(fenced) => store.settle_and_enqueue(queue, *fenced, verdict, follow_ups, now),
                None => Ok((Settled::Lost(crate::lease::Lost::NotFound), Vec::new())),
            }
        })
    }
}
