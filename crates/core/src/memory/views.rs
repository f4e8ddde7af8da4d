//! Looking at the memory broker's queues and changing them.

use async_trait::async_trait;

use super::driver::Memory;
use super::entry::{Condition, Entry};
use super::store::Store;
use crate::admin::{Admin, DeadFilter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::id::TaskId;
use crate::inspect::{Inspect, ListOptions, Member, QueueStats, TaskView};
use crate::lease::State;
use crate::name::QueueName;
use crate::queue::QueueSpec;

const INSPECT: Operation = Operation::Inspect;
const ADMINISTER: Operation = Operation::Administer;

#[async_trait]
impl Inspect for Memory {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.command(INSPECT, |store, _| Ok(store.queues.keys().cloned().collect()))
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        self.command(INSPECT, |store, _| Ok(store.queue(queue, INSPECT)?.spec.clone()))
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        self.command(INSPECT, |store, now| store.stats(queue, now))
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        self.command(INSPECT, |store, _| {
            let found = store.queue(queue, INSPECT)?;
            let next_up = found.next_up(limit, usize::MAX);
            let entries = next_up.iter().filter_map(|sequence| found.tasks.get(sequence));
            Ok(entries.map(|entry| entry.to_view(queue)).collect())
        })
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        let ListOptions { state, after, limit } = options.clone();
        self.command(INSPECT, |store, _| {
            let first = after.map_or(0, |after| after.saturating_add(1));
            let found = store.queue(queue, INSPECT)?;
            let entries = found.tasks.range(first..).map(|(_, entry)| entry);
            let entries = entries.filter(|entry| state.is_none_or(|s| s == entry.state()));
            Ok(entries.take(limit).map(|e| e.to_view(queue)).collect())
        })
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        self.command(INSPECT, |store, _| {
            let found = store.queue(queue, INSPECT)?;
            let entry = found.tasks.values().find(|entry| entry.new.id == id);
            Ok(entry.map(|entry| entry.to_view(queue)))
        })
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        self.command(INSPECT, |store, _| {
            let dead = store.dead_of(queue, filter, INSPECT)?;
            let view = |(lies_in, sequence): (QueueName, u64)| {
                let entry = store.queues.get(&lies_in)?.tasks.get(&sequence)?;
                Some(entry.to_view(&lies_in))
            };
            Ok(dead.into_iter().filter_map(view).collect())
        })
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.command(INSPECT, |store, _| store.queue(queue, INSPECT).map(|_| Vec::new()))
    }
}

#[async_trait]
impl Admin for Memory {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        self.command(ADMINISTER, |store, _| store.update(spec))
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        self.command(ADMINISTER, |store, _| store.delete(queue))
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.command(ADMINISTER, |store, now| {
            let found = store.queue_mut(queue, ADMINISTER)?;
            let live = |entry: &&Entry| entry.state() != State::Dead;
            let live: Vec<u64> = found.tasks.values().filter(live).map(|e| e.sequence).collect();
            live.iter().for_each(|sequence| drop(found.remove(*sequence, now)));
            found.free_all_keys();
            Ok(live.len() as u64)
        })
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.command(ADMINISTER, |store, now| {
            let dead = store.dead_at_rest(queue, filter)?;
            for (lies_in, sequence) in &dead {
                store.queue_mut(lies_in, ADMINISTER)?.remove(*sequence, now);
            }
            Ok(dead.len() as u64)
        })
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        self.command(ADMINISTER, |store, _| {
            store.queue_mut(queue, ADMINISTER)?.paused = paused;
            store.wake(queue);
            Ok(())
        })
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.command(ADMINISTER, |store, now| {
            let dead = store.dead_at_rest(queue, filter)?;
            Ok(store.redrive(dead, now))
        })
    }
}

impl Store {
    fn stats(&self, name: &QueueName, now: Timestamp) -> Result<QueueStats> {
        let queue = self.queue(name, INSPECT)?;
        let mut stats = QueueStats {
            paused: queue.paused,
            oldest_ready: queue.oldest_available().map(|since| now.since(since)),
            ..QueueStats::default()
        };
        for entry in queue.tasks.values() {
            match entry.condition {
                Condition::Scheduled { .. } => stats.scheduled += 1,
                Condition::Ready => stats.ready += 1,
                Condition::Leased { .. } => stats.leased += 1,
                Condition::Dead(_) => stats.dead += 1,
            }
        }
        Ok(stats)
    }

    /// The dead tasks of a queue, by where they lie, oldest death first.
    fn dead_of(
        &self,
        name: &QueueName,
        filter: &DeadFilter,
        doing: Operation,
    ) -> Result<Vec<(QueueName, u64)>> {
        let source = self.queue(name, doing)?;
        let here = source.tasks.values().filter(|e| e.state() == State::Dead);
        let target = source.spec.dead_letters.queue.as_ref();
        let moved = target.into_iter().filter_map(|target| self.queues.get(target));
        let moved =
            moved.flat_map(|queue| queue.tasks.values().map(move |e| (&queue.spec.name, e)));
        let moved = moved.filter(|(_, e)| e.dead_letter().is_some_and(|dead| dead.source == *name));
        let all = here.map(|entry| (name, entry)).chain(moved);
        let wanted = |(_, entry): &(&QueueName, &Entry)| {
            entry.dead_letter().is_some_and(|dead| filter.matches(dead))
        };
        let mut dead: Vec<_> = all.filter(wanted).collect();
        dead.sort_by_key(|(_, entry)| {
            entry.dead_letter().map(|dead| (dead.died_at, entry.sequence))
        });
        let dead = dead.into_iter().take(filter.limit());
        Ok(dead.map(|(lies_in, entry)| (lies_in.clone(), entry.sequence)).collect())
    }

    /// Those of the dead that no worker holds.
    fn dead_at_rest(&self, name: &QueueName, filter: &DeadFilter) -> Result<Vec<(QueueName, u64)>> {
        let all = DeadFilter { limit: None, ..filter.clone() };
        let mut dead = self.dead_of(name, &all, ADMINISTER)?;
        dead.retain(|(lies_in, sequence)| {
            let entry = self.queues.get(lies_in).and_then(|queue| queue.tasks.get(sequence));
            entry.is_some_and(|entry| entry.state() != State::Leased)
        });
        dead.truncate(filter.limit());
        Ok(dead)
    }

    fn update(&mut self, spec: &QueueSpec) -> Result<QueueSpec> {
        let old = &self.queue(&spec.name, ADMINISTER)?.spec;
        if old.revision != spec.revision {
            let why = format!(
                "the queue was changed meanwhile: its revision is {}, not {}; read it again",
                old.revision, spec.revision
            );
            return Err(Error::new(ErrorKind::Conflict, ADMINISTER, why).on(&spec.name));
        }
        if let Some(field) = old.fixed_difference(spec) {
            let why = format!("the {field} of a queue cannot change; make a new queue");
            return Err(Error::new(ErrorKind::Conflict, ADMINISTER, why).on(&spec.name));
        }
        self.make_dead_letter_queue(spec, ADMINISTER)?;
        let queue = self.queue_mut(&spec.name, ADMINISTER)?;
        queue.spec = QueueSpec { revision: spec.revision + 1, ..spec.clone() };
        let updated = queue.spec.clone();
        // WHY: a retention that became shorter must be seen by those already in the queue.
        let sequences: Vec<u64> = queue.tasks.keys().copied().collect();
        sequences.iter().for_each(|sequence| self.set_timer(&spec.name, *sequence));
        Ok(updated)
    }

    fn delete(&mut self, name: &QueueName) -> Result<()> {
        self.queue(name, ADMINISTER)?;
        let mut others = self.queues.values();
        let user = others.find(|q| q.spec.dead_letters.queue.as_ref() == Some(name));
        if let Some(user) = user {
            let why = format!(
                "it is the dead-letter queue of {:?}; change that queue first",
                user.spec.name
            );
            return Err(Error::new(ErrorKind::Conflict, ADMINISTER, why).on(name));
        }
        self.wake(name);
        self.queues.remove(name);
        Ok(())
    }
}
