//! Changing queues while they run.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::name::QueueName;
use crate::queue::QueueSpec;
use crate::task::DeadLetter;

/// Which dead tasks are meant. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// At most this many, oldest first.
    pub limit: Option<usize>,
    /// Only those whose reason contains this text.
    pub reason: Option<String>,
}

impl DeadFilter {
    /// Whether a dead task's reason is meant.
    pub fn matches(&self, dead: &DeadLetter) -> bool {
        self.reason.as_ref().is_none_or(|reason| dead.reason.contains(reason.as_str()))
    }

    /// The most tasks meant.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }
}

/// Changing queues. Everything it did is durable when it returns.
#[async_trait]
pub trait Admin: Debug + Send + Sync + 'static {
    /// Replaces the spec if its revision is still `spec.revision`, else `Conflict`. Ordering,
    /// router and partitions cannot change. Returns the spec with its new revision.
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec>;
    /// Deletes the queue with all that is in it. A dead-letter queue in use is `Conflict`.
    async fn delete(&self, queue: &QueueName) -> Result<()>;
    /// Drops every ready, scheduled and leased task and every dedup key, and tells how many tasks
    /// that were. Dead tasks stay.
    async fn purge(&self, queue: &QueueName) -> Result<u64>;
    /// Drops dead tasks, wherever they lie, and tells how many.
    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64>;
    /// Hands nothing out any more (`true`) or again (`false`). Sends and settles go on.
    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()>;
    /// Puts dead tasks, wherever they lie, back at the tail of the queue they died in, with their
    /// attempts starting again, and tells how many. Admitted whatever the capacity.
    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64>;
}
