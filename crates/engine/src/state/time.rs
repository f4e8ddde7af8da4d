//! What happens by itself when its time has come, in the order of time and sequence.

use std::time::Duration;

use tidegate_core::Timestamp;
use tidegate_core::task::REASON_LEASE_ENDED;

use super::State;
use super::queue::Age;
use super::settled::Over;
use super::slots::Phase;
use crate::position::Position;

/// Ages of tasks that are gone are dropped when they are more than the others by this many.
const AGES_SLACK: usize = 64;

impl State {
    /// Does all that is due by `now` and makes it the state's time. Time never runs backwards.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            for (sequence, slot) in self.due_at(at) {
                self.fire(slot, sequence, at);
            }
        }
        self.free_ended_keys(now);
        self.now = self.now.max(now);
    }

    /// When something happens by itself next.
    pub(crate) fn next_event(&self) -> Option<Timestamp> {
        let dead = self.dead_ends.first().map(|(at, _, _)| *at);
        let ages = self.age_ends.first().map(|(at, _)| *at);
        [self.timers.next(), dead, ages].into_iter().flatten().min()
    }

    /// The tasks to which something happens at `at`, which nothing comes before.
    fn due_at(&mut self, at: Timestamp) -> Vec<(u64, u32)> {
        let sequence = |slot: &u32| self.slots.get(*slot).map(|found| (found.sequence, *slot));
        let mut due: Vec<_> = self.timers.due_at(at).iter().filter_map(sequence).collect();
        while let Some((ends, sequence, slot)) = self.dead_ends.first().copied() {
            if ends > at {
                break;
            }
            self.dead_ends.pop_first();
            due.push((sequence, slot));
        }
        while let Some((ends, queue)) = self.age_ends.first().copied() {
            if ends > at {
                break;
            }
            self.age_ends.pop_first();
            due.extend(self.aged(queue, at));
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// The tasks of a queue whose retention ends by `at`.
    fn aged(&mut self, index: u32, at: Timestamp) -> Vec<(u64, u32)> {
        let Some(queue) = self.queue_mut(index) else { return Vec::new() };
        let Some(retention) = queue.spec.retention else { return Vec::new() };
        let mut aged = Vec::new();
        while let Some(age) = queue.ages.front().filter(|a| a.entered_at.plus(retention) <= at) {
            aged.push(*age);
            queue.ages.pop_front();
        }
        if let Some(next) = queue.ages.front() {
            let ends = next.entered_at.plus(retention);
            self.age_ends.insert((ends, index));
        }
        let current = |age: &Age| self.is_current(index, age);
        aged.into_iter().filter(current).map(|age| (age.sequence, age.slot)).collect()
    }

    /// Whether an age is still that of a task of the queue.
    fn is_current(&self, queue: u32, age: &Age) -> bool {
        let slot = self.slots.of_task(age.slot, age.sequence);
        slot.is_some_and(|slot| slot.queue == queue && slot.entered_at == age.entered_at)
    }

    fn fire(&mut self, index: u32, sequence: u64, at: Timestamp) {
        let Some(slot) = self.slots.of_task(index, sequence) else { return };
        let (phase, timer) = (slot.phase, slot.right);
        let dropped = self.drop_at(index).is_some_and(|drop_at| drop_at <= at);
        if phase != Phase::Leased && dropped {
            return self.remove(index, at, Position::START);
        }
        let due = self.timers.get(timer).is_some_and(|timer| timer.at <= at);
        match phase {
            Phase::Scheduled if due => self.make_ready(index, at, Position::START),
            Phase::Leased if due => self.lease_ended(index, at),
            _ => {}
        }
    }

    pub(super) fn lease_ended(&mut self, index: u32, at: Timestamp) {
        let Some(slot) = self.slots.get(index) else { return };
        let (attempts, sequence, fence) = (slot.attempts(), slot.sequence, slot.fence);
        let most = self.queue(slot.queue).map_or(0, |queue| queue.spec.retry.max_attempts);
        if attempts >= most {
            self.settled.remember(sequence, fence, Over::Died, at);
            return self.die(index, REASON_LEASE_ENDED.into(), at, Position::START);
        }
        self.come_back(index, Duration::ZERO, at, Position::START);
    }

    /// When a task is dropped by retention, if it ever is.
    pub(super) fn drop_at(&self, index: u32) -> Option<Timestamp> {
        let slot = self.slots.get(index)?;
        let spec = &self.queue(slot.queue)?.spec;
        if slot.phase == Phase::Dead {
            let died_at = self.extra(index)?.dead.as_ref()?.died_at;
            return Some(died_at.plus(spec.dead_letters.retention));
        }
        spec.retention.map(|retention| slot.entered_at.plus(retention))
    }

    /// Notes when a task entered its queue, if that matters there.
    pub(super) fn note_age(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let age = Age { entered_at: slot.entered_at, sequence: slot.sequence, slot: index };
        let number = slot.queue;
        let Some(queue) = self.queue_mut(number) else { return };
        let Some(retention) = queue.spec.retention else { return };
        let live = (queue.counts.live() + queue.counts.dead) as usize;
        let crowded = queue.ages.len() > 2 * live + AGES_SLACK;
        let first = queue.ages.is_empty();
        // WHY: a snapshot of an older task may be replayed after younger ones.
        let from_tail = queue.ages.iter().rev().take_while(|a| a.entered_at > age.entered_at);
        let place = queue.ages.len() - from_tail.count();
        queue.ages.insert(place, age);
        if first || place == 0 {
            self.age_ends.insert((age.entered_at.plus(retention), number));
        }
        if crowded {
            self.drop_stale_ages(number);
        }
    }

    fn drop_stale_ages(&mut self, index: u32) {
        let Some(queue) = self.queue_mut(index) else { return };
        let mut ages = std::mem::take(&mut queue.ages);
        ages.retain(|age| self.is_current(index, age));
        if let Some(queue) = self.queue_mut(index) {
            queue.ages = ages;
        }
    }

    /// Works out all ends of a queue anew after its spec changed.
    pub(super) fn renew_ends(&mut self, index: u32) {
        let of_queue = |(_, slot): &(u32, &super::slots::Slot)| slot.queue == index;
        let mut tasks: Vec<_> = self.slots.tasks().filter(of_queue).collect();
        tasks.sort_unstable_by_key(|(_, slot)| (slot.entered_at, slot.sequence));
        let age = |(number, slot): &(u32, &super::slots::Slot)| Age {
            entered_at: slot.entered_at,
            sequence: slot.sequence,
            slot: *number,
        };
        let ages: std::collections::VecDeque<Age> = tasks.iter().map(age).collect();
        self.age_ends.retain(|(_, queue)| *queue != index);
        let Some(queue) = self.queues.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        let dead_retention = queue.spec.dead_letters.retention;
        queue.ages.clear();
        if let Some(retention) = queue.spec.retention {
            if let Some(first) = ages.front() {
                self.age_ends.insert((first.entered_at.plus(retention), index));
            }
            queue.ages = ages;
        }
        let dead: Vec<_> = queue.dead.iter().copied().collect();
        let slots: std::collections::HashSet<u32> = dead.iter().map(|(_, _, slot)| *slot).collect();
        self.dead_ends.retain(|(_, _, slot)| !slots.contains(slot));
        let ends = dead.into_iter().map(|(at, seq, slot)| (at.plus(dead_retention), seq, slot));
        self.dead_ends.extend(ends);
    }

    fn free_ended_keys(&mut self, now: Timestamp) {
        while let Some((until, id, _)) = self.dedup_ends.first().filter(|(until, ..)| *until <= now)
        {
            let (until, queue) = (*until, self.by_id.get(id).copied());
            let Some((_, _, key)) = self.dedup_ends.pop_first() else { return };
            let Some(queue) = queue.and_then(|queue| self.queue_mut(queue)) else { continue };
            if queue.dedup.get(&key).is_some_and(|held| held.until == Some(until)) {
                queue.dedup.remove(&key);
            }
        }
    }
}
