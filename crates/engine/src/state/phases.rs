//! A task's way from one phase to another, and the structures it stands in meanwhile.
//!
//! INVARIANT: a task is counted in its queue and stands in exactly the structures of its phase:
//! ready ones in a line, among the returned, or (ordered) in their lane; scheduled and leased ones
//! have a timer; the dead stand in `dead`. Every change goes through here.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{DeadLetter, State as Condition, Timestamp};

use super::lanes::Available;
use super::queue::{Counts, Queue, ReadyOrder, Returned};
use super::slots::{NONE, Phase, Slot};
use super::timers::Hold;
use super::{Extra, State};
use crate::position::Position;

/// In `Slot::left`: the task stands among the returned, not in a line.
const RETURNED: u32 = NONE - 1;

impl Counts {
    fn of(&mut self, phase: Phase) -> Option<&mut u64> {
        match phase {
            Phase::Free => None,
            Phase::Scheduled => Some(&mut self.scheduled),
            Phase::Ready => Some(&mut self.ready),
            Phase::Leased => Some(&mut self.leased),
            Phase::Dead => Some(&mut self.dead),
        }
    }
}

fn order_of(slot: &Slot) -> ReadyOrder {
    (Reverse(slot.priority), slot.since, slot.sequence)
}

impl State {
    /// Puts a task that stands nowhere into a queue, as one that enters it now. Its key, if it has
    /// one, is given or was kept aside.
    pub(super) fn enter(&mut self, index: u32, queue: u32, key: Option<&str>, at: Timestamp) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.queue = queue;
        slot.entered_at = at;
        self.join_lane(index, key);
        self.note_age(index);
    }

    /// Puts a live task into its key's lane, or keeps its key aside on an unordered queue.
    pub(super) fn join_lane(&mut self, index: u32, key: Option<&str>) {
        let Some(slot) = self.slots.get(index) else { return };
        let (queue, place) = (slot.queue, (slot.entered_at, slot.sequence));
        let ordered = self.queue(queue).is_some_and(Queue::is_ordered);
        let key: Option<Arc<str>> = match key {
            Some(key) => Some(key.into()),
            None if ordered => self.keys.remove(&index),
            None => return,
        };
        let Some(key) = key else { return self.set_left(index, NONE) };
        if !ordered {
            self.keys.insert(index, key);
            return;
        }
        let Some(lanes) = self.queue_mut(queue).map(|queue| &mut queue.lanes) else { return };
        let number = lanes.of_key(&key);
        self.set_left(index, number);
        self.insert_in_lane(queue, number, index, place);
    }

    fn set_left(&mut self, index: u32, left: u32) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.left = left;
        }
    }

    fn insert_in_lane(&mut self, queue: u32, number: u32, index: u32, place: (Timestamp, u64)) {
        let slots = &self.slots;
        let queue = self.queues.get_mut(queue as usize).and_then(Option::as_mut);
        let Some(lane) = queue.and_then(|queue| queue.lanes.get_mut(number)) else { return };
        let before = |other: &u32| {
            slots.get(*other).is_some_and(|slot| (slot.entered_at, slot.sequence) < place)
        };
        // WHY: from the tail, where a task nearly always belongs.
        let from_tail = lane.tasks.iter().rev().take_while(|other| !before(other)).count();
        lane.tasks.insert(lane.tasks.len() - from_tail, index);
    }

    /// Takes a live task out of its lane; its key is kept aside for when it enters a queue again.
    fn leave_lane(&mut self, index: u32, at: Timestamp, depends: Position) {
        let Some((queue, number)) = self.lane_of(index) else { return };
        let Some(lanes) = self.queue_mut(queue).map(|queue| &mut queue.lanes) else { return };
        let Some(lane) = lanes.get_mut(number) else { return };
        let key = lane.key.clone();
        if let Some(place) = lane.tasks.iter().position(|other| *other == index) {
            lane.tasks.remove(place);
        }
        self.keys.insert(index, key);
        self.set_left(index, NONE);
        self.refresh_lane(queue, number, at, depends);
    }

    /// The lane in which a live task stands, with its queue.
    pub(super) fn lane_of(&self, index: u32) -> Option<(u32, u32)> {
        let slot = self.slots.get(index)?;
        let ordered = self.queue(slot.queue)?.is_ordered();
        (ordered && slot.left != NONE && slot.is_live()).then_some((slot.queue, slot.left))
    }

    /// Works out whether a lane is available: none of its tasks is leased and its first is ready.
    /// One that stays available keeps its turn.
    fn refresh_lane(&mut self, queue: u32, number: u32, at: Timestamp, depends: Position) {
        let Some(lane) = self.queue(queue).and_then(|queue| queue.lanes.get(number)) else {
            return;
        };
        let first = lane.tasks.front().and_then(|first| self.slots.get(*first));
        let ready = first.filter(|first| lane.leased == 0 && first.phase == Phase::Ready);
        let turn = ready.map(|first| lane.turn.unwrap_or((at, first.sequence)));
        let (changed, new) = (turn != lane.turn, turn.is_some() && lane.turn.is_none());
        let Some(lanes) = self.queue_mut(queue).map(|queue| &mut queue.lanes) else { return };
        if let Some(lane) = lanes.get_mut(number) {
            lane.depends = lane.depends.max(depends);
        }
        if changed {
            lanes.set_turn(number, turn);
        }
        lanes.drop_empty(number);
        if new {
            self.became_available(queue);
        }
    }

    /// Takes a task out of the structures of its phase; its lane it keeps.
    fn leave_phase(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index) else { return };
        let (phase, queue, timer) = (slot.phase, slot.queue, slot.right);
        let (order, dead_key) = (order_of(slot), slot.sequence);
        match phase {
            Phase::Free => return,
            Phase::Ready => self.leave_ready(index, queue, order),
            Phase::Scheduled | Phase::Leased => drop(self.timers.clear(timer)),
            Phase::Dead => self.leave_dead(index, queue, dead_key),
        }
        if phase == Phase::Leased {
            self.count_lane_lease(index, -1);
        }
        if let Some(count) = self.queue_mut(queue).and_then(|queue| queue.counts.of(phase)) {
            *count -= 1;
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.right = NONE;
        }
    }

    fn count_lane_lease(&mut self, index: u32, by: i32) {
        let Some((queue, number)) = self.lane_of(index) else { return };
        if let Some(lane) = self.queue_mut(queue).and_then(|queue| queue.lanes.get_mut(number)) {
            lane.leased = lane.leased.saturating_add_signed(by);
        }
    }

    fn leave_ready(&mut self, index: u32, queue: u32, order: ReadyOrder) {
        let Some(slot) = self.slots.get(index) else { return };
        let (left, right) = (slot.left, slot.right);
        let Some(found) = self.queues.get_mut(queue as usize).and_then(Option::as_mut) else {
            return;
        };
        if found.is_ordered() {
            if left == NONE {
                found.lanes.available.remove(&(order.1, order.2));
            }
            return;
        }
        if left == RETURNED {
            found.returned.remove(&order);
            return;
        }
        let line = found.line_mut(order.0.0);
        if let Some(line) = line {
            if line.first == index {
                line.first = right;
            }
            if line.last == index {
                line.last = left;
            }
        }
        if let Some(before) = self.slots.get_mut(left) {
            before.right = right;
        }
        if let Some(after) = self.slots.get_mut(right) {
            after.left = left;
        }
    }

    fn leave_dead(&mut self, index: u32, queue: u32, sequence: u64) {
        let dead = self.extras.get(&index).and_then(|extra| extra.dead.as_ref());
        let Some(died_at) = dead.map(|dead| dead.died_at) else { return };
        let Some(queue) = self.queue_mut(queue) else { return };
        queue.dead.remove(&(died_at, sequence, index));
        let ends = died_at.plus(queue.spec.dead_letters.retention);
        self.dead_ends.remove(&(ends, sequence, index));
    }

    fn set_phase(&mut self, index: u32, phase: Phase) -> Option<u32> {
        let slot = self.slots.get_mut(index)?;
        slot.phase = phase;
        let queue = slot.queue;
        if let Some(count) = self.queue_mut(queue).and_then(|queue| queue.counts.of(phase)) {
            *count += 1;
        }
        Some(queue)
    }

    /// Makes a task ready, from `since` on. It leaves once `depends` is durable.
    /// One that is ready already stays where it stands.
    pub(super) fn make_ready(&mut self, index: u32, since: Timestamp, depends: Position) {
        if self.slots.get(index).is_some_and(|slot| slot.phase == Phase::Ready) {
            return;
        }
        self.leave_phase(index);
        let Some(queue) = self.set_phase(index, Phase::Ready) else { return };
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.since = since;
        let order = order_of(slot);
        if let Some((queue, lane)) = self.lane_of(index) {
            return self.refresh_lane(queue, lane, since, depends);
        }
        if self.queue(queue).is_some_and(Queue::is_ordered) {
            let single = Available::Single { slot: index, depends };
            if let Some(queue) = self.queue_mut(queue) {
                queue.lanes.available.insert((order.1, order.2), single);
            }
        } else {
            self.join_line(index, queue, order, depends);
        }
        self.became_available(queue);
    }

    /// Puts a ready task at the end of its priority's line if it belongs there, else among the
    /// returned. One that depends on more than its own body can't stand in a line.
    fn join_line(&mut self, index: u32, queue: u32, order: ReadyOrder, depends: Position) {
        let Some(slot) = self.slots.get(index) else { return };
        let own = slot.body.plus(slot.body_len as usize);
        let Some(found) = self.queues.get_mut(queue as usize).and_then(Option::as_mut) else {
            return;
        };
        let Some(line) = found.line_mut(order.0.0) else { return };
        let last = line.last;
        let fits = self.slots.get(last).is_none_or(|last| order_of(last) < order);
        if depends > own || !fits {
            found.returned.insert(order, Returned { slot: index, depends });
            return self.set_left(index, RETURNED);
        }
        line.last = index;
        if line.first == NONE {
            line.first = index;
        }
        if let Some(last) = self.slots.get_mut(last) {
            last.right = index;
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.left = last;
            slot.right = NONE;
        }
    }

    /// Holds a task back until `due`.
    pub(super) fn make_scheduled(
        &mut self,
        index: u32,
        due: Timestamp,
        at: Timestamp,
        depends: Position,
    ) {
        self.leave_phase(index);
        self.set_phase(index, Phase::Scheduled);
        self.set_timer(index, due, Hold::default());
        if let Some((queue, lane)) = self.lane_of(index) {
            self.refresh_lane(queue, lane, at, depends);
        }
    }

    /// Puts a task into a worker's hands until `until`.
    pub(super) fn make_leased(&mut self, index: u32, until: Timestamp, hold: Hold, at: Timestamp) {
        self.leave_phase(index);
        self.set_phase(index, Phase::Leased);
        self.set_timer(index, until, hold);
        self.count_lane_lease(index, 1);
        if let Some((queue, lane)) = self.lane_of(index) {
            self.refresh_lane(queue, lane, at, Position::START);
        }
    }

    /// Moves the end of a lease. A task without one, whose lease record is damaged, is left alone.
    pub(super) fn move_lease_end(&mut self, index: u32, until: Timestamp, length_ms: u32) {
        let leased = |slot: &&Slot| slot.phase == Phase::Leased;
        let Some(slot) = self.slots.get(index).filter(leased) else { return };
        if let Some(hold) = self.timers.clear(slot.right) {
            self.set_timer(index, until, Hold { length_ms, ..hold });
        }
    }

    /// Begins a lease anew, for whoever holds it now.
    pub(super) fn hold_anew(&mut self, index: u32, until: Timestamp, hold: Hold) {
        let leased = |slot: &&Slot| slot.phase == Phase::Leased;
        let Some(slot) = self.slots.get(index).filter(leased) else { return };
        if self.timers.clear(slot.right).is_some() {
            self.set_timer(index, until, hold);
        }
    }

    fn set_timer(&mut self, index: u32, at: Timestamp, hold: Hold) {
        let number = self.timers.set(at, index, hold);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.right = number;
            if slot.left == RETURNED {
                slot.left = NONE;
            }
        }
    }

    /// Makes a task dead where it is.
    pub(super) fn make_dead(
        &mut self,
        index: u32,
        dead: DeadLetter,
        at: Timestamp,
        depends: Position,
    ) {
        self.leave_phase(index);
        self.leave_lane(index, at, depends);
        let Some(queue) = self.set_phase(index, Phase::Dead) else { return };
        let Some(slot) = self.slots.get(index) else { return };
        let (sequence, died_at) = (slot.sequence, dead.died_at);
        self.extra_mut(index).dead = Some(dead);
        let Some(queue) = self.queue_mut(queue) else { return };
        queue.dead.insert((died_at, sequence, index));
        let ends = died_at.plus(queue.spec.dead_letters.retention);
        self.dead_ends.insert((ends, sequence, index));
    }

    /// Ends a task's life here: it is dead, or moves to the queue for the dead.
    pub(super) fn die(&mut self, index: u32, reason: String, at: Timestamp, depends: Position) {
        let Some(slot) = self.slots.get(index) else { return };
        let (source, attempts, sequence) = (slot.queue, slot.attempts(), slot.sequence);
        let Some(queue) = self.queue(source) else { return };
        let error = self.extras.get(&index).and_then(|extra| extra.last_error.clone());
        let dead =
            DeadLetter { source: queue.name().clone(), reason, error, attempts, died_at: at };
        let target = queue.spec.dead_letters.queue.as_ref();
        let target = target.and_then(|target| self.by_name.get(target)).copied();
        self.free_until_done(index);
        let Some(target) = target else { return self.make_dead(index, dead, at, depends) };
        self.leave_queue(index, at, depends);
        let died_at = dead.died_at;
        self.extra_mut(index).moved = Some(dead);
        if let Some(queue) = self.queue_mut(target) {
            queue.moved.insert((died_at, sequence, index));
        }
        self.start_again(index, target, at, depends);
    }

    /// Puts a task at the tail of a queue with its attempts starting again.
    pub(super) fn start_again(&mut self, index: u32, queue: u32, at: Timestamp, depends: Position) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.uncounted = slot.deliveries;
        }
        self.enter(index, queue, None, at);
        self.make_ready(index, at, depends);
    }

    /// Takes a task out of its queue, but not out of the table.
    pub(super) fn leave_queue(&mut self, index: u32, at: Timestamp, depends: Position) {
        self.leave_phase(index);
        self.leave_lane(index, at, depends);
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.phase = Phase::Free;
        let (queue, sequence) = (slot.queue, slot.sequence);
        let extra = slot.has_extra.then(|| self.extras.get_mut(&index)).flatten();
        let Some(extra) = extra else { return };
        extra.dead = None;
        if let Some(moved) = extra.moved.take()
            && let Some(queue) = self.queue_mut(queue)
        {
            queue.moved.remove(&(moved.died_at, sequence, index));
        }
    }

    /// Ends a task for good.
    pub(super) fn remove(&mut self, index: u32, at: Timestamp, depends: Position) {
        self.free_until_done(index);
        self.leave_queue(index, at, depends);
        let Some(slot) = self.slots.get(index) else { return };
        self.usage.detach(slot.body, slot.body_len);
        if slot.has_extra {
            self.extras.remove(&index);
        }
        if !self.keys.is_empty() {
            self.keys.remove(&index);
        }
        self.slots.free(index);
    }

    /// Puts a task that was held back into its queue, or ends it if its retention is over.
    pub(super) fn come_back(
        &mut self,
        index: u32,
        after: Duration,
        at: Timestamp,
        depends: Position,
    ) -> Condition {
        if self.drop_at(index).is_some_and(|drop_at| drop_at <= at) {
            self.remove(index, at, depends);
            return Condition::Done;
        }
        if after.is_zero() {
            self.make_ready(index, at, depends);
            return Condition::Ready;
        }
        self.make_scheduled(index, at.plus(after), at, depends);
        Condition::Scheduled
    }

    pub(super) fn extra_mut(&mut self, index: u32) -> &mut Extra {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.has_extra = true;
        }
        self.extras.entry(index).or_default()
    }

    pub(super) fn extra(&self, index: u32) -> Option<&Extra> {
        let has_extra = self.slots.get(index)?.has_extra;
        has_extra.then(|| self.extras.get(&index).map(|extra| &**extra)).flatten()
    }
}
