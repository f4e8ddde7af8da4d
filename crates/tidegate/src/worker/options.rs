//! How a worker works: options as data.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::{Error, ErrorKind, Operation, Result, RetryPolicy};

/// The most tasks one worker works on at once. Each costs a slot of the heartbeat's scan; a
/// process that wants more wants several workers.
pub const CONCURRENCY_MAX: usize = 100_000;

/// When a task is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// After its handler, by the handler's outcome: at-least-once.
    #[default]
    Manual,
    /// Completed when it is received, before its handler starts: at-most-once. What the handler
    /// decides is counted and logged, no more; a task that cannot be read is a dead letter still.
    Auto,
}

/// What happens to a task whose kind no handler is registered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownKind {
    /// It goes back for this long, its attempt uncounted where the broker can tell. The default,
    /// with 30 s: while a new version is rolled out, a newer worker finds it. On an ordered queue
    /// it blocks its key meanwhile.
    Release {
        /// How long it waits.
        after: Duration,
    },
    /// It becomes a dead letter at once.
    DeadLetter,
}

/// What goes for the tasks of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindOptions {
    /// Most tasks of this kind at work at once in this worker; `None` is the worker's concurrency.
    ///
    /// As many again wait in their slots; what comes beyond is given back for a second where that
    /// costs no attempt, so that one slow kind does not fill all slots.
    pub concurrency: Option<usize>,
    /// Longest time one attempt takes, by the broker's clock. Then its future is dropped and the
    /// attempt has failed. `None` sets no timer.
    pub timeout: Option<Duration>,
}

/// Who ends a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// SIGTERM and Ctrl-C shut it down; a second one ends the wait for its handlers.
    #[default]
    Heed,
    /// Only [`super::Control::stop`] does.
    Ignore,
}

/// How a worker works.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerOptions {
    /// Most tasks at work at once, over all queues; 1 to 100,000. Default: 64.
    pub concurrency: usize,
    /// How long a receive holds tasks; `None` is the queue's lease.
    pub lease: Option<Duration>,
    /// When a task is settled. Default: manual.
    pub ack: AckMode,
    /// Leases are renewed every third of their length, and at least this often. Default: 15 s.
    pub heartbeat_interval: Duration,
    /// How long a shutdown waits for handlers, hooks included. Default: 30 s.
    pub graceful_shutdown_timeout: Duration,
    /// How long handlers get to return once they were cancelled at the end of a shutdown, before
    /// they are dropped. Default: 1 s.
    pub cancel_grace: Duration,
    /// What happens to a task that nobody handles. Default: released for 30 s.
    pub unknown_kind: UnknownKind,
    /// What goes for single kinds.
    pub kinds: BTreeMap<String, KindOptions>,
    /// When a failed task comes back; `None` is the policy of its queue, or the default policy
    /// where the broker cannot show it.
    pub retry: Option<RetryPolicy>,
    /// Who ends the worker. Default: SIGTERM and Ctrl-C do.
    pub signals: Signals,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 64,
            lease: None,
            ack: AckMode::Manual,
            heartbeat_interval: Duration::from_secs(15),
            graceful_shutdown_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_secs(1),
            unknown_kind: UnknownKind::Release { after: Duration::from_secs(30) },
            kinds: BTreeMap::new(),
            retry: None,
            signals: Signals::Heed,
        }
    }
}

impl WorkerOptions {
    /// Says what is wrong with the options, if anything.
    pub(super) fn check(&self) -> Result<()> {
        let idle = |options: &KindOptions| {
            options.concurrency == Some(0) || options.timeout == Some(Duration::ZERO)
        };
        let wrong = if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            Some(format!("concurrency is {}; use 1 to {CONCURRENCY_MAX}", self.concurrency))
        } else if self.heartbeat_interval.is_zero() {
            Some("heartbeat_interval is zero; use 15s".to_owned())
        } else if let Some((kind, _)) = self.kinds.iter().find(|(_, options)| idle(options)) {
            Some(format!("the concurrency or timeout of {kind:?} is zero; it would never work"))
        } else {
            self.retry.as_ref().and_then(|policy| policy.check().err())
        };
        wrong.map_or(Ok(()), |why| Err(invalid(why)))
    }
}

/// An error about how a worker was set up.
pub(super) fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Open, why).about("a worker")
}
