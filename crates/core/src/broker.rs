//! What applications hold: one concrete type over every driver. It validates, refuses, and splits
//! batches, once, then calls the driver.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::admin::Admin;
use crate::admit;
use crate::atomic::{Atomic, FollowUp};
use crate::capabilities::Capabilities;
use crate::clock::{Clock, SystemClock};
use crate::driver::{Driver, Enqueued, SessionOptions};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::inspect::Inspect;
use crate::lease::{LeaseToken, Settled, Verdict};
use crate::limits::TEXT_BYTES_MAX;
use crate::name::QueueName;
use crate::queue::QueueSpec;
use crate::receiver::Receiver;
use crate::task::NewTask;

/// What a broker is made of. The optional parts are capabilities: holding one is having it.
#[derive(Clone, Debug)]
pub struct BrokerParts {
    /// What it is called in logs and tables, such as `memory` or `embedded:./data`. No secrets.
    pub label: String,
    /// The adapter.
    pub driver: Arc<dyn Driver>,
    /// Looking at queues, if it can.
    pub inspect: Option<Arc<dyn Inspect>>,
    /// Changing queues, if it can.
    pub admin: Option<Arc<dyn Admin>>,
    /// Settling and enqueueing in one step, if it can.
    pub atomic: Option<Arc<dyn Atomic>>,
    /// The time the broker goes by.
    pub clock: Arc<dyn Clock>,
}

impl BrokerParts {
    /// A driver with none of the optional parts, on the machine's time.
    pub fn driver_only(label: impl Into<String>, driver: Arc<dyn Driver>) -> Self {
        Self {
            label: label.into(),
            driver,
            inspect: None,
            admin: None,
            atomic: None,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// A broker. Cheap to clone; clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    parts: BrokerParts,
    /// Specs as last seen, for admission. What admission reads of them, their ordering, cannot
    /// change; a payload limit changed by another process is seen after the next declare.
    specs: RwLock<HashMap<QueueName, Arc<QueueSpec>>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broker").field(&self.inner.parts.label).finish()
    }
}

impl Broker {
    /// A broker made of `parts`.
    pub fn new(parts: BrokerParts) -> Self {
        Self { inner: Arc::new(Inner { parts, specs: RwLock::default() }) }
    }

    /// What it is called in logs and tables.
    pub fn label(&self) -> &str {
        &self.inner.parts.label
    }

    /// What it can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.inner.parts.driver.capabilities()
    }

    /// The time it goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.parts.clock
    }

    /// The parts it is made of, for code that wraps one broker in another.
    pub fn parts(&self) -> &BrokerParts {
        &self.inner.parts
    }

    /// Looking at queues; `Unsupported` if this broker cannot.
    pub fn inspect(&self) -> Result<&Arc<dyn Inspect>> {
        let inspect = self.inner.parts.inspect.as_ref();
        inspect.ok_or_else(|| self.lacks(Operation::Inspect, "cannot show its queues"))
    }

    /// Changing queues; `Unsupported` if this broker cannot.
    pub fn admin(&self) -> Result<&Arc<dyn Admin>> {
        let admin = self.inner.parts.admin.as_ref();
        admin.ok_or_else(|| self.lacks(Operation::Administer, "cannot change its queues"))
    }

    fn lacks(&self, operation: Operation, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, operation, format!("{} {what}", self.label()))
            .about("queues")
    }

    /// Creates the queue, or finds it with the same spec. A different one is `Conflict`.
    pub async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        admit::spec(self.capabilities(), spec)?;
        self.inner.parts.driver.declare(spec).await?;
        self.remember(Arc::new(spec.clone()));
        Ok(())
    }

    /// Replaces the spec of a queue if its revision is still `spec.revision`, else `Conflict`.
    pub async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        admit::spec(self.capabilities(), spec).map_err(|e| e.during(Operation::Administer))?;
        let updated = self.admin()?.update(spec).await?;
        self.remember(Arc::new(updated.clone()));
        Ok(updated)
    }

    /// Enqueues tasks and returns one outcome per task, in order, once they are durable. A task
    /// that is refused leaves the others alone. `Err` outside means that the outcome of at least
    /// one task is unknown: sending again may double those without a dedup key.
    ///
    /// More tasks than the broker takes at once are sent as several batches.
    pub async fn enqueue(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let spec = self.known_spec(queue).await;
        let refusal = |task| self.refusal(queue, spec.as_deref(), task);
        let mut refusals = tasks.iter().enumerate().map(|(n, task)| (n, refusal(task)));
        let Some((first, _)) = refusals.find(|(_, refused)| refused.is_some()) else {
            return self.enqueue_admitted(queue, tasks).await;
        };
        let unrefused = std::iter::repeat_with(|| None).take(first);
        let refused: Vec<Option<Error>> =
            unrefused.chain(tasks.iter().skip(first).map(refusal)).collect();
        let admitted = tasks.iter().zip(&refused).filter(|(_, refused)| refused.is_none());
        let admitted: Vec<NewTask> = admitted.map(|(task, _)| task.clone()).collect();
        let mut outcomes = self.enqueue_admitted(queue, &admitted).await?.into_iter();
        let merged = refused.into_iter().map(|refused| match refused {
            Some(error) => Some(Err(error)),
            None => outcomes.next(),
        });
        merged.map(|outcome| outcome.ok_or_else(|| short_answer(queue))).collect()
    }

    /// Enqueues one task.
    pub async fn enqueue_one(&self, queue: &QueueName, task: NewTask) -> Result<Enqueued> {
        let outcomes = self.enqueue(queue, std::slice::from_ref(&task)).await?;
        outcomes.into_iter().next().unwrap_or_else(|| Err(short_answer(queue)))
    }

    fn refusal(
        &self,
        queue: &QueueName,
        spec: Option<&QueueSpec>,
        task: &NewTask,
    ) -> Option<Error> {
        admit::task(self.capabilities(), spec, task).err().map(|error| error.on(queue))
    }

    async fn enqueue_admitted(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let batch_max = self.capabilities().batch_max;
        if tasks.len() <= batch_max {
            return match tasks {
                [] => Ok(Vec::new()),
                _ => self.enqueue_batch(queue, tasks).await,
            };
        }
        let mut outcomes = Vec::with_capacity(tasks.len());
        for batch in tasks.chunks(batch_max) {
            outcomes.extend(self.enqueue_batch(queue, batch).await?);
        }
        Ok(outcomes)
    }

    async fn enqueue_batch(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let outcomes = self.inner.parts.driver.enqueue(queue, tasks).await;
        if outcomes.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            self.forget(queue);
        }
        outcomes
    }

    /// Forgets the spec of a queue that is gone: another one may be made under its name.
    fn forget(&self, queue: &QueueName) {
        self.inner.specs.write().unwrap_or_else(PoisonError::into_inner).remove(queue);
    }

    /// Opens a place to receive from a queue that exists.
    pub async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Receiver> {
        admit::session(self.capabilities(), options).map_err(|error| error.on(queue))?;
        let session = self.inner.parts.driver.open(queue, options).await?;
        Ok(Receiver::new(self.clone(), queue.clone(), session))
    }

    /// Settles a lease and enqueues what follows from it, both or neither. Unless the settle is
    /// `Done`, nothing is enqueued.
    pub async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        let same_queue = follow_ups.iter().all(|follow_up| follow_up.queue == *queue);
        let admitted = admit::follow_ups(self.capabilities(), same_queue)
            .and_then(|()| admit::verdict(self.capabilities(), verdict));
        admitted.map_err(|error| error.on(queue))?;
        let atomic = self.inner.parts.atomic.as_ref().ok_or_else(|| {
            self.lacks(Operation::Settle, "cannot settle and enqueue in one step")
        })?;
        for follow_up in follow_ups {
            let spec = self.known_spec(&follow_up.queue).await;
            if let Some(error) = self.refusal(&follow_up.queue, spec.as_deref(), &follow_up.task) {
                return Err(error);
            }
        }
        atomic.settle_and_enqueue(queue, token, &with_cut_texts(verdict), follow_ups).await
    }

    /// Stops all work and makes what was acknowledged durable. Every later call is `Closed`.
    pub async fn close(&self) -> Result<()> {
        self.inner.parts.driver.close().await
    }

    fn remember(&self, spec: Arc<QueueSpec>) {
        let mut specs = self.inner.specs.write().unwrap_or_else(PoisonError::into_inner);
        specs.insert(spec.name.clone(), spec);
    }

    async fn known_spec(&self, queue: &QueueName) -> Option<Arc<QueueSpec>> {
        let cached = {
            let specs = self.inner.specs.read().unwrap_or_else(PoisonError::into_inner);
            specs.get(queue).cloned()
        };
        if cached.is_some() {
            return cached;
        }
        let spec = self.inner.parts.inspect.as_ref()?.spec(queue).await.ok()?;
        let spec = Arc::new(spec);
        self.remember(spec.clone());
        Some(spec)
    }
}

fn short_answer(queue: &QueueName) -> Error {
    let why = "the broker answered for fewer tasks than it was sent";
    Error::new(ErrorKind::Unexpected, Operation::Enqueue, why).on(queue)
}

/// Whether a verdict's text is longer than what is kept with a task.
pub(crate) fn has_long_text(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Retry { error: Some(text), .. } | Verdict::DeadLetter { reason: text } => {
            text.len() > TEXT_BYTES_MAX
        }
        Verdict::Complete | Verdict::Retry { error: None, .. } | Verdict::Release { .. } => false,
    }
}

/// The verdict with its texts cut to what is kept with a task.
pub(crate) fn with_cut_texts(verdict: &Verdict) -> Verdict {
    let mut verdict = verdict.clone();
    match &mut verdict {
        Verdict::Retry { error: Some(text), .. } | Verdict::DeadLetter { reason: text } => {
            admit::cut_text(text);
        }
        Verdict::Complete | Verdict::Retry { error: None, .. } | Verdict::Release { .. } => {}
    }
    verdict
}
