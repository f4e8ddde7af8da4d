//! The worker: receives tasks, runs handlers on them, settles what they decide.
//!
//! One file a role: the poller receives as many tasks as there are free slots, the executor runs
//! handlers, the settler carries out what they decide, the heartbeat keeps leases alive from a thread
//! of its own, and shutdown ends it all. `slots` is what they share: one slot for every task at work.

mod executor;
mod heartbeat;
#[cfg(feature = "tower")]
mod layers;
mod metrics;
mod options;
mod place;
mod poller;
mod registry;
mod settler;
mod shutdown;
mod slots;
pub(crate) mod step;
mod supervisor;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use event_listener::Event as Pulse;
use tidegate_core::capabilities::AtomicScope;
use tidegate_core::{Broker, Error, ErrorKind, Operation, QueueName, Result, Task};

use crate::context::Context;
use crate::declare::Missing;
use crate::handler::{Handler, Work};
use crate::typed::TypedTask;

#[cfg(feature = "tower")]
pub use layers::{HandlerService, TaskRequest};
pub use metrics::{Event, Metrics};
pub use options::{AckMode, CONCURRENCY_MAX, KindOptions, Signals, UnknownKind, WorkerOptions};
pub use shutdown::Control;

use metrics::{Counters, Observer};
use options::invalid;
use place::Place;
use registry::Registry;
use shutdown::{Hook, Shutdown};
use slots::Slots;

/// Receives tasks from queues of one broker and runs handlers on them.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidegate::{Context, TypedTask, Worker, connect};
///
/// #[derive(Serialize, Deserialize, TypedTask)]
/// #[task(kind = "mail.welcome", queue = "mail")]
/// struct Welcome {
///     user: u64,
/// }
///
/// async fn welcome(task: Welcome, _context: Context) {
///     println!("welcome, user {}", task.user);
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// let broker = connect("memory:").await?;
/// let worker = Worker::new(&broker).handle(welcome).declare_missing();
/// worker.run_until_empty().await?;
/// # Ok(())
/// # }
/// ```
///
/// It must run on a tokio runtime. Handlers share that runtime's threads: one that computes or
/// blocks for long belongs on `tokio::task::spawn_blocking`. If it blocks nevertheless, leases are
/// still kept alive.
pub struct Worker {
    broker: Broker,
    queues: Vec<QueueName>,
    /// Queues that the handled types name, for a worker that is told none.
    typed_queues: Vec<QueueName>,
    options: WorkerOptions,
    registry: Registry,
    missing: Missing,
    follow_ups: bool,
    hooks: Vec<Hook>,
    observer: Option<Observer>,
    control: Control,
    #[cfg(feature = "tower")]
    layers: layers::Layers,
    /// The first thing that is wrong with how it was set up.
    wrong: Option<Error>,
}

/// When a worker ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Stopped,
    Empty,
}

/// What the roles of a running worker share.
struct Shared {
    broker: Broker,
    places: Vec<Arc<Place>>,
    options: WorkerOptions,
    registry: Registry,
    slots: Slots,
    until: Until,
    shutdown: Arc<Shutdown>,
    counters: Arc<Counters>,
    observer: Option<Observer>,
    /// Told when the heartbeat must look sooner than it means to.
    pulse: Arc<Pulse>,
    #[cfg(feature = "tower")]
    layers: layers::Layers,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("broker", &self.broker)
            .field("queues", &self.queues)
            .field("kinds", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker on `broker` with the default options and nothing to do yet.
    pub fn new(broker: &Broker) -> Self {
        let control = Control {
            shutdown: Arc::new(Shutdown::new()),
            counters: Arc::new(Counters::default()),
        };
        Self {
            broker: broker.clone(),
            queues: Vec::new(),
            typed_queues: Vec::new(),
            options: WorkerOptions::default(),
            registry: Registry::default(),
            missing: Missing::Refuse,
            follow_ups: false,
            hooks: Vec::new(),
            observer: None,
            control,
            #[cfg(feature = "tower")]
            layers: layers::Layers::default(),
            wrong: None,
        }
    }

    /// Receives from this queue, beside those named before. A worker that is told none receives
    /// from the queues that its handled types name. A name that is none is refused by the run.
    pub fn queue(mut self, name: impl AsRef<str>) -> Self {
        match QueueName::new(name) {
            Ok(name) if self.queues.contains(&name) => {}
            Ok(name) => self.queues.push(name),
            Err(why) => {
                self.wrong.get_or_insert(invalid(why));
            }
        }
        self
    }

    /// Works as these options say.
    pub fn options(mut self, options: WorkerOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs `handler` on the tasks of a type.
    ///
    /// The type is that of the handler's first argument, and its kind says which tasks it gets. A
    /// task whose payload cannot be read, or is of a newer version, becomes a dead letter whose
    /// reason names the field or the version.
    pub fn handle<T: TypedTask>(mut self, handler: impl Handler<T>) -> Self {
        self.registry.typed(handler);
        match T::QUEUE.map(QueueName::new) {
            Some(Ok(name)) if !self.typed_queues.contains(&name) => self.typed_queues.push(name),
            Some(Err(why)) => {
                self.wrong.get_or_insert(invalid(why));
            }
            Some(Ok(_)) | None => {}
        }
        self
    }

    /// Runs `handler` on the tasks of a kind as they were received, with their bytes.
    pub fn handle_raw(mut self, kind: impl Into<String>, handler: impl Handler<Task>) -> Self {
        self.registry.raw(kind.into(), handler);
        self
    }

    /// Runs `handler` on the tasks of every kind that has no handler of its own.
    pub fn handle_rest(mut self, handler: impl Handler<Task>) -> Self {
        self.registry.rest(handler);
        self
    }

    /// Declares queues that are missing with the defaults, where they would be an error.
    pub fn declare_missing(mut self) -> Self {
        self.missing = Missing::Declare;
        self
    }

    /// Says that handlers use [`crate::Outcome::then`], so that the run is refused at the start
    /// where the broker cannot settle and enqueue in one step.
    pub fn with_follow_ups(mut self) -> Self {
        self.follow_ups = true;
        self
    }

    /// Awaits `hook` when the worker stops: after the last receive, before the wait for handlers,
    /// within the graceful timeout. Several run in the order in which they were given.
    pub fn on_shutdown<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(Box::new(move || Box::pin(hook())));
        self
    }

    /// Calls `observer` with every event of a task, on the thread where it happens: it must be quick
    /// and must not panic.
    pub fn observe(mut self, observer: impl Fn(&Task, Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// What stops the worker and tells its metrics.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Works until it is stopped, by a signal or by [`Control::stop`], and returns what it did. An
    /// error that no retry helps stops it, too, as gracefully.
    ///
    /// Dropping the future stops the worker gracefully in the background.
    pub async fn run(self) -> Result<Metrics> {
        self.run_until(Until::Stopped).await
    }

    /// Works until nothing is ready, scheduled or leased in its queues, whoever holds it, or until
    /// it is stopped. Dead tasks don't count. Needs a broker that can show its queues.
    ///
    /// It waits for scheduled tasks and retries, and as long as a queue with tasks is paused.
    pub async fn run_until_empty(self) -> Result<Metrics> {
        self.broker.inspect()?;
        self.run_until(Until::Empty).await
    }

    async fn run_until(mut self, until: Until) -> Result<Metrics> {
        let hooks = std::mem::take(&mut self.hooks);
        let control = self.control();
        let shared = Arc::new(self.open(until).await?);
        let heartbeat = heartbeat::start(shared.clone())?;
        let guard = StopOnDrop(control.clone());
        let supervised = tokio::spawn(supervisor::supervise(shared, hooks, heartbeat));
        let ended = supervised.await;
        drop(guard);
        match ended {
            Ok(result) => result.map(|()| control.metrics()),
            Err(error) => {
                let why = "the worker's own task ended early; was its runtime shut down?";
                Err(Error::new(ErrorKind::Unexpected, Operation::Close, why)
                    .about("a worker")
                    .caused_by(error))
            }
        }
    }

    /// Checks how it was set up and opens its queues.
    async fn open(mut self, until: Until) -> Result<Shared> {
        self.check()?;
        let pulse = Arc::new(Pulse::new());
        let mut places = Vec::new();
        for queue in self.queues() {
            let (pulse, policy) = (pulse.clone(), self.options.retry.clone());
            let place = Place::open(&self.broker, queue, self.missing, pulse, policy).await?;
            places.push(Arc::new(place));
        }
        let Self { broker, options, registry, observer, control, .. } = self;
        Ok(Shared {
            slots: Slots::new(options.concurrency, options.heartbeat_interval),
            broker,
            places,
            options,
            registry,
            until,
            shutdown: control.shutdown,
            counters: control.counters,
            observer,
            pulse,
            #[cfg(feature = "tower")]
            layers: self.layers,
        })
    }

    fn queues(&self) -> &[QueueName] {
        if self.queues.is_empty() { &self.typed_queues } else { &self.queues }
    }

    fn check(&mut self) -> Result<()> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        self.options.check()?;
        self.registry.apply(&self.options)?;
        if self.queues().is_empty() {
            return Err(invalid("it has no queue; name one with `queue`"));
        }
        if self.follow_ups {
            self.check_follow_ups()?;
        }
        Ok(())
    }

    fn check_follow_ups(&self) -> Result<()> {
        let why = if self.options.ack == AckMode::Auto {
            "a worker that acknowledges on receipt has nothing to settle with follow-ups; use \
             `AckMode::Manual`"
        } else if self.broker.capabilities().atomic == AtomicScope::No {
            "this broker cannot settle and enqueue in one step; enqueue in the handler, with a \
             dedup key"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Unsupported, Operation::Open, why).about("a worker"))
    }
}

struct StopOnDrop(Control);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Shared {
    fn settles_on_receipt(&self) -> bool {
        self.options.ack == AckMode::Auto
    }

    fn observe<'a>(&self, task: &Task, event: impl FnOnce() -> Event<'a>) {
        if let Some(observer) = &self.observer {
            observer(task, event());
        }
    }

    #[cfg(feature = "tower")]
    fn wrap(&self, context: &Context, work: Work) -> Work {
        self.layers.wrap(context, work)
    }

    #[cfg(not(feature = "tower"))]
    fn wrap(&self, _context: &Context, work: Work) -> Work {
        work
    }
}
