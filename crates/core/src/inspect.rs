//! Looking at queues and tasks without touching them.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::admin::DeadFilter;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::TaskId;
use crate::lease::State;
use crate::name::QueueName;
use crate::queue::QueueSpec;
use crate::task::{DeadLetter, Task};

/// How much is in a queue, and how old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Tasks that wait for a worker, those behind a blocked key included.
    pub ready: u64,
    /// Tasks that wait for their time.
    pub scheduled: u64,
    /// Tasks in workers' hands.
    pub leased: u64,
    /// Dead tasks kept in this queue. Those moved to a named queue count there, as ready.
    pub dead: u64,
    /// How long the task that has been available longest has waited for a worker. `None` if none
    /// is: those behind a blocked key are not.
    pub oldest_ready: Option<Duration>,
    /// Whether the queue hands nothing out.
    pub paused: bool,
}

impl QueueStats {
    /// Ready, scheduled and leased tasks together: what counts against the capacity.
    pub fn live(&self) -> u64 {
        self.ready + self.scheduled + self.leased
    }
}

/// A task as it lies in its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// The task; `deliveries` counts past deliveries and `attempt` past attempts.
    pub task: Task,
    /// Its state.
    pub state: State,
    /// When it becomes ready (scheduled) or its lease ends (leased).
    pub until: Option<Timestamp>,
    /// Why it died, where it is kept as a dead letter.
    pub dead_letter: Option<DeadLetter>,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Only tasks in this state.
    pub state: Option<State>,
    /// Only tasks with a sequence above this: the last one of the page before.
    pub after: Option<u64>,
    /// Most tasks to return.
    pub limit: usize,
}

/// A member of a queue's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its instance id.
    pub id: String,
    /// The partitions it owns.
    pub partitions: Vec<u32>,
    /// How long ago it was last heard of.
    pub heartbeat_age: Duration,
}

/// Looking at queues and tasks. Everything it shows is as durable as an acknowledgement.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// The names of all queues, sorted.
    async fn queues(&self) -> Result<Vec<QueueName>>;
    /// The spec of a queue as it is now.
    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec>;
    /// How much is in a queue.
    async fn stats(&self, queue: &QueueName) -> Result<QueueStats>;
    /// Up to `limit` ready tasks, in the order in which they would be handed out.
    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>>;
    /// Tasks in the order of their sequences, a page at a time.
    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>>;
    /// One task, or `None` if the queue does not hold it.
    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>>;
    /// The dead tasks of a queue, oldest first, wherever they lie: in the queue itself or in the
    /// dead-letter queue it names.
    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>>;
    /// The members of the queue's group; empty where sessions are shared.
    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>>;
}
