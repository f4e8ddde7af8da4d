//! What a handler is given beside its task.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use event_listener::Event;
use tidegate_core::{
    Broker, Error, ErrorKind, FollowUp, Lease, LeaseToken, Operation, QueueName, Receiver, Result,
    Settled, Task, Timestamp,
};

use crate::typed::{TypedTask, encode};

/// What a handler is given beside its task: the task's attributes, its lease, whether to stop, and
/// the broker. Cheap to clone; clones are of the same attempt.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    task: Task,
    token: LeaseToken,
    home: Arc<Home>,
    /// How long the lease is asked for, in milliseconds.
    lease: AtomicU64,
    /// When the lease ends, in milliseconds of the broker's clock.
    until: AtomicU64,
    cancelled: AtomicBool,
    cancel: Event,
    /// Whether the broker said that the lease no longer counts.
    lost: AtomicBool,
    stage: AtomicU8,
}

/// Where the leases of one queue come from and are kept alive.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) receiver: Receiver,
    /// Told when a lease must be looked at sooner than the heartbeat means to.
    pub(crate) pulse: Arc<Event>,
}

/// Nobody has decided about the attempt yet.
const RUNNING: u8 = 0;
/// The handler's outcome goes to the settler.
const FINISHED: u8 = 1;
/// The worker gave the task back without waiting for the handler.
const ABANDONED: u8 = 2;

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("kind", &self.inner.task.kind)
            .field("id", &self.inner.task.id)
            .field("attempt", &self.inner.task.attempt)
            .finish()
    }
}

impl Context {
    /// The context of a lease that was handed out at `granted`, by the broker's clock.
    pub(crate) fn new(lease: Lease, home: Arc<Home>, granted: Timestamp) -> Self {
        let Lease { task, token, until: _, duration } = lease;
        let inner = Inner {
            task,
            token,
            home,
            lease: AtomicU64::new(millis(duration)),
            until: AtomicU64::new(granted.plus(duration).as_millis()),
            cancelled: AtomicBool::new(false),
            cancel: Event::new(),
            lost: AtomicBool::new(false),
            stage: AtomicU8::new(RUNNING),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The task as it was received: id, kind, headers, payload and the rest.
    pub fn task(&self) -> &Task {
        &self.inner.task
    }

    /// The queue it came from.
    pub fn queue(&self) -> &QueueName {
        self.inner.home.receiver.queue()
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.task.attempt
    }

    /// The broker the task came from.
    pub fn broker(&self) -> &Broker {
        self.inner.home.receiver.broker()
    }

    /// Whether the handler should stop: its lease is lost or about to end, its time is up, or the
    /// worker stops. Work done after this may be done by another worker as well.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Acquire)
    }

    /// Ends once the handler should stop; see [`Context::is_cancelled`]. Dropping it forgets the
    /// wait.
    pub async fn cancelled(&self) {
        loop {
            let told = self.inner.cancel.listen();
            if self.is_cancelled() {
                return;
            }
            told.await;
        }
    }

    /// How long the lease still lasts; zero once it has ended. The worker renews it, so that this
    /// falls and rises again.
    pub fn remaining(&self) -> Duration {
        self.until().since(self.broker().clock().now())
    }

    /// Holds the task this long from now, and renews it for as long from here on. The worker renews
    /// leases by itself; this is for a handler that wants another length. A lease that is lost
    /// cancels the context. Dropping the future leaves open which length holds.
    pub async fn extend(&self, length: Duration) -> Result<Settled> {
        let asked = self.broker().clock().now();
        let settled = self.inner.home.receiver.extend_one(&self.inner.token, length).await?;
        match settled {
            Settled::Done { .. } => self.hold_for(length, asked),
            Settled::AlreadyDone => {}
            Settled::Lost(_) => self.cancel(),
        }
        Ok(settled)
    }

    /// A task to enqueue together with this one's outcome, for [`crate::Outcome::then`]: in the
    /// queue of its type, or in this task's where its type names none.
    pub fn follow_up<T: TypedTask>(&self, typed: &T) -> Result<FollowUp> {
        let queue = match T::QUEUE {
            None => self.queue().clone(),
            Some(name) => QueueName::new(name).map_err(|why| {
                Error::new(ErrorKind::Invalid, Operation::Enqueue, why).about("a follow-up")
            })?,
        };
        Ok(FollowUp { queue, task: encode(typed)? })
    }

    pub(crate) fn token(&self) -> &LeaseToken {
        &self.inner.token
    }

    /// How long the lease was asked for last; renewals ask for the same.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.inner.lease.load(Ordering::Acquire))
    }

    fn hold_for(&self, length: Duration, from: Timestamp) {
        self.inner.lease.store(millis(length), Ordering::Release);
        self.hold_until(from.plus(length));
        self.inner.home.pulse.notify(usize::MAX);
    }

    /// Whether both are of the same attempt.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.inner.until.load(Ordering::Acquire))
    }

    pub(crate) fn hold_until(&self, until: Timestamp) {
        self.inner.until.store(until.as_millis(), Ordering::Release);
    }

    /// Asks the handler to stop.
    pub(crate) fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Release);
        self.inner.cancel.notify(usize::MAX);
    }

    /// Notes that the lease no longer counts, and asks the handler to stop. Tells whether that was
    /// not known before.
    pub(crate) fn lose(&self) -> bool {
        let first = !self.inner.lost.swap(true, Ordering::AcqRel);
        self.cancel();
        first
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.inner.lost.load(Ordering::Acquire)
    }

    /// Claims the attempt for its outcome. False if the worker gave the task back already.
    pub(crate) fn finish(&self) -> bool {
        self.leave_running(FINISHED)
    }

    /// Claims the attempt for being given back. False if its outcome is already under way.
    pub(crate) fn abandon(&self) -> bool {
        self.leave_running(ABANDONED)
    }

    fn leave_running(&self, to: u8) -> bool {
        let stage = &self.inner.stage;
        stage.compare_exchange(RUNNING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
