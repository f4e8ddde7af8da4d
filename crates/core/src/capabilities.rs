//! What a broker can do, as ranges and choices. There is no `Default`: when a capability is added,
//! the compiler lists every adapter that must say what it has.

use std::time::Duration;

/// What one broker can do. What is not here it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Delay of a new task.
    pub delay: Delay,
    /// Delay of `Retry` and `Release`.
    pub retry_delay: Delay,
    /// Highest priority it tells apart; `None` if only 0.
    pub priority_max: Option<u8>,
    /// Longest `Unique::Window`; `None` if it has none.
    pub dedup_window_max: Option<Duration>,
    /// Whether it has `Unique::UntilDone`.
    pub dedup_until_done: bool,
    /// What order it keeps.
    pub ordering: OrderingSupport,
    /// What ends a lease.
    pub lease: LeaseSupport,
    /// Whether a receive may ask for its own lease time.
    pub lease_per_receive: bool,
    /// How long a receive is known by its attempt id, so that it can be made again; `None` if it is not.
    pub attempt_memory: Option<Duration>,
    /// Whether a stale token is refused.
    pub fencing: Fencing,
    /// Whether giving a task back costs an attempt.
    pub release: ReleaseCost,
    /// Whether deliveries are counted exactly.
    pub deliveries: DeliveryCount,
    /// Whether a completed task can come back.
    pub completion: Completion,
    /// Whether it has dead letters.
    pub dead_letters: DeadLetterSupport,
    /// How strictly it keeps a queue's bound.
    pub capacity: CapacitySupport,
    /// What can be settled and enqueued in one step.
    pub atomic: AtomicScope,
    /// Whether sessions can be members of a group that shares out partitions.
    pub membership: bool,
    /// Whether an acknowledged task survives the broker's restart.
    pub durable: bool,
    /// Whether a queue can be given a retention.
    pub retention: bool,
    /// Most tasks in one driver call; larger batches are split.
    pub batch_max: usize,
    /// Longest payload in bytes.
    pub payload_max: usize,
}

/// How long a broker can hold a task back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Not at all.
    No,
    /// Up to this long.
    UpTo(Duration),
}

impl Delay {
    /// Whether it can hold a task back for `delay`. Zero is always possible.
    pub fn allows(self, delay: Duration) -> bool {
        match self {
            Self::No => delay.is_zero(),
            Self::UpTo(most) => delay <= most,
        }
    }
}

/// What order a broker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderingSupport {
    /// None.
    No,
    /// Among tasks of one key; a failed task blocks its key alone.
    PerKey,
    /// Among tasks of one partition; a failed task blocks its partition.
    PerPartition,
}

/// What ends a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseSupport {
    /// Time; this is the longest. The token is good in any session and after a restart.
    Timed(Duration),
    /// The end of the session, or this much time in it.
    WhileConnected(Duration),
}

/// Whether a stale token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// Always.
    Enforced,
    /// Not always: a stale settle may be carried out.
    Advisory,
}

/// Whether giving a task back costs an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCost {
    /// It does not.
    KeepsAttempt,
    /// It does.
    BurnsAttempt,
}

/// Whether deliveries are counted exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryCount {
    /// Exactly, crashes included.
    Counted,
    /// The count is a lower bound and may start again; attempts are not enforced by the broker.
    AtLeast,
}

/// Whether a completed task can come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Never.
    Final,
    /// It can, when a task before it was not completed before its session was lost.
    Watermark,
}

/// Whether a broker has dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterSupport {
    /// As a state, or moved to a named queue: both.
    StateOrQueue,
    /// Moved to a named queue only.
    Queue,
}

/// How strictly a broker keeps a queue's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapacitySupport {
    /// Never one task more.
    Exact,
    /// About.
    Soft,
    /// Not at all; a bounded queue is refused.
    No,
}

/// What can be settled and enqueued in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicScope {
    /// Nothing.
    No,
    /// Follow-ups in the queue of the settled task.
    SameQueue,
    /// Follow-ups in any queue of the broker.
    SameBroker,
}
