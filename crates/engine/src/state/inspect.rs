//! Looking at queues and tasks. A task is sketched here; its body is read elsewhere.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tidegate_core::{
    DeadFilter, DeadLetter, ListOptions, Operation, QueueName, QueueSpec, QueueStats, Result,
    State as Condition, TaskId, Timestamp,
};

use super::State;
use super::enqueue::id_hash;
use super::queue::Queue;
use super::slots::{Phase, Slot};
use crate::position::Position;

const INSPECT: Operation = Operation::Inspect;

/// A task as the state knows it.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) queue: QueueName,
    pub(crate) sequence: u64,
    pub(crate) body: Position,
    pub(crate) body_len: u32,
    pub(crate) deliveries: u32,
    pub(crate) attempt: u32,
    pub(crate) condition: Condition,
    pub(crate) until: Option<Timestamp>,
    pub(crate) last_error: Option<String>,
    pub(crate) dead: Option<DeadLetter>,
    pub(crate) moved: Option<DeadLetter>,
}

impl State {
    pub(crate) fn queue_names(&self) -> Vec<QueueName> {
        let mut names: Vec<_> = self.by_name.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn spec(&self, name: &QueueName) -> Result<QueueSpec> {
        Ok(QueueSpec::clone(&self.queue_named(name, INSPECT)?.spec))
    }

    /// The spec of a queue by its index.
    pub(crate) fn spec_at(&self, index: u32) -> Option<std::sync::Arc<QueueSpec>> {
        self.queue(index).map(|queue| queue.spec.clone())
    }

    pub(crate) fn stats(&self, name: &QueueName) -> Result<QueueStats> {
        let queue = self.queue_named(name, INSPECT)?;
        Ok(QueueStats {
            ready: queue.counts.ready,
            scheduled: queue.counts.scheduled,
            leased: queue.counts.leased,
            dead: queue.counts.dead,
            oldest_ready: self.oldest_ready(queue).map(|since| self.now.since(since)),
            paused: queue.paused,
        })
    }

    fn oldest_ready(&self, queue: &Queue) -> Option<Timestamp> {
        let firsts = queue.lines.iter().filter_map(|line| self.slots.get(line.first));
        let lines = firsts.map(|slot| slot.since);
        let mut priorities: Vec<u8> = queue.returned.keys().map(|order| order.0.0).collect();
        priorities.dedup();
        let first_of = |priority: u8| {
            let from = (std::cmp::Reverse(priority), Timestamp::default(), 0);
            queue.returned.range(from..).next().map(|(order, _)| order.1)
        };
        let returned = priorities.into_iter().filter_map(first_of);
        let keyed = queue.lanes.available.keys().next().map(|(since, _)| *since);
        lines.chain(returned).chain(keyed).min()
    }

    pub(crate) fn peek(&self, name: &QueueName, limit: usize) -> Result<Vec<Sketch>> {
        let index = self.index_of(name, INSPECT)?;
        let next_up = self.next_up(index, limit);
        Ok(next_up.into_iter().filter_map(|slot| self.sketch(slot)).collect())
    }

    /// A page of tasks in the order of their sequences. It looks at every task of the engine once.
    pub(crate) fn list(&self, name: &QueueName, options: &ListOptions) -> Result<Vec<Sketch>> {
        let index = self.index_of(name, INSPECT)?;
        let ListOptions { state, after, limit } = options;
        let after = after.unwrap_or(0);
        let of_page = |slot: &Slot| {
            slot.queue == index
                && slot.sequence > after
                && state.is_none_or(|state| state == condition(slot.phase))
        };
        let mut page: BinaryHeap<(u64, u32)> = BinaryHeap::new();
        for (number, slot) in self.slots.tasks().filter(|(_, slot)| of_page(slot)) {
            let full = page.len() >= *limit;
            if full
                && page.peek().is_none_or(|(last, _)| last.cmp(&slot.sequence) == Ordering::Less)
            {
                continue;
            }
            page.push((slot.sequence, number));
            if full {
                page.pop();
            }
        }
        let page = page.into_sorted_vec();
        Ok(page.into_iter().filter_map(|(_, slot)| self.sketch(slot)).collect())
    }

    /// The tasks of a queue that may have an id; the body says which one has.
    pub(crate) fn candidates(&self, name: &QueueName, id: TaskId) -> Result<Vec<Sketch>> {
        let index = self.index_of(name, INSPECT)?;
        let hash = id_hash(id);
        let same = |(_, slot): &(u32, &Slot)| slot.queue == index && slot.id_hash == hash;
        let found = self.slots.tasks().filter(same);
        Ok(found.filter_map(|(slot, _)| self.sketch(slot)).collect())
    }

    pub(crate) fn dead(&self, name: &QueueName, filter: &DeadFilter) -> Result<Vec<Sketch>> {
        let dead = self.dead_of(name, filter, INSPECT)?;
        Ok(dead.into_iter().filter_map(|slot| self.sketch(slot)).collect())
    }

    fn sketch(&self, index: u32) -> Option<Sketch> {
        let slot = self.slots.get(index)?;
        let held_back = matches!(slot.phase, Phase::Scheduled | Phase::Leased);
        let timer = held_back.then(|| self.timers.get(slot.right)).flatten();
        let extra = self.extra(index).cloned().unwrap_or_default();
        Some(Sketch {
            queue: self.queue(slot.queue)?.name().clone(),
            sequence: slot.sequence,
            body: slot.body,
            body_len: slot.body_len,
            deliveries: slot.deliveries,
            attempt: slot.attempts(),
            condition: condition(slot.phase),
            until: timer.map(|timer| timer.at),
            last_error: extra.last_error,
            dead: extra.dead,
            moved: extra.moved,
        })
    }
}

fn condition(phase: Phase) -> Condition {
    match phase {
        Phase::Free => Condition::Done,
        Phase::Scheduled => Condition::Scheduled,
        Phase::Ready => Condition::Ready,
        Phase::Leased => Condition::Leased,
        Phase::Dead => Condition::Dead,
    }
}
