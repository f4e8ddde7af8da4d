//! The driver's face of a shared directory.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Admin, Atomic, Capabilities, DeadFilter, Driver, Enqueued, FollowUp, Inspect, LeaseToken,
    ListOptions, Member, NewTask, Operation, QueueName, QueueSpec, QueueStats, Result, Session,
    SessionOptions, Settled, TaskId, TaskView, Verdict,
};

use super::seat::{At, Calling, Seat};
use super::session::SharedSession;

/// The engine, in this process or in another.
///
/// A declaration and a question outlive the process that was asked: they are made again at the next
/// holder. What changes tasks is `Unavailable` then, for whether it was carried out is not known.
#[derive(Clone, Debug)]
pub(super) struct SharedDriver {
    seat: Arc<Seat>,
    capabilities: Arc<Capabilities>,
}

impl SharedDriver {
    pub(super) fn new(seat: Seat) -> Self {
        let capabilities = Arc::new(tidegate_engine::capabilities());
        Self { seat: Arc::new(seat), capabilities }
    }

    /// A question, asked again if its holder dies under it.
    async fn ask<'a, T>(
        &'a self,
        question: impl Fn(&'a dyn Inspect) -> Calling<'a, T> + Send + Sync,
    ) -> Result<T> {
        self.seat.answered(Operation::Inspect, |at| Ok(question(at.inspect()?))).await
    }

    async fn admin(&self) -> Result<&dyn Admin> {
        self.seat.at(Operation::Administer).await?.admin()
    }
}

#[async_trait]
impl Driver for SharedDriver {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.seat.answered(Operation::Declare, |at| Ok(at.driver().declare(spec))).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        self.seat.at(Operation::Enqueue).await?.driver().enqueue(queue, tasks).await
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        Ok(Arc::new(SharedSession::open(self.seat.clone(), queue, options).await?))
    }

    /// Lets go of the engine, after those who are attached have had their answers; or detaches.
    async fn close(&self) -> Result<()> {
        if let Some(attached) = self.seat.attached() {
            attached.close().await?;
        }
        match self.seat.held() {
            Some(holder) => holder.close().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Inspect for SharedDriver {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.ask(|inspect| inspect.queues()).await
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        self.ask(|inspect| inspect.spec(queue)).await
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        self.ask(|inspect| inspect.stats(queue)).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        self.ask(|inspect| inspect.peek(queue, limit)).await
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        self.ask(|inspect| inspect.list(queue, options)).await
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        self.ask(|inspect| inspect.get(queue, id)).await
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        self.ask(|inspect| inspect.dead(queue, filter)).await
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.ask(|inspect| inspect.members(queue)).await
    }
}

#[async_trait]
impl Admin for SharedDriver {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        self.admin().await?.update(spec).await
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        self.admin().await?.delete(queue).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.admin().await?.purge(queue).await
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.admin().await?.purge_dead(queue, filter).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        self.admin().await?.pause(queue, paused).await
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.admin().await?.redrive(queue, filter).await
    }
}

#[async_trait]
impl Atomic for SharedDriver {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        match self.seat.at(Operation::Settle).await? {
            At::Held(holder) => {
                holder.atomic()?.settle_and_enqueue(queue, token, verdict, follow_ups).await
            }
            At::Attached(remote, _) => {
                remote.settle_and_enqueue(queue, token, verdict, follow_ups).await
            }
        }
    }
}
