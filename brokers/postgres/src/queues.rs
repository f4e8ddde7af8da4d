//! What is known here of the queues: their ids, what of their specs cannot change, and how far claims
//! have come.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use event_listener::Event;
use tidegate_core::gather::Lane;
use tidegate_core::{Operation, QueueName, QueueSpec, Result, Timestamp};
use tokio_postgres::types::Type;

use crate::completions::Completions;
use crate::errors;
use crate::rows::field;
use crate::sends::Sends;
use crate::server::Server;

/// One queue, by its id: a queue that is deleted and made anew is another one.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: i64,
    pub(crate) name: QueueName,
    /// As it was when it was looked up. Only its router and partitions, which cannot change, are read.
    pub(crate) spec: QueueSpec,
    /// Told once for every task that became available.
    pub(crate) ready: Event,
    pub(crate) sends: Arc<Lane<Sends>>,
    pub(crate) completions: Arc<Lane<Completions>>,
    priorities: Mutex<BTreeSet<i16>>,
    reached: Mutex<Reached>,
}

/// How far claims have come, so that they need not walk again over what is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    /// Timers before this moment are done. `None` looks at all.
    pub(crate) timers: Option<SystemTime>,
    pub(crate) priorities: Vec<i16>,
    pub(crate) lows: Vec<String>,
    pub(crate) open: Vec<String>,
    /// When the horizon was last asked for, and when all was last looked at from the beginning.
    asked_at: Timestamp,
    begun_at: Timestamp,
}

/// How often the horizon is asked for while tasks are claimed.
const HORIZON_EVERY: Duration = Duration::from_millis(200);
/// How often a claim begins from the beginning again: what the server forgot in a failover, or a step of
/// its clock, hides a task for no longer than this.
const BEGIN_EVERY: Duration = Duration::from_secs(30);
/// Timers are looked at again for this long, for claims whose transaction was open meanwhile.
const TIMERS_AGAIN: Duration = Duration::from_secs(1);

impl Queue {
    fn new(id: i64, name: QueueName, spec: QueueSpec) -> Self {
        Self {
            id,
            name,
            spec,
            ready: Event::new(),
            sends: Arc::default(),
            completions: Arc::default(),
            priorities: Mutex::new([0].into()),
            reached: Mutex::default(),
        }
    }

    /// From where a claim begins, as of `now`.
    pub(crate) fn reached(&self, now: Timestamp) -> Reached {
        let mut reached = lock(&self.reached);
        if now.since(reached.begun_at) >= BEGIN_EVERY {
            *reached = Reached { begun_at: now, asked_at: now, ..Reached::default() };
        }
        reached.clone()
    }

    /// The timers up to `time` are done.
    pub(crate) fn timers_done(&self, time: SystemTime) {
        lock(&self.reached).timers = time.checked_sub(TIMERS_AGAIN);
    }

    /// What a question for the horizon begins with, if it is time for one.
    pub(crate) fn horizon_is_due(&self, now: Timestamp) -> Option<Reached> {
        let mut reached = lock(&self.reached);
        (now.since(reached.asked_at) >= HORIZON_EVERY).then(|| {
            reached.asked_at = now;
            reached.clone()
        })
    }

    pub(crate) fn horizon(&self, priorities: Vec<i16>, lows: Vec<String>, open: Vec<String>) {
        let mut reached = lock(&self.reached);
        (reached.priorities, reached.lows, reached.open) = (priorities, lows, open);
    }

    /// Begins from the beginning: nothing that was known of the server may hold any more.
    pub(crate) fn forget_reached(&self) {
        *lock(&self.reached) = Reached::default();
    }

    /// Those of `priorities` that may not be known to the server.
    fn new_priorities(&self, priorities: impl Iterator<Item = i16>) -> Vec<i16> {
        let known = lock(&self.priorities);
        let new: BTreeSet<i16> = priorities.filter(|priority| !known.contains(priority)).collect();
        new.into_iter().collect()
    }

    /// Makes claims ask for these priorities, before a task with one of them is enqueued.
    pub(crate) async fn announce_priorities(
        &self,
        server: &Server,
        priorities: impl Iterator<Item = i16>,
    ) -> Result<()> {
        let new = self.new_priorities(priorities);
        if new.is_empty() {
            return Ok(());
        }
        let add = &server.statements.add_priority;
        server
            .call(Operation::Enqueue, add, &[(&self.id, Type::INT8), (&new, Type::INT2_ARRAY)])
            .await?;
        lock(&self.priorities).extend(new);
        Ok(())
    }
}

/// The queues that were looked up.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_name: Mutex<HashMap<QueueName, Arc<Queue>>>,
}

impl Queues {
    /// The queue of this name.
    pub(crate) async fn get(
        &self,
        server: &Server,
        name: &QueueName,
        operation: Operation,
    ) -> Result<Arc<Queue>> {
        server.check_open(operation)?;
        if let Some(known) = lock(&self.by_name).get(name) {
            return Ok(known.clone());
        }
        self.look_up(server, name, operation).await
    }

    /// The queue of this name as it is on the server now.
    pub(crate) async fn look_up(
        &self,
        server: &Server,
        name: &QueueName,
        operation: Operation,
    ) -> Result<Arc<Queue>> {
        let text = name.as_str();
        let rows = server.call(operation, &server.statements.queue, &[(&text, Type::TEXT)]).await?;
        let Some(row) = rows.first() else {
            self.forget(name);
            return Err(errors::missing(name, operation));
        };
        let id: i64 = field(row, 0, operation)?;
        let spec = spec(&field::<String>(row, 1, operation)?, operation)?;
        let mut known = lock(&self.by_name);
        let old = known.get(name).filter(|old| old.id == id).cloned();
        let queue = old.unwrap_or_else(|| Arc::new(Queue::new(id, name.clone(), spec)));
        known.insert(name.clone(), queue.clone());
        Ok(queue)
    }

    /// The queue is not what it was: whoever waits for its tasks looks again.
    pub(crate) fn forget(&self, name: &QueueName) {
        if let Some(queue) = lock(&self.by_name).remove(name) {
            queue.ready.notify(usize::MAX);
        }
    }

    pub(crate) fn wake(&self, id: i64, count: usize) {
        let known = lock(&self.by_name);
        if let Some(queue) = known.values().find(|queue| queue.id == id) {
            queue.ready.notify_additional(count);
        }
    }

    pub(crate) fn wake_all(&self) {
        lock(&self.by_name).values().for_each(|queue| {
            queue.ready.notify(usize::MAX);
        });
    }

    /// A connection was lost, and perhaps the server behind it with what it had not made durable.
    pub(crate) fn forget_reached(&self) {
        lock(&self.by_name).values().for_each(|queue| queue.forget_reached());
    }
}

/// Reads a spec as it is stored.
pub(crate) fn spec(text: &str, operation: Operation) -> Result<QueueSpec> {
    let unreadable = |error| errors::corrupt(operation, format!("a spec cannot be read: {error}"));
    serde_json::from_str(text).map_err(unreadable)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
