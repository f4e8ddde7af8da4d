//! Settling a task and enqueueing what follows from it in one step.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::driver::Enqueued;
use crate::error::Result;
use crate::lease::{LeaseToken, Settled, Verdict};
use crate::name::QueueName;
use crate::task::NewTask;

/// A task to enqueue in the same step as a settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Where it goes.
    pub queue: QueueName,
    /// What goes there.
    pub task: NewTask,
}

/// Settling and enqueueing in one step: both or neither, whatever crashes.
#[async_trait]
pub trait Atomic: Debug + Send + Sync + 'static {
    /// Settles the lease on `queue` and enqueues `follow_ups`, all or nothing.
    ///
    /// Unless the settle is `Done`, nothing is enqueued and the list is empty. A follow-up that
    /// cannot be enqueued (its queue is full or missing) is an error, and then the lease was not
    /// settled.
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)>;
}
