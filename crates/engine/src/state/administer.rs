//! Changing queues.

use std::sync::Arc;

use tidegate_core::{DeadFilter, Operation, QueueName, QueueSpec, Result};

use super::State;
use super::queue::Queue;
use super::refusals::{conflict, other_spec};
use super::slots::Phase;
use crate::log::record::{Frame, TaskRef};
use crate::position::Position;

const ADMINISTER: Operation = Operation::Administer;

impl State {
    /// Creates a queue, or finds it with the same spec.
    pub(crate) fn declare(&mut self, spec: &QueueSpec, frame: &mut Frame<'_>) -> Result<()> {
        if let Ok(queue) = self.queue_named(&spec.name, Operation::Declare) {
            return match queue.spec.first_difference(spec) {
                None => Ok(()),
                Some(field) => Err(other_spec(&spec.name, field)),
            };
        }
        self.make_dead_letter_queue(spec, Operation::Declare, frame)?;
        self.make_queue(QueueSpec { revision: 1, ..spec.clone() }, frame);
        Ok(())
    }

    fn make_dead_letter_queue(
        &mut self,
        spec: &QueueSpec,
        doing: Operation,
        frame: &mut Frame<'_>,
    ) -> Result<()> {
        let Some(name) = &spec.dead_letters.queue else { return Ok(()) };
        let target = self.queue_named(name, doing).ok();
        if target.is_some_and(|target| target.spec.dead_letters.queue.is_some()) {
            let why = format!("{name:?} has a dead-letter queue itself and can't be one");
            return Err(conflict(&spec.name, doing, why));
        }
        let missing = target.is_none();
        let mut queues = self.queues.iter().flatten();
        if queues.any(|queue| queue.spec.dead_letters.queue.as_ref() == Some(&spec.name)) {
            let why = "it is the dead-letter queue of another queue and can't name one itself";
            return Err(conflict(&spec.name, doing, why));
        }
        if missing {
            let made = QueueSpec::dead_letter_queue(name.clone(), &spec.dead_letters);
            self.make_queue(made, frame);
        }
        Ok(())
    }

    fn make_queue(&mut self, spec: QueueSpec, frame: &mut Frame<'_>) {
        let id = self.numbers.next_queue;
        frame.put_queue(id, false, &spec_bytes(&spec));
        self.put_queue(id, spec, false);
    }

    /// Makes a queue, or gives it another spec.
    pub(super) fn put_queue(&mut self, id: u32, spec: QueueSpec, paused: bool) {
        self.numbers.next_queue = self.numbers.next_queue.max(id + 1);
        let spec = Arc::new(spec);
        if let Some(index) = self.by_id.get(&id).copied() {
            let Some(queue) = self.queue_mut(index) else { return };
            let same_ends = queue.spec.retention == spec.retention
                && queue.spec.dead_letters.retention == spec.dead_letters.retention;
            queue.spec = spec;
            queue.paused = paused;
            if !same_ends {
                self.renew_ends(index);
            }
            return;
        }
        let mut queue = Queue::new(id, spec.clone());
        queue.paused = paused;
        let index = match self.queues.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.queues.push(None);
                self.queues.len() - 1
            }
        };
        if let Some(place) = self.queues.get_mut(index) {
            *place = Some(queue);
        }
        self.by_name.insert(spec.name.clone(), index as u32);
        self.by_id.insert(id, index as u32);
    }

    /// Replaces a queue's spec if its revision is still the one given.
    pub(crate) fn update(&mut self, spec: &QueueSpec, frame: &mut Frame<'_>) -> Result<QueueSpec> {
        let queue = self.queue_named(&spec.name, ADMINISTER)?;
        let (id, paused, old) = (queue.id, queue.paused, queue.spec.clone());
        if old.revision != spec.revision {
            let why = format!(
                "the queue was changed meanwhile: its revision is {}, not {}; read it again",
                old.revision, spec.revision
            );
            return Err(conflict(&spec.name, ADMINISTER, why));
        }
        if let Some(field) = old.fixed_difference(spec) {
            let why = format!("the {field} of a queue cannot change; make a new queue");
            return Err(conflict(&spec.name, ADMINISTER, why));
        }
        self.make_dead_letter_queue(spec, ADMINISTER, frame)?;
        let updated = QueueSpec { revision: spec.revision + 1, ..spec.clone() };
        frame.put_queue(id, paused, &spec_bytes(&updated));
        self.put_queue(id, updated.clone(), paused);
        Ok(updated)
    }

    /// Pauses a queue, or lets it go on.
    pub(crate) fn pause(
        &mut self,
        name: &QueueName,
        paused: bool,
        frame: &mut Frame<'_>,
    ) -> Result<()> {
        let queue = self.queue_named(name, ADMINISTER)?;
        let (id, spec) = (queue.id, QueueSpec::clone(&queue.spec));
        frame.put_queue(id, paused, &spec_bytes(&spec));
        self.put_queue(id, spec, paused);
        Ok(())
    }

    /// Deletes a queue with all that is in it.
    pub(crate) fn delete(&mut self, name: &QueueName, frame: &mut Frame<'_>) -> Result<()> {
        let id = self.queue_named(name, ADMINISTER)?.id;
        let mut queues = self.queues.iter().flatten();
        let user = queues.find(|queue| queue.spec.dead_letters.queue.as_ref() == Some(name));
        if let Some(user) = user {
            let user = user.name();
            let why = format!("it is the dead-letter queue of {user:?}; change that queue first");
            return Err(conflict(name, ADMINISTER, why));
        }
        frame.put_queue_deleted(id);
        self.drop_queue(id);
        Ok(())
    }

    pub(super) fn drop_queue(&mut self, id: u32) {
        let Some(index) = self.by_id.get(&id).copied() else { return };
        self.drop_tasks(index, |_| true);
        self.free_all_keys(index);
        self.age_ends.retain(|(_, queue)| *queue != index);
        self.changed.retain(|changed| *changed != index);
        let queue = self.queues.get_mut(index as usize).and_then(Option::take);
        if let Some(queue) = queue {
            self.by_name.remove(queue.name());
        }
        self.by_id.remove(&id);
    }

    /// Drops every live task and every dedup key of a queue.
    pub(crate) fn purge(&mut self, name: &QueueName, frame: &mut Frame<'_>) -> Result<u64> {
        let queue = self.queue_named(name, ADMINISTER)?;
        let (id, live) = (queue.id, queue.counts.live());
        frame.put_purged(id);
        self.purge_queue(id);
        Ok(live)
    }

    pub(super) fn purge_queue(&mut self, id: u32) {
        let Some(index) = self.by_id.get(&id).copied() else { return };
        self.drop_tasks(index, |phase| phase != Phase::Dead);
        self.free_all_keys(index);
    }

    fn drop_tasks(&mut self, index: u32, dropped: impl Fn(Phase) -> bool) {
        let of_queue = self.slots.tasks().filter(|(_, slot)| slot.queue == index);
        let wanted = of_queue.filter(|(_, slot)| dropped(slot.phase));
        let slots: Vec<u32> = wanted.map(|(slot, _)| slot).collect();
        let now = self.now;
        slots.into_iter().for_each(|slot| self.remove(slot, now, Position::START));
    }

    fn free_all_keys(&mut self, index: u32) {
        let Some(queue) = self.queue_mut(index) else { return };
        queue.dedup.clear();
        let id = queue.id;
        self.dedup_ends.retain(|(_, queue, _)| *queue != id);
    }

    /// Drops dead tasks, wherever they lie.
    pub(crate) fn purge_dead(
        &mut self,
        name: &QueueName,
        filter: &DeadFilter,
        frame: &mut Frame<'_>,
    ) -> Result<u64> {
        let dead = self.dead_at_rest(name, filter)?;
        for task in &dead {
            frame.put_dead_purged(*task);
            self.remove(task.slot, self.now, frame.position());
        }
        Ok(dead.len() as u64)
    }

    /// Puts dead tasks back where they died.
    pub(crate) fn redrive(
        &mut self,
        name: &QueueName,
        filter: &DeadFilter,
        frame: &mut Frame<'_>,
    ) -> Result<u64> {
        let dead = self.dead_at_rest(name, filter)?;
        let mut moved = 0;
        for task in dead {
            if self.died_in(task.slot).is_some() {
                frame.put_redriven(task);
                self.redrive_one(task.slot, frame.position());
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// The index of the queue in which a task died, if that queue still exists.
    fn died_in(&self, index: u32) -> Option<u32> {
        let extra = self.extra(index)?;
        let dead = extra.dead.as_ref().or(extra.moved.as_ref())?;
        self.by_name.get(&dead.source).copied()
    }

    pub(super) fn redrive_one(&mut self, index: u32, depends: Position) {
        let Some(source) = self.died_in(index) else { return };
        let now = self.now;
        self.leave_queue(index, now, depends);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.settled = true;
        }
        self.start_again(index, source, now, depends);
    }

    /// The dead of a queue that no worker holds, wherever they lie.
    fn dead_at_rest(&self, name: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskRef>> {
        let all = DeadFilter { limit: None, ..filter.clone() };
        let dead = self.dead_of(name, &all, ADMINISTER)?;
        let task = |slot: u32| self.slots.get(slot).map(|found| (slot, found));
        let at_rest = dead.into_iter().filter_map(task).filter(|(_, s)| s.phase != Phase::Leased);
        let refs = at_rest.map(|(slot, found)| TaskRef { slot, sequence: found.sequence });
        Ok(refs.take(filter.limit()).collect())
    }

    /// How many dead a queue has at most, wherever they lie.
    pub(crate) fn dead_count(&self, name: &QueueName) -> usize {
        let dead = self.dead_of(name, &DeadFilter::default(), ADMINISTER);
        dead.map_or(0, |dead| dead.len())
    }

    /// The slots of a queue's dead, oldest death first, wherever they lie.
    pub(super) fn dead_of(
        &self,
        name: &QueueName,
        filter: &DeadFilter,
        doing: Operation,
    ) -> Result<Vec<u32>> {
        let source = self.queue_named(name, doing)?;
        let target = source.spec.dead_letters.queue.as_ref();
        let target = target.and_then(|target| self.queue_named(target, doing).ok());
        let moved = target.into_iter().flat_map(|target| target.moved.iter());
        let mut dead: Vec<_> = source.dead.iter().chain(moved).copied().collect();
        dead.sort_unstable();
        // WHY: one that was moved and died again, there, is that queue's.
        let wanted = |(_, _, slot): &(_, u64, u32)| {
            let letter = self.extra(*slot).and_then(|e| e.dead.as_ref().or(e.moved.as_ref()));
            letter.is_some_and(|dead| filter.matches(dead) && dead.source == *name)
        };
        let slots = dead.into_iter().filter(wanted).map(|(_, _, slot)| slot);
        Ok(slots.take(filter.limit()).collect())
    }

    /// Writes what a segment must know before its first command.
    pub(crate) fn put_catalogue(&self, frame: &mut Frame<'_>) {
        frame.put_numbers(self.numbers);
        for queue in self.queues.iter().flatten() {
            frame.put_queue(queue.id, queue.paused, &spec_bytes(&queue.spec));
        }
    }

    /// At most this many bytes are written for the catalogue.
    pub(crate) fn catalogue_len_max(&self) -> usize {
        let specs = self.queues.iter().flatten().map(|queue| spec_bytes(&queue.spec).len() + 16);
        64 + specs.sum::<usize>()
    }
}

fn spec_bytes(spec: &QueueSpec) -> Vec<u8> {
    serde_json::to_vec(spec).unwrap_or_default()
}
