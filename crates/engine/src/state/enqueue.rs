//! Enqueueing: dedup, capacity, and a place in the order.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Enqueued, NewTask, Operation, QueueName, Result, TaskId, Timestamp, Unique};

use super::State;
use super::queue::KeyHeld;
use super::refusals::full;
use super::slots::{NONE, Phase, Slot};
use crate::log::body;
use crate::log::record::{Frame, TaskRef};
use crate::position::Position;

/// What the state must know of a new task beside where its body lies.
#[derive(Clone, Debug)]
pub(super) struct Fresh<'a> {
    pub(super) id: TaskId,
    pub(super) enqueued_at: Timestamp,
    pub(super) priority: u8,
    pub(super) delay: Duration,
    pub(super) ordering_key: Option<&'a str>,
    pub(super) dedup: Option<(&'a str, Unique)>,
}

impl State {
    /// Enqueues tasks, one outcome each. Those that are refused leave the others alone.
    pub(crate) fn enqueue(
        &mut self,
        name: &QueueName,
        tasks: &[NewTask],
        frame: &mut Frame<'_>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let index = self.index_of(name, Operation::Enqueue)?;
        let Some(id) = self.queue(index).map(|queue| queue.id) else { return Ok(Vec::new()) };
        let mut outcomes = Vec::with_capacity(tasks.len());
        let list = frame.begin_enqueued(id);
        let mut written = 0;
        for task in tasks {
            let outcome = self.admit(index, task).unwrap_or_else(|| {
                written += 1;
                Ok(self.write_new(index, task, frame))
            });
            outcomes.push(outcome);
        }
        frame.end_list(&list, written);
        Ok(outcomes)
    }

    /// Enqueues one task that is known to be admitted, or is a duplicate.
    pub(super) fn enqueue_one(
        &mut self,
        index: u32,
        task: &NewTask,
        frame: &mut Frame<'_>,
    ) -> Result<Enqueued> {
        if let Some(outcome) = self.admit(index, task) {
            return outcome;
        }
        let id = self.queue(index).map_or(0, |queue| queue.id);
        let list = frame.begin_enqueued(id);
        let enqueued = self.write_new(index, task, frame);
        frame.end_list(&list, 1);
        Ok(enqueued)
    }

    /// The outcome of a send that makes no new task: a duplicate, or one too many.
    fn admit(&self, index: u32, task: &NewTask) -> Option<Result<Enqueued>> {
        let queue = self.queue(index)?;
        if let Some(dedup) = &task.dedup
            && let Some(earlier) = self.key_holder(index, &dedup.key)
        {
            return Some(Ok(earlier));
        }
        let live = queue.counts.live();
        if queue.spec.capacity.room(live) == 0 {
            return Some(Err(full(queue.name(), live, Operation::Enqueue)));
        }
        None
    }

    fn write_new(&mut self, index: u32, new: &NewTask, frame: &mut Frame<'_>) -> Enqueued {
        let sequence = self.numbers.next_sequence;
        self.numbers.next_sequence += 1;
        let task = TaskRef { slot: self.slots.take(), sequence };
        let now = self.now;
        let (at, len) = frame.put_body(task, |to| body::put(new, now, to));
        let dedup = new.dedup.as_ref();
        let fresh = Fresh {
            id: new.id,
            enqueued_at: now,
            priority: new.priority,
            delay: new.delay,
            ordering_key: new.ordering_key.as_deref(),
            dedup: dedup.map(|dedup| (dedup.key.as_str(), dedup.unique)),
        };
        self.put_new(index, task, at, len, &fresh);
        Enqueued { id: new.id, sequence, deduplicated: false }
    }

    /// Puts a new task into its free slot and its queue.
    pub(super) fn put_new(
        &mut self,
        queue: u32,
        task: TaskRef,
        at: Position,
        len: u32,
        fresh: &Fresh<'_>,
    ) {
        let TaskRef { slot: index, sequence } = task;
        let Fresh { id, enqueued_at, priority, delay, ordering_key, dedup } = fresh;
        let Some(slot) = self.slots.get_mut(index) else { return };
        *slot = Slot {
            sequence,
            body: at,
            body_len: len,
            queue,
            priority: *priority,
            id_hash: id_hash(*id),
            left: NONE,
            right: NONE,
            phase: Phase::Free,
            ..Slot::default()
        };
        self.usage.attach(at, len);
        if let Some((key, unique)) = dedup {
            self.hold_key(index, key, *unique, *id);
        }
        self.enter(index, queue, *ordering_key, *enqueued_at);
        let depends = at.plus(len as usize);
        if delay.is_zero() {
            self.make_ready(index, *enqueued_at, depends);
        } else {
            self.make_scheduled(index, enqueued_at.plus(*delay), *enqueued_at, depends);
        }
    }

    /// The earlier task that holds a dedup key, if one does.
    pub(super) fn key_holder(&self, index: u32, key: &str) -> Option<Enqueued> {
        // INVARIANT: a key that has ended is not there: `advance` has freed it.
        let held = self.queue(index)?.dedup.get(key)?;
        Some(Enqueued { id: held.id, sequence: held.sequence, deduplicated: true })
    }

    fn hold_key(&mut self, index: u32, key: &str, unique: Unique, id: TaskId) {
        let Some(slot) = self.slots.get(index) else { return };
        let (queue, sequence) = (slot.queue, slot.sequence);
        let until = match unique {
            Unique::Window(window) => Some(self.now.plus(window)),
            Unique::UntilDone => None,
        };
        let key: Arc<str> = key.into();
        if until.is_none() {
            self.until_done.insert(index, key.clone());
        }
        self.set_key_held(queue, key, KeyHeld { id, sequence, until });
    }

    pub(super) fn set_key_held(&mut self, index: u32, key: Arc<str>, held: KeyHeld) {
        let Some(queue) = self.queue_mut(index) else { return };
        queue.dedup.insert(key.clone(), held);
        let id = queue.id;
        if let Some(until) = held.until {
            self.dedup_ends.insert((until, id, key));
        }
    }

    /// Frees the `UntilDone` key of a task whose life is over.
    pub(super) fn free_until_done(&mut self, index: u32) {
        if self.until_done.is_empty() {
            return;
        }
        let Some(key) = self.until_done.remove(&index) else { return };
        let Some(slot) = self.slots.get(index) else { return };
        let (queue, sequence) = (slot.queue, slot.sequence);
        let Some(queue) = self.queue_mut(queue) else { return };
        let held = queue.dedup.get(&key);
        if held.is_some_and(|held| held.sequence == sequence && held.until.is_none()) {
            queue.dedup.remove(&key);
        }
    }
}

/// A part of an id that is random, to find a task by.
pub(super) fn id_hash(id: TaskId) -> u32 {
    let [.., a, b, c, d] = *id.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}
