//! The driver's face of a connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    Atomic, Broker, BrokerParts, Capabilities, DeadFilter, Driver, Enqueued, Error, FollowUp,
    Inspect, LeaseToken, ListOptions, Member, NewTask, Operation, QueueName, QueueSpec, QueueStats,
    Result, Session, SessionOptions, Settled, SystemClock, TaskId, TaskView, Verdict, admin::Admin,
};

use super::line::{Calls, Hello, Line};
use super::link::{Link, Ready, Redial};
use super::session::RemoteSession;
use super::target::Target;
use super::views;

/// A broker at the other end of a connection.
///
/// When the connection ends, calls that were out are `Unavailable`, and whether they were carried out
/// is not known; calls that come later wait up to five seconds for the next one. Nothing is sent twice.
#[derive(Clone, Debug)]
pub struct RemoteDriver {
    link: Arc<Link>,
    hello: Hello,
}

/// Connects to a server and stays connected: after the server's restart the driver finds it again.
///
/// # Errors
/// Those of [`Line::dial`].
pub async fn connect(target: Target) -> Result<Broker> {
    let line = Line::dial(&target).await?;
    let label = target.to_string();
    Ok(broker(label, RemoteDriver::new(line, Again { target })))
}

/// The broker that a driver reaches, called `label`.
pub fn broker(label: impl Into<String>, driver: RemoteDriver) -> Broker {
    let Hello { capabilities: _, inspects, administers, is_atomic } = driver.hello.clone();
    let driver = Arc::new(driver);
    Broker::new(BrokerParts {
        label: label.into(),
        inspect: inspects.then(|| driver.clone() as _),
        admin: administers.then(|| driver.clone() as _),
        atomic: is_atomic.then(|| driver.clone() as _),
        driver,
        clock: Arc::new(SystemClock::new()),
    })
}

/// Dials the same server again, soon at first and then every two seconds.
struct Again {
    target: Target,
}

const AGAIN_FIRST: Duration = Duration::from_millis(20);
const AGAIN_MOST: Duration = Duration::from_secs(2);

#[async_trait]
impl Redial for Again {
    async fn redial(&self) -> Option<Line> {
        let mut pause = AGAIN_FIRST;
        loop {
            match Line::dial(&self.target).await {
                Ok(line) => return Some(line),
                Err(error) => tracing::debug!(%error, target = %self.target, "no connection yet"),
            }
            // WHY: spread, so that the clients of a server that comes back do not come all at once.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(AGAIN_MOST);
        }
    }
}

impl RemoteDriver {
    /// A driver on `line`, which `redial` follows when it ends.
    pub fn new(line: Line, redial: impl Redial) -> Self {
        let hello = line.hello().clone();
        Self { link: Arc::new(Link::new(Arc::new(line), redial)), hello }
    }

    /// Returns once calls can go out, or never need to any more.
    ///
    /// # Errors
    /// `Unavailable` if no line came up in five seconds; `Closed` after a close.
    pub async fn ready(&self, doing: Operation) -> Result<Ready> {
        self.link.ready(doing).await
    }

    async fn calls(&self, doing: Operation) -> Result<Calls> {
        Ok(self.link.line(doing).await?.calls())
    }
}

#[async_trait]
impl Driver for RemoteDriver {
    fn capabilities(&self) -> &Capabilities {
        &self.hello.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        views::declare(self.calls(Operation::Declare).await?, spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        let line = self.link.line(Operation::Enqueue).await.map_err(|error| error.on(queue))?;
        let sends = line.sends().await.map_err(|error| error.on(queue))?;
        let named = |error: Error| match error.subject() {
            Some(_) => error,
            None => error.on(queue),
        };
        sends.enqueue(queue, tasks).await.map_err(|error| self.link.or_closed(named(error)))
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        Ok(Arc::new(RemoteSession::open(self.link.clone(), queue, options).await?))
    }

    /// Hangs up. The broker at the other end goes on.
    async fn close(&self) -> Result<()> {
        self.link.close();
        Ok(())
    }
}

#[async_trait]
impl Inspect for RemoteDriver {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        views::queues(self.calls(Operation::Inspect).await?).await
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        views::spec(self.calls(Operation::Inspect).await?, queue).await
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        views::stats(self.calls(Operation::Inspect).await?, queue).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        views::peek(self.calls(Operation::Inspect).await?, queue, limit).await
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        views::list(self.calls(Operation::Inspect).await?, queue, options).await
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        views::get(self.calls(Operation::Inspect).await?, queue, id).await
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        views::dead(self.calls(Operation::Inspect).await?, queue, filter).await
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        views::members(self.calls(Operation::Inspect).await?, queue).await
    }
}

#[async_trait]
impl Admin for RemoteDriver {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        views::update(self.calls(Operation::Administer).await?, spec).await
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        views::delete(self.calls(Operation::Administer).await?, queue).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        views::purge(self.calls(Operation::Administer).await?, queue).await
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        views::purge_dead(self.calls(Operation::Administer).await?, queue, filter).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        views::pause(self.calls(Operation::Administer).await?, queue, paused).await
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        views::redrive(self.calls(Operation::Administer).await?, queue, filter).await
    }
}

#[async_trait]
impl Atomic for RemoteDriver {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        let calls = self.calls(Operation::Settle).await?;
        views::settle_and_enqueue(calls, queue, token, verdict, follow_ups).await
    }
}
