//! Looking at queues and tasks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    DeadFilter, Inspect, ListOptions, Member, Operation, QueueName, QueueSpec, QueueStats, Result,
    TaskId, TaskView,
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::admin::Meant;
use crate::driver::{ID, Postgres};
use crate::errors;
use crate::queues::{self, Queue};
use crate::rows::{self, field};
use crate::server::Parameter;

const INSPECT: Operation = Operation::Inspect;
/// Rounds of a thousand tasks that are brought up to date before a look. More than that is caught up with
/// by the upkeep.
const ROUNDS_MAX: u32 = 20;
/// The longest pause before a task that another transaction holds is looked at again; a second in all.
const PAUSE_MAX: Duration = Duration::from_millis(64);

impl Postgres {
    /// A queue with everything done that is due, but for tasks that another transaction holds for longer
    /// than a second.
    pub(crate) async fn advanced_queue(
        &self,
        name: &QueueName,
        operation: Operation,
    ) -> Result<Arc<Queue>> {
        let queue = self.current_queue(name, operation).await?;
        let server = &self.inner.server;
        for round in 0..ROUNDS_MAX {
            let rows = server.call(operation, &server.statements.advance, &[(&queue.id, ID)]).await;
            let rows = errors::on(name, rows)?;
            let Some(row) = rows.first() else { break };
            let woken: i32 = field(row, 0, operation)?;
            self.inner.events.tell(&queue, usize::try_from(woken).unwrap_or(0));
            if field(row, 1, operation)? {
                break;
            }
            // WHY: the upkeep or a claim is at what was passed over, and is done with it in milliseconds.
            if woken == 0 {
                let pause = Duration::from_millis(1 << round.min(10)).min(PAUSE_MAX);
                tokio::time::sleep(pause).await;
            }
        }
        Ok(queue)
    }

    async fn views(
        &self,
        queue: &QueueName,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<TaskView>> {
        let rows = self.inner.server.call(INSPECT, statement, parameters).await;
        errors::on(queue, rows)?.iter().map(rows::view).collect()
    }
}

#[async_trait]
impl Inspect for Postgres {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        let server = &self.inner.server;
        let rows = server.call(INSPECT, &server.statements.queues, &[]).await?;
        rows.iter().map(|row| rows::name(field(row, 0, INSPECT)?, INSPECT)).collect()
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        let (server, text) = (&self.inner.server, queue.as_str());
        let rows = server.call(INSPECT, &server.statements.queue, &[(&text, Type::TEXT)]).await;
        let rows = errors::on(queue, rows)?;
        let row = rows.first().ok_or_else(|| errors::missing(queue, INSPECT))?;
        queues::spec(field(row, 1, INSPECT)?, INSPECT)
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        let known = self.advanced_queue(queue, INSPECT).await?;
        let server = &self.inner.server;
        let rows = server.call(INSPECT, &server.statements.stats, &[(&known.id, ID)]).await;
        let rows = errors::on(queue, rows)?;
        let row = rows.first().ok_or_else(|| errors::missing(queue, INSPECT))?;
        let count = |at| Ok(field::<i64>(row, at, INSPECT)?.unsigned_abs());
        let oldest: Option<i64> = field(row, 4, INSPECT)?;
        Ok(QueueStats {
            ready: count(0)?,
            scheduled: count(1)?,
            leased: count(2)?,
            dead: count(3)?,
            oldest_ready: oldest.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())),
            paused: field(row, 5, INSPECT)?,
        })
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        let known = self.advanced_queue(queue, INSPECT).await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 2] = [(&known.id, ID), (&limit, Type::INT8)];
        self.views(queue, &self.inner.server.statements.peek, &parameters).await
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        let ListOptions { state, after, limit } = options;
        let known = self.advanced_queue(queue, INSPECT).await?;
        let state = state.map(rows::state_number);
        let after = after.map_or(0, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 4] =
            [(&known.id, ID), (&state, Type::INT2), (&after, Type::INT8), (&limit, Type::INT8)];
        self.views(queue, &self.inner.server.statements.list, &parameters).await
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        let known = self.advanced_queue(queue, INSPECT).await?;
        let id = Uuid::from_bytes(*id.as_bytes());
        let parameters: [Parameter<'_>; 2] = [(&known.id, ID), (&id, Type::UUID)];
        let views = self.views(queue, &self.inner.server.statements.find, &parameters).await?;
        Ok(views.into_iter().next())
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        let known = self.advanced_queue(queue, INSPECT).await?;
        let meant = Meant::new(known.id, filter);
        self.views(queue, &self.inner.server.statements.dead, &meant.parameters()).await
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.current_queue(queue, INSPECT).await.map(|_| Vec::new())
    }
}
