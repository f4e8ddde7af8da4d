//! The driver's face of a shared directory.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Admin, Atomic, Capabilities, DeadFilter, Driver, Enqueued, FollowUp, Inspect, LeaseToken,
    ListOptions, Member, NewTask, Operation, QueueName, QueueSpec, QueueStats, Result, Session,
    SessionOptions, Settled, TaskId, TaskView, Verdict,
};

use super::seat::{At, Seat};
use super::session::SharedSession;

/// The engine, in this process or in another.
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

    async fn driver(&self, doing: Operation) -> Result<&dyn Driver> {
        Ok(match self.seat.at(doing).await? {
            At::Held(holder) => &**holder.driver(),
            At::Attached(remote) => remote,
        })
    }

    async fn inspect(&self) -> Result<&dyn Inspect> {
        Ok(match self.seat.at(Operation::Inspect).await? {
            At::Held(holder) => &**holder.broker().inspect()?,
            At::Attached(remote) => remote,
        })
    }

    async fn admin(&self) -> Result<&dyn Admin> {
        Ok(match self.seat.at(Operation::Administer).await? {
            At::Held(holder) => &**holder.broker().admin()?,
            At::Attached(remote) => remote,
        })
    }
}

#[async_trait]
impl Driver for SharedDriver {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.driver(Operation::Declare).await?.declare(spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        self.driver(Operation::Enqueue).await?.enqueue(queue, tasks).await
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
        self.inspect().await?.queues().await
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        self.inspect().await?.spec(queue).await
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        self.inspect().await?.stats(queue).await
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        self.inspect().await?.peek(queue, limit).await
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        self.inspect().await?.list(queue, options).await
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        self.inspect().await?.get(queue, id).await
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        self.inspect().await?.dead(queue, filter).await
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.inspect().await?.members(queue).await
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
            At::Attached(remote) => {
                remote.settle_and_enqueue(queue, token, verdict, follow_ups).await
            }
        }
    }
}
