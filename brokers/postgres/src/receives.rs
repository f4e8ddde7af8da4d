//! Receiving tasks, alone or together with others of the session who receive at the same time.

use std::sync::Arc;
use std::time::SystemTime;

use tidegate_core::gather::{Gathered, Lane, Room, Size, gathered};
use tidegate_core::{Clock, Lease, Operation, QueueName, ReceiveOptions, Result, limits};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::clock::micros;
use crate::driver::{ID, Postgres};
use crate::errors;
use crate::gather::{ROOM, is_small, patience, things};
use crate::queues::Queue;
use crate::rows::{self, field};
use crate::server::Parameter;

const RECEIVE: Operation = Operation::Receive;

/// What one receive hands out, as the server counts it.
const RECEIVE_BYTES: i64 = limits::RECEIVE_BYTES_MAX as i64;

/// Receives of a session.
#[derive(Clone)]
pub(crate) struct Receives {
    pub(crate) postgres: Postgres,
    pub(crate) name: QueueName,
    /// The session's number, which the leases it holds carry.
    pub(crate) number: i64,
}

/// What was ready, and the queue it is of.
pub(crate) type Claimed = (Arc<Queue>, Vec<Lease>);

impl Gathered for Receives {
    type Wanted = ReceiveOptions;
    /// `None` for one who got nothing though others did: there may be more.
    type Own = Option<Claimed>;
    const ROOM: Room = ROOM;

    fn doing(&self) -> Operation {
        RECEIVE
    }

    fn size(options: &ReceiveOptions) -> Size {
        things(options.limit)
    }

    fn goes_with(one: &ReceiveOptions, other: &ReceiveOptions) -> bool {
        one.lease == other.lease
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.postgres.spawn_gathered(work);
    }

    fn patience(&self) -> impl Future<Output = ()> + Send {
        patience()
    }

    async fn call(&self, all: &[ReceiveOptions]) -> Result<Vec<Self::Own>> {
        let limit = all.iter().map(|options| options.limit).sum();
        let lease = all.first().and_then(|options| options.lease);
        let together = ReceiveOptions { lease, ..ReceiveOptions::up_to(limit) };
        let (queue, leases) = self.claim_alone(&together).await?;
        let (is_empty, mut leases) = (leases.is_empty(), leases.into_iter());
        let share = |options: &ReceiveOptions| {
            let own: Vec<Lease> = leases.by_ref().take(options.limit).collect();
            (is_empty || !own.is_empty()).then(|| (queue.clone(), own))
        };
        Ok(all.iter().map(share).collect())
    }
}

impl Receives {
    /// What is ready now.
    pub(crate) async fn claim(
        &self,
        lane: &Arc<Lane<Self>>,
        options: &ReceiveOptions,
    ) -> Result<Claimed> {
        // WHY: what a name is known by, and several tasks of a key, are one receive's.
        let is_plain = options.attempt_id.is_none() && options.per_key == 1;
        if !is_plain || !is_small(options.limit, 0) {
            return self.claim_alone(options).await;
        }
        loop {
            if let Some(claimed) = gathered(self, lane, options.clone()).await? {
                return Ok(claimed);
            }
        }
    }

    async fn claim_alone(&self, options: &ReceiveOptions) -> Result<Claimed> {
        let mut queue = self.postgres.queue(&self.name, RECEIVE).await?;
        let mut rows = self.claim_from(&queue, options).await?;
        if rows.is_empty() {
            queue = self.postgres.current_queue(&self.name, RECEIVE).await?;
            rows = self.claim_from(&queue, options).await?;
        }
        let Some((about, tasks)) = rows.split_first() else {
            return Err(errors::missing(&self.name, RECEIVE));
        };
        let woken: i32 = field(about, 1, RECEIVE)?;
        let timers_are_done: i64 = field(about, 0, RECEIVE)?;
        let time: SystemTime = field(about, 13, RECEIVE)?;
        if timers_are_done == 1 {
            queue.timers_done(time);
        }
        let placed = |row| Ok((rows::place(row)?, rows::lease(row, &queue)?));
        let mut placed: Vec<(i32, Lease)> = tasks.iter().map(placed).collect::<Result<_>>()?;
        placed.sort_unstable_by_key(|(place, _)| *place);
        let leases: Vec<Lease> = placed.into_iter().map(|(_, lease)| lease).collect();
        // Others may have come upon those that were held for a moment and are left.
        let passed_over: i32 = field(about, 2, RECEIVE)?;
        let left = usize::try_from(woken).unwrap_or(0).saturating_sub(leases.len());
        let left = left.saturating_add(usize::try_from(passed_over).unwrap_or(0));
        self.postgres.inner.events.tell(&queue, left);
        Ok((queue, leases))
    }

    async fn claim_from(&self, queue: &Queue, options: &ReceiveOptions) -> Result<Vec<Row>> {
        let ReceiveOptions { limit, wait: _, lease, per_key, attempt_id } = options;
        let inner = &self.postgres.inner;
        let reached = queue.reached(inner.watch.now());
        let limit = i32::try_from(*limit).unwrap_or(i32::MAX);
        let per_key = i32::try_from(*per_key).unwrap_or(i32::MAX);
        let lease = lease.map(micros);
        let attempt = attempt_id.as_ref().map(|id| id.as_str().as_bytes());
        let parameters: [Parameter<'_>; 11] = [
            (&queue.id, ID),
            (&self.number, Type::INT8),
            (&limit, Type::INT4),
            (&per_key, Type::INT4),
            (&lease, Type::INT8),
            (&reached.priorities, Type::INT2_ARRAY),
            (&reached.lows, Type::TEXT_ARRAY),
            (&reached.open, Type::TEXT_ARRAY),
            (&reached.timers, Type::TIMESTAMPTZ),
            (&attempt, Type::BYTEA),
            (&RECEIVE_BYTES, Type::INT8),
        ];
        let rows = inner.server.call_frequent(RECEIVE, &inner.server.statements.claim, &parameters);
        errors::on(&self.name, rows.await.map_err(|error| self.postgres.noted(error)))
    }
}
