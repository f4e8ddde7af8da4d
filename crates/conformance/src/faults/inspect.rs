//! Faults of looking.

use async_trait::async_trait;
use tidegate_core::error::Operation;
use tidegate_core::{
    DeadFilter, Inspect, ListOptions, Member, QueueName, QueueSpec, QueueStats, Result, TaskId,
    TaskView,
};

use super::admin::missing;
use super::{Fault, Faulty};

#[async_trait]
impl Inspect for Faulty {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.sound_inspect()?.queues().await
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        self.sound_inspect()?.spec(queue).await
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        let mut stats = self.sound_inspect()?.stats(queue).await?;
        if self.has(Fault::StatsWrong) {
            stats.ready += stats.leased;
            stats.leased = 0;
        }
        Ok(stats)
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        let mut views = self.sound_inspect()?.peek(queue, limit).await?;
        if self.has(Fault::PeekReversed) {
            views.reverse();
        }
        Ok(views)
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        let mut options = options.clone();
        if self.has(Fault::PageIgnored) {
            options.after = None;
        }
        if self.has(Fault::StateFilterIgnored) {
            options.state = None;
        }
        self.sound_inspect()?.list(queue, &options).await
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        let found = self.sound_inspect()?.get(queue, id).await?;
        Ok(found.filter(|_| !self.has(Fault::GetFindsNothing)))
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        let mut views = self.sound_inspect()?.dead(queue, filter).await?;
        if self.has(Fault::DeadReversed) {
            views.reverse();
        }
        Ok(views)
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.sound_inspect()?.members(queue).await
    }
}

impl Faulty {
    fn sound_inspect(&self) -> Result<&dyn Inspect> {
        self.parts.inspect.as_deref().ok_or_else(|| missing(Operation::Inspect))
    }
}
