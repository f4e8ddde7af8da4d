//! Tests of applications: the memory broker on a clock that stands still, and a worker that takes
//! one task at a time. Nobody sleeps.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tidegate::testing::TestBroker;
//! use tidegate::{Context, Producer, TypedTask, Worker};
//!
//! #[derive(Serialize, Deserialize, TypedTask)]
//! #[task(kind = "mail.welcome", queue = "mail")]
//! struct Welcome {
//!     user: u64,
//! }
//!
//! async fn welcome(task: Welcome, context: Context) -> Result<(), String> {
//!     match context.attempt() {
//!         1 => Err("the mail server is down".into()),
//!         _ => Ok(println!("welcome, user {}", task.user)),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidegate::Result<()> {
//! let test = TestBroker::new();
//! let producer = Producer::builder(test.broker()).declare_missing().build();
//! producer.send(&Welcome { user: 7 }).await?;
//! assert_eq!(test.enqueued::<Welcome>().await?.len(), 1);
//!
//! let worker = test.worker(Worker::new(test.broker()).handle(welcome)).await?;
//! let done = worker.drain().await?;
//! assert_eq!((done.retried, done.completed), (1, 1));
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{
    Broker, Error, ErrorKind, ListOptions, ManualClock, Operation, QueueName, QueueSpec, Result,
    Settled, State, Task, Timestamp, Verdict, memory,
};

use crate::outcome::Outcome;
use crate::typed::{TypedTask, decode};
use crate::worker::step::{Stepped, Stepper};
use crate::worker::{Metrics, Worker};

/// After so many attempts a drain gives up: something comes back for ever.
pub const DRAIN_ATTEMPTS_MAX: usize = 100_000;

/// How many tasks are read at once where all of a queue is looked at.
const PAGE: usize = 1_000;

/// A memory broker on a clock that stands still until it is moved. Clones are the same.
#[derive(Clone, Debug)]
pub struct TestBroker {
    broker: Broker,
    clock: ManualClock,
}

impl TestBroker {
    /// An empty broker at 2026-01-01 00:00 UTC.
    pub fn new() -> Self {
        let clock = ManualClock::new();
        Self { broker: memory::broker(Arc::new(clock.clone())), clock }
    }

    /// The broker, for the code under test.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The clock that the broker goes by.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Declares a queue with the defaults.
    pub async fn declare(&self, name: &str) -> Result<QueueName> {
        let name = QueueName::new(name).map_err(|why| {
            Error::new(ErrorKind::Invalid, Operation::Declare, why).about("a queue")
        })?;
        self.broker.declare(&QueueSpec::new(name.clone())).await?;
        Ok(name)
    }

    /// Every `T` that is ready, scheduled or leased, in whatever queue, in the order of sending. One
    /// whose payload cannot be read is an error.
    pub async fn enqueued<T: TypedTask>(&self) -> Result<Vec<T>> {
        let tasks = self.enqueued_raw(T::KIND).await?;
        let decoded = tasks.iter().map(|task| {
            let unreadable = |why| Error::new(ErrorKind::Invalid, Operation::Inspect, why);
            decode(task).map_err(|why| unreadable(why).on(&task.queue))
        });
        decoded.collect()
    }

    /// Every task of a kind that is ready, scheduled or leased, in the order of sending.
    pub async fn enqueued_raw(&self, kind: &str) -> Result<Vec<Task>> {
        let mut found = Vec::new();
        for queue in self.broker.inspect()?.queues().await? {
            for view in self.all_in(&queue).await? {
                if view.state != State::Dead && view.task.kind == kind {
                    found.push(view.task);
                }
            }
        }
        found.sort_by_key(|task| task.sequence);
        Ok(found)
    }

    /// A worker that does one thing at a time, when it is asked to. Its concurrency, timeouts and
    /// ack mode play no part; every task is settled after its handler.
    pub async fn worker(&self, worker: Worker) -> Result<TestWorker> {
        Ok(TestWorker { test: self.clone(), stepper: Stepper::open(worker).await? })
    }

    async fn all_in(&self, queue: &QueueName) -> Result<Vec<tidegate_core::TaskView>> {
        let mut all: Vec<tidegate_core::TaskView> = Vec::new();
        loop {
            let after = all.last().map(|view| view.task.sequence);
            let options = ListOptions { state: None, after, limit: PAGE };
            let page = self.broker.inspect()?.list(queue, &options).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// When the next scheduled task of these queues is due, or the next lease ends.
    async fn next_due<'a>(
        &self,
        queues: impl Iterator<Item = &'a QueueName>,
    ) -> Result<Option<Timestamp>> {
        let mut due: Option<Timestamp> = None;
        for queue in queues {
            let views = self.all_in(queue).await?;
            let next = views.iter().filter(|view| view.state != State::Dead);
            due = next.filter_map(|view| view.until).chain(due).min();
        }
        Ok(due)
    }
}

impl Default for TestBroker {
    fn default() -> Self {
        Self::new()
    }
}

/// A worker that does one thing at a time.
pub struct TestWorker {
    test: TestBroker,
    stepper: Stepper,
}

impl std::fmt::Debug for TestWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestWorker").field("metrics", &self.stepper.metrics()).finish()
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performed {
    /// The task as it was received.
    pub task: Task,
    /// What its handler decided.
    pub outcome: Outcome,
    /// What was asked of the broker: a retry with its wait, for example.
    pub verdict: Verdict,
    /// What the broker answered.
    pub settled: Settled,
}

impl TestWorker {
    /// Works on the next ready task; `None` if none is ready now. A handler that waits for the
    /// clock waits for the test to move it.
    pub async fn perform(&self) -> Result<Option<Performed>> {
        let stepped = self.stepper.step().await?;
        Ok(stepped.map(|Stepped { task, outcome, verdict, settled }| Performed {
            task,
            outcome,
            verdict,
            settled,
        }))
    }

    /// What this worker has done since it was made.
    pub fn metrics(&self) -> Metrics {
        self.stepper.metrics()
    }

    /// Works until nothing is ready, scheduled or leased, moving the clock over delays and retries,
    /// and returns what this worker has done since it was made. A task that comes back for ever is
    /// an error after 100,000 attempts.
    pub async fn drain(&self) -> Result<Metrics> {
        for _ in 0..DRAIN_ATTEMPTS_MAX {
            if self.perform().await?.is_some() {
                continue;
            }
            let Some(due) = self.test.next_due(self.stepper.queues()).await? else {
                return Ok(self.stepper.metrics());
            };
            let now = tidegate_core::Clock::now(&self.test.clock);
            self.test.clock.advance(due.since(now).max(Duration::from_millis(1)));
        }
        let why = "the queues did not empty within 100,000 attempts; what comes back for ever?";
        Err(Error::new(ErrorKind::Unexpected, Operation::Receive, why).about("the test's queues"))
    }
}
