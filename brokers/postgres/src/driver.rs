//! The driver's face of the server.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use event_listener::Event;
use tidegate_core::capabilities::{
    AtomicScope, CapacitySupport, Completion, DeadLetterSupport, Delay, DeliveryCount, Fencing,
    LeaseSupport, OrderingSupport, ReleaseCost,
};
use tidegate_core::{
    Broker, BrokerParts, Capabilities, Driver, Enqueued, Error, NewTask, Operation, QueueName,
    QueueSpec, Result, Session, SessionOptions, SystemClock, limits,
};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_postgres::types::Type;

use crate::admin;
use crate::batch;
use crate::config::Config;
use crate::errors;
use crate::events::{self, Events};
use crate::queues::{Queue, Queues};
use crate::rows::field;
use crate::server::Server;
use crate::session::PostgresSession;
use crate::{listener, migrate, upkeep};

/// A broker on PostgreSQL. Cheap to clone; clones are the same broker, and its connections end with
/// the last of them and of its sessions.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) inner: Arc<Inner>,
    _background: Arc<Background>,
}

pub(crate) struct Inner {
    pub(crate) server: Server,
    pub(crate) queues: Queues,
    pub(crate) events: Events,
    /// Told at the close.
    pub(crate) closing: Event,
    /// The one that the broker works on.
    pub(crate) runtime: Handle,
    /// Measures waits. The server's time may step.
    pub(crate) watch: SystemClock,
    pub(crate) capabilities: Capabilities,
}

/// Tasks of the runtime that end with the broker.
struct Background {
    tasks: Vec<AbortHandle>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({})", self.inner.server.config)
    }
}

/// What PostgreSQL can do: everything the contract has, but groups with members.
pub fn capabilities() -> Capabilities {
    Capabilities {
        delay: Delay::UpTo(limits::DELAY_MAX),
        retry_delay: Delay::UpTo(limits::DELAY_MAX),
        priority_max: Some(u8::MAX),
        dedup_window_max: Some(limits::DEDUP_WINDOW_MAX),
        dedup_until_done: true,
        ordering: OrderingSupport::PerKey,
        lease: LeaseSupport::Timed(limits::LEASE_MAX),
        lease_per_receive: true,
        attempt_memory: Some(limits::ATTEMPT_MEMORY),
        fencing: Fencing::Enforced,
        release: ReleaseCost::KeepsAttempt,
        deliveries: DeliveryCount::Counted,
        completion: Completion::Final,
        dead_letters: DeadLetterSupport::StateOrQueue,
        capacity: CapacitySupport::Exact,
        atomic: AtomicScope::SameBroker,
        membership: false,
        durable: true,
        retention: true,
        batch_max: limits::BATCH_TASKS_MAX,
        payload_max: limits::PAYLOAD_BYTES_MAX,
    }
}

impl Postgres {
    /// Connects, and brings the schema up to date unless `config` forbids it. The broker works on the
    /// runtime that this was called on.
    ///
    /// # Errors
    /// Those of [`crate::connect`].
    pub async fn open(config: Config) -> Result<Self> {
        let server = Server::new(config)?;
        migrate::run(&server).await?;
        server.ask_time(Operation::Open).await?;
        let inner = Arc::new(Inner {
            server,
            queues: Queues::default(),
            events: Events::new(),
            closing: Event::new(),
            runtime: Handle::current(),
            watch: SystemClock::new(),
            capabilities: capabilities(),
        });
        let mut tasks = vec![
            tokio::spawn(events::send_notices(inner.clone())).abort_handle(),
            tokio::spawn(upkeep::keep_up(inner.clone())).abort_handle(),
        ];
        if inner.server.config.is_listening {
            tasks.push(tokio::spawn(listener::listen(inner.clone())).abort_handle());
        }
        Ok(Self { inner, _background: Arc::new(Background { tasks }) })
    }

    /// The broker that applications hold.
    pub fn broker(&self) -> Broker {
        let driver = Arc::new(self.clone());
        Broker::new(BrokerParts {
            label: self.inner.server.config.to_string(),
            inspect: Some(driver.clone()),
            admin: Some(driver.clone()),
            atomic: Some(driver.clone()),
            driver,
            clock: Arc::new(self.inner.server.clock.clone()),
        })
    }

    pub(crate) async fn queue(&self, name: &QueueName, operation: Operation) -> Result<Arc<Queue>> {
        errors::on(name, self.inner.queues.get(&self.inner.server, name, operation).await)
    }

    /// The queue as it is on the server now.
    pub(crate) async fn current_queue(
        &self,
        name: &QueueName,
        operation: Operation,
    ) -> Result<Arc<Queue>> {
        errors::on(name, self.inner.queues.look_up(&self.inner.server, name, operation).await)
    }

    /// An error of a call. After one that may have been a failover nothing is known of the server.
    pub(crate) fn noted(&self, error: Error) -> Error {
        if error.is_retryable() {
            self.inner.queues.forget_reached();
        }
        error
    }
}

/// How many of the outcomes are tasks that were not there before.
pub(crate) fn new_tasks(outcomes: &[Result<Enqueued>]) -> usize {
    outcomes.iter().flatten().filter(|enqueued| !enqueued.deduplicated).count()
}

#[async_trait]
impl Driver for Postgres {
    fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        errors::on(&spec.name, admin::declare(self, spec).await)
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        let known = self.queue(queue, Operation::Enqueue).await?;
        let refusals = tasks.iter().map(|task| batch::refusal(task, &known, Operation::Enqueue));
        let refusals: Vec<Option<Error>> = refusals.collect();
        let admitted = tasks.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
        let admitted: Vec<&NewTask> = admitted.map(|(task, _)| task).collect();
        let outcomes = errors::on(queue, self.send(&known, &admitted).await)?;
        let mut outcomes = outcomes.into_iter();
        let missing = || errors::corrupt(Operation::Enqueue, "fewer outcomes than tasks").on(queue);
        let outcome = |refusal: Option<Error>| match refusal {
            Some(refusal) => Err(refusal),
            None => outcomes.next().unwrap_or_else(|| Err(missing())),
        };
        Ok(refusals.into_iter().map(outcome).collect())
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        const OPEN: Operation = Operation::OpenSession;
        // WHY: no membership here, and leases are timed whoever holds them.
        let SessionOptions { membership: _, holder: _ } = options;
        self.current_queue(queue, OPEN).await?;
        let server = &self.inner.server;
        let rows = server.call(OPEN, &server.statements.session, &[]).await;
        let rows = errors::on(queue, rows)?;
        let number = rows.first().map(|row| field(row, 0, OPEN)).transpose()?;
        let number = number.ok_or_else(|| errors::corrupt(OPEN, "a session without a number"))?;
        Ok(Arc::new(PostgresSession::new(self.clone(), queue.clone(), number)))
    }

    /// Hangs up. What was acknowledged is as durable as the server makes it; calls under way end by
    /// themselves.
    async fn close(&self) -> Result<()> {
        self.inner.server.close();
        self.inner.closing.notify(usize::MAX);
        self.inner.queues.wake_all();
        Ok(())
    }
}

/// The type of a parameter that is a queue's id.
pub(crate) const ID: Type = Type::INT8;
