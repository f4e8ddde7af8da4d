//! One case being tried on one broker: the stage, and the words cases are written in.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tidegate_core::capabilities::{CapacitySupport, DeadLetterSupport, LeaseSupport};
use tidegate_core::queue::DeadLetterPolicy;
use tidegate_core::{
    Broker, Capabilities, Capacity, Enqueued, Error, ErrorKind, Holder, Lease, NewTask, Ordering,
    QueueName, QueueSpec, ReceiveOptions, Receiver, SessionOptions, Timestamp, Verdict,
};

use crate::harness::Stage;

/// What a case that did not fail has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The broker keeps the sentence.
    Honoured,
    /// The broker declares that it cannot, and refused.
    Refused,
}

/// What a case ends with.
pub type Proof = Result<Shown, Failure>;

/// Why a case failed, and where.
#[derive(Debug)]
pub struct Failure {
    why: String,
    at: &'static Location<'static>,
}

impl Failure {
    /// A failure seen by the caller.
    #[track_caller]
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), at: Location::caller() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.why, self.at.file(), self.at.line())
    }
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::new(format!("failed to {error}"))
    }
}

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err($crate::trial::Failure::new(format!($($why)+)));
        }
    };
}

/// Fails the case unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($why:tt)+) => {
        let (left, right) = (&$left, &$right);
        if left != right {
            let why = format!($($why)+);
            return Err($crate::trial::Failure::new(format!("{why}: {left:?}, expected {right:?}")));
        }
    };
}

pub(crate) use {ensure, ensure_eq};

/// One case on one fresh broker.
pub struct Trial {
    stage: Box<dyn Stage>,
    tick: Duration,
    in_process: bool,
}

impl Trial {
    pub(crate) fn new(stage: Box<dyn Stage>, tick: Duration, in_process: bool) -> Self {
        Self { stage, tick, in_process }
    }

    /// Whether a restart of the broker is the end of the process that holds leases.
    pub(crate) fn in_process(&self) -> bool {
        self.in_process
    }

    pub(crate) fn broker(&self) -> Broker {
        self.stage.broker()
    }

    pub(crate) fn can(&self) -> Capabilities {
        self.stage.broker().capabilities().clone()
    }

    /// `count` of the shortest times this broker tells apart.
    pub(crate) fn ticks(&self, count: u32) -> Duration {
        self.tick * count
    }

    pub(crate) async fn pass(&self, ticks: u32) {
        self.pass_time(self.ticks(ticks)).await;
    }

    pub(crate) async fn pass_time(&self, by: Duration) {
        self.stage.let_time_pass(by).await;
    }

    pub(crate) fn time_stands_still(&self) -> bool {
        self.stage.time_stands_still()
    }

    pub(crate) async fn restart(&self) -> Option<Broker> {
        self.stage.restart().await
    }

    // Queues.

    /// A queue called `name` with the defaults, less what this broker does not have.
    pub(crate) fn spec(&self, name: &str) -> Result<QueueSpec, Failure> {
        let can = self.can();
        let mut spec = QueueSpec::new(named(name)?);
        if can.capacity == CapacitySupport::No {
            spec.capacity = Capacity::Unbounded;
        }
        if can.dead_letters == DeadLetterSupport::Queue {
            spec.dead_letters = dead_letters_in(&format!("{name}.dead"))?;
        }
        spec.payload_bytes_max = spec.payload_bytes_max.min(can.payload_max);
        spec.lease = spec.lease.min(longest_lease(&can));
        Ok(spec)
    }

    /// A queue whose leases last `ticks`.
    pub(crate) fn short_lease(&self, name: &str, ticks: u32) -> Result<QueueSpec, Failure> {
        Ok(QueueSpec { lease: self.ticks(ticks), ..self.spec(name)? })
    }

    /// A queue that keeps order by key.
    pub(crate) fn ordered(&self, name: &str) -> Result<QueueSpec, Failure> {
        Ok(QueueSpec { ordering: Ordering::Key, ..self.spec(name)? })
    }

    /// Declares a queue and opens a session on it.
    pub(crate) async fn start(&self, spec: &QueueSpec) -> Result<Receiver, Failure> {
        self.broker().declare(spec).await?;
        self.open(&spec.name).await
    }

    pub(crate) async fn open(&self, queue: &QueueName) -> Result<Receiver, Failure> {
        Ok(self.broker().open(queue, &SessionOptions::default()).await?)
    }

    /// Opens a session whose holder outlives the process of the broker.
    pub(crate) async fn open_for_client(&self, queue: &QueueName) -> Result<Receiver, Failure> {
        let options = SessionOptions { holder: Holder::Client, ..SessionOptions::default() };
        Ok(self.broker().open(queue, &options).await?)
    }

    // Tasks.

    /// Enqueues one task for each text, which is its payload.
    pub(crate) async fn send(
        &self,
        queue: &QueueName,
        texts: &[&str],
    ) -> Result<Vec<Enqueued>, Failure> {
        let tasks: Vec<NewTask> = texts.iter().map(|text| task(text)).collect();
        self.send_all(queue, &tasks).await
    }

    /// Enqueues tasks of which none may be refused.
    pub(crate) async fn send_all(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Enqueued>, Failure> {
        let outcomes = self.broker().enqueue(queue, tasks).await?;
        ensure_eq!(outcomes.len(), tasks.len(), "outcomes of an enqueue");
        Ok(outcomes.into_iter().collect::<Result<_, Error>>()?)
    }

    /// Receives exactly `count` tasks, patiently where time runs by itself.
    pub(crate) async fn take(&self, from: &Receiver, count: usize) -> Result<Vec<Lease>, Failure> {
        self.take_with(from, &ReceiveOptions::up_to(count)).await
    }

    /// Receives exactly `options.limit` tasks.
    pub(crate) async fn take_with(
        &self,
        from: &Receiver,
        options: &ReceiveOptions,
    ) -> Result<Vec<Lease>, Failure> {
        let mut leases = from.receive(options).await?;
        let rounds = if self.stage.time_stands_still() { 0 } else { 50 };
        for _ in 0..rounds {
            let limit = options.limit.saturating_sub(leases.len());
            if limit == 0 {
                break;
            }
            let more = ReceiveOptions { limit, wait: self.ticks(4), ..options.clone() };
            leases.extend(from.receive(&more).await?);
        }
        ensure!(
            leases.len() == options.limit,
            "{} tasks were received, {} expected",
            leases.len(),
            options.limit
        );
        Ok(leases)
    }

    /// Receives exactly one task.
    pub(crate) async fn take_one(&self, from: &Receiver) -> Result<Lease, Failure> {
        let lease = self.take(from, 1).await?.pop();
        lease.ok_or_else(|| Failure::new("no task was received"))
    }

    /// Fails if a task can be received now.
    pub(crate) async fn nothing(&self, from: &Receiver) -> Result<(), Failure> {
        let leases = from.receive(&ReceiveOptions::up_to(10)).await?;
        ensure!(
            leases.is_empty(),
            "nothing should be ready, but {:?} was received",
            texts(&leases)
        );
        Ok(())
    }

    /// Fails if something is handed out before `due`, by the broker's own time. `true` if it was handed out in time
    /// already: nobody knows how long a restart takes.
    pub(crate) async fn nothing_before(
        &self,
        from: &Receiver,
        due: impl Fn(&Lease) -> Timestamp,
    ) -> Result<bool, Failure> {
        let leases = from.receive(&ReceiveOptions::up_to(10)).await?;
        for lease in &leases {
            let due = due(lease);
            let is_early = lease.until < due.plus(lease.duration);
            ensure!(!is_early, "due at {due:?}, and handed out before: {lease:?}");
        }
        Ok(!leases.is_empty())
    }

    /// Receives all that is ready and completes it, and tells the texts in order.
    pub(crate) async fn drain(&self, from: &Receiver) -> Result<Vec<String>, Failure> {
        let mut drained = Vec::new();
        for _ in 0..DRAIN_ROUNDS_MAX {
            let leases = self.drain_round(from).await?;
            if leases.is_empty() {
                return Ok(drained);
            }
            drained.extend(texts(&leases));
            let verdicts: Vec<_> =
                leases.iter().map(|lease| (lease.token.clone(), Verdict::Complete)).collect();
            for settled in from.settle(&verdicts).await? {
                ensure_eq!(settled, DONE, "a complete while draining");
            }
        }
        Err(Failure::new("a queue is still not empty after thousands of tasks"))
    }

    async fn drain_round(&self, from: &Receiver) -> Result<Vec<Lease>, Failure> {
        let wait = if self.stage.time_stands_still() { 0 } else { 4 };
        let options = ReceiveOptions::up_to(10).waiting(self.ticks(wait));
        Ok(from.receive(&options).await?)
    }
}

/// More rounds of ten tasks than any case sends.
const DRAIN_ROUNDS_MAX: usize = 1_000;

/// The answer to a complete that was carried out.
pub(crate) const DONE: tidegate_core::Settled =
    tidegate_core::Settled::Done { state: tidegate_core::State::Done };

/// The answer to a verdict that was carried out and left the task in `state`.
pub(crate) const fn now_in(state: tidegate_core::State) -> tidegate_core::Settled {
    tidegate_core::Settled::Done { state }
}

pub(crate) fn named(name: &str) -> Result<QueueName, Failure> {
    QueueName::new(name).map_err(Failure::new)
}

pub(crate) fn task(text: &str) -> NewTask {
    NewTask::new("case", text.to_owned())
}

pub(crate) fn dead_letters_in(queue: &str) -> Result<DeadLetterPolicy, Failure> {
    Ok(DeadLetterPolicy { queue: Some(named(queue)?), ..DeadLetterPolicy::default() })
}

pub(crate) fn retry_at_once() -> Verdict {
    Verdict::Retry { after: Duration::ZERO, error: None }
}

pub(crate) fn release_at_once() -> Verdict {
    Verdict::Release { after: Duration::ZERO }
}

pub(crate) fn text(lease: &Lease) -> String {
    String::from_utf8_lossy(&lease.task.payload).into_owned()
}

pub(crate) fn texts(leases: &[Lease]) -> Vec<String> {
    leases.iter().map(text).collect()
}

/// The longest lease of a broker.
pub(crate) fn longest_lease(can: &Capabilities) -> Duration {
    match can.lease {
        LeaseSupport::Timed(most) | LeaseSupport::WhileConnected(most) => most,
    }
}

/// Whether tokens are good in any session.
pub(crate) fn timed(can: &Capabilities) -> bool {
    matches!(can.lease, LeaseSupport::Timed(_))
}

/// Fails unless the call was refused as unsupported.
#[track_caller]
pub(crate) fn refused<T: fmt::Debug>(answer: Result<T, Error>) -> Proof {
    fails_with(answer, ErrorKind::Unsupported).map(|()| Shown::Refused)
}

/// Fails unless the call failed with an error of `kind`.
#[track_caller]
pub(crate) fn fails_with<T: fmt::Debug>(
    answer: Result<T, Error>,
    kind: ErrorKind,
) -> Result<(), Failure> {
    match answer {
        Err(error) if error.kind() == kind => Ok(()),
        other => Err(Failure::new(format!("expected {kind:?}, got {other:?}"))),
    }
}

/// Polls a future once, so that what it does has begun. `Some` if it ended with that.
pub(crate) async fn begin<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
