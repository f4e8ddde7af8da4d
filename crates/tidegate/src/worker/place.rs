//! A worker's place at one queue: where it receives, and the outcomes on their way to be settled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event;
use tidegate_core::{
    Broker, ErrorKind, QueueName, Receiver, Result, RetryPolicy, SessionOptions, Timestamp,
};
use tokio::sync::Notify;

use crate::context::{Context, Home};
use crate::declare::{Missing, declare_missing};
use crate::outcome::Outcome;

/// How long a queue's retry policy is believed before it is read again.
const POLICY_BELIEVED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Place {
    pub(super) home: Arc<Home>,
    pub(super) outbox: Outbox,
    /// Set by the options, and then for ever.
    fixed_policy: Option<RetryPolicy>,
    read_policy: Mutex<Option<(Timestamp, RetryPolicy)>>,
}

impl Place {
    /// Opens a place at a queue, which is declared with the defaults before if it is missing and
    /// `missing` says so.
    pub(super) async fn open(
        broker: &Broker,
        queue: &QueueName,
        missing: Missing,
        pulse: Arc<Event>,
        policy: Option<RetryPolicy>,
    ) -> Result<Self> {
        let options = SessionOptions::default();
        let receiver = match (broker.open(queue, &options).await, missing) {
            (Err(error), Missing::Declare) if error.kind() == ErrorKind::NotFound => {
                declare_missing(broker, queue).await?;
                broker.open(queue, &options).await?
            }
            (opened, _) => opened?,
        };
        Ok(Self {
            home: Arc::new(Home { receiver, pulse }),
            outbox: Outbox::default(),
            fixed_policy: policy,
            read_policy: Mutex::default(),
        })
    }

    pub(super) fn receiver(&self) -> &Receiver {
        &self.home.receiver
    }

    pub(super) fn queue(&self) -> &QueueName {
        self.home.receiver.queue()
    }

    /// The retry policy of the queue, at most ten seconds old.
    pub(super) async fn policy(&self) -> RetryPolicy {
        if let Some(fixed) = &self.fixed_policy {
            return fixed.clone();
        }
        let broker = self.receiver().broker();
        let now = broker.clock().now();
        let read = lock(&self.read_policy).clone();
        if let Some((at, policy)) = &read
            && now.since(*at) < POLICY_BELIEVED
        {
            return policy.clone();
        }
        let policy = match broker.inspect() {
            Ok(inspect) => inspect.spec(self.queue()).await.ok().map(|spec| spec.retry),
            Err(_) => None,
        };
        let policy = policy.or(read.map(|(_, policy)| policy)).unwrap_or_default();
        *lock(&self.read_policy) = Some((now, policy.clone()));
        policy
    }
}

/// A task whose handler has decided.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) slot: usize,
    pub(super) context: Context,
    pub(super) outcome: Outcome,
}

/// Outcomes on their way to the settler. They gather while it settles those before.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Vec<Finished>>,
    told: Notify,
    closed: AtomicBool,
}

impl Outbox {
    pub(super) fn put(&self, finished: Finished) {
        lock(&self.waiting).push(finished);
        self.told.notify_one();
    }

    /// Puts all of `finished` in and leaves it empty.
    pub(super) fn put_all(&self, finished: &mut Vec<Finished>) {
        if !finished.is_empty() {
            lock(&self.waiting).append(finished);
            self.told.notify_one();
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.told.notify_one();
    }

    /// Everything there is, as soon as there is something; nothing once it is closed and empty.
    pub(super) async fn take(&self) -> Vec<Finished> {
        loop {
            let closed = self.closed.load(Ordering::Acquire);
            let taken = std::mem::take(&mut *lock(&self.waiting));
            if closed || !taken.is_empty() {
                return taken;
            }
            self.told.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
