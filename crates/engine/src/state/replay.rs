//! Carrying out records: at the open, the whole log; and what an open itself changes.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{QueueSpec, Timestamp, Unique};

use super::State;
use super::enqueue::Fresh;
use super::queue::KeyHeld;
use super::slots::{NONE, Phase, Slot};
use super::timers::Hold;
use crate::log::body::Body;
use crate::log::record::{Numbers, Record, Snapshot, TaskRef, Written, WrittenList};
use crate::position::Position;

impl State {
    /// Carries out one record of the frame `lsn`, after `advance` to the frame's time. `false` if
    /// the record makes no sense.
    #[must_use]
    pub(crate) fn replay(&mut self, lsn: u64, record: Record<'_>) -> bool {
        let now = self.now;
        match record {
            Record::Enqueued { queue, tasks } => return self.replay_enqueued(queue, tasks),
            Record::Leased { hold, tasks } => {
                let fence = self.fence(lsn);
                let until = now.plus(Duration::from_millis(u64::from(hold.length_ms)));
                for task in tasks {
                    if self.knows(task) {
                        self.hand_out(task.slot, fence, until, hold, now);
                    }
                }
            }
            Record::Settled { task, verdict } if self.knows(task) => {
                self.carry_out(task, &verdict, now, Position::START);
            }
            Record::Extended { task, length } if self.knows(task) => {
                let length_ms = length.as_millis() as u32;
                self.move_lease_end(task.slot, now.plus(length), length_ms);
            }
            Record::Queue { id, paused, spec } => {
                let Ok(spec) = serde_json::from_slice::<QueueSpec>(spec) else { return false };
                self.put_queue(id, spec, paused);
            }
            Record::QueueDeleted { id } => self.drop_queue(id),
            Record::Purged { id } => self.purge_queue(id),
            Record::DeadPurged { task } if self.knows(task) => {
                self.remove(task.slot, now, Position::START);
            }
            Record::Redriven { task } if self.knows(task) => {
                self.redrive_one(task.slot, Position::START);
            }
            Record::Settled { .. }
            | Record::Extended { .. }
            | Record::DeadPurged { .. }
            | Record::Redriven { .. } => {}
            Record::Opened { epoch, relaxed } => self.opened(epoch, relaxed),
            Record::Snapshot(snapshot) => return self.replay_snapshot(*snapshot),
            Record::Dedup { queue, key, id, sequence, until } => {
                if let Some(index) = self.by_id.get(&queue).copied() {
                    let held = KeyHeld { id, sequence, until: Some(until) };
                    self.set_key_held(index, key.into(), held);
                }
            }
            Record::Cleaned { floor } => self.numbers.floor = self.numbers.floor.max(floor),
            Record::Numbers(numbers) => self.raise_numbers(numbers),
        }
        true
    }

    /// Makes a queue that a later record knows, where its number and its name are free.
    pub(crate) fn learn_queue(&mut self, record: &Record<'_>) {
        let Record::Queue { id, paused, spec } = *record else { return };
        let Ok(spec) = serde_json::from_slice::<QueueSpec>(spec) else { return };
        if !self.by_id.contains_key(&id) && !self.by_name.contains_key(&spec.name) {
            self.put_queue(id, spec, paused);
        }
    }

    fn raise_numbers(&mut self, other: Numbers) {
        let Numbers { next_sequence, next_queue, epoch, floor, relaxed } = other;
        let own = &mut self.numbers;
        own.next_sequence = own.next_sequence.max(next_sequence);
        own.next_queue = own.next_queue.max(next_queue);
        own.epoch = own.epoch.max(epoch);
        own.floor = own.floor.max(floor);
        own.relaxed = relaxed;
    }

    /// Whether a record's task is there: else its end came before the log's beginning.
    fn knows(&self, task: TaskRef) -> bool {
        self.slots.of_task(task.slot, task.sequence).is_some()
    }

    fn replay_enqueued(&mut self, queue: u32, mut tasks: WrittenList<'_>) -> bool {
        let Some(index) = self.by_id.get(&queue).copied() else { return false };
        tasks.all(|written| self.replay_new(index, &written))
    }

    fn replay_new(&mut self, queue: u32, written: &Written<'_>) -> bool {
        let Written { task, at, body } = *written;
        let Some(read) = Body::read(body) else { return false };
        if !self.claim(task) {
            return false;
        }
        self.numbers.next_sequence = self.numbers.next_sequence.max(task.sequence + 1);
        let fresh = Fresh {
            id: read.id,
            enqueued_at: read.enqueued_at,
            priority: read.priority,
            delay: read.delay,
            ordering_key: read.ordering_key,
            dedup: read.dedup,
        };
        self.put_new(queue, task, at, body.len() as u32, &fresh);
        true
    }

    /// Makes a task's slot free for it. Whoever is still there has ended, or has been copied: the
    /// record that said so is lost, or the task is the same one.
    fn claim(&mut self, task: TaskRef) -> bool {
        let occupied = self.slots.get(task.slot).is_some_and(|slot| slot.phase != Phase::Free);
        if occupied {
            self.remove(task.slot, self.now, Position::START);
        }
        self.slots.claim(task.slot).is_some()
    }

    fn replay_snapshot(&mut self, snapshot: Snapshot<'_>) -> bool {
        let Snapshot { written: Written { task, at, body }, .. } = snapshot;
        let Some(read) = Body::read(body) else { return false };
        let Some(queue) = self.by_id.get(&snapshot.queue).copied() else { return false };
        if !self.claim(task) {
            return false;
        }
        self.numbers.next_sequence = self.numbers.next_sequence.max(task.sequence + 1);
        let Some(slot) = self.slots.get_mut(task.slot) else { return false };
        *slot = Slot {
            sequence: task.sequence,
            body: at,
            body_len: body.len() as u32,
            queue,
            priority: read.priority,
            id_hash: super::enqueue::id_hash(read.id),
            fence: snapshot.fence,
            deliveries: snapshot.deliveries,
            uncounted: snapshot.uncounted,
            settled: snapshot.settled,
            left: NONE,
            right: NONE,
            ..Slot::default()
        };
        self.usage.attach(at, body.len() as u32);
        self.restore(queue, task, &read, snapshot);
        true
    }

    /// Gives a task back what its snapshot says of it.
    fn restore(&mut self, queue: u32, task: TaskRef, body: &Body<'_>, snapshot: Snapshot<'_>) {
        let TaskRef { slot: index, sequence } = task;
        if let (Some((key, Unique::UntilDone)), true) = (body.dedup, snapshot.holds_key) {
            let key: Arc<str> = key.into();
            self.until_done.insert(index, key.clone());
            self.set_key_held(queue, key, KeyHeld { id: body.id, sequence, until: None });
        }
        if snapshot.last_error.is_some() {
            self.extra_mut(index).last_error = snapshot.last_error;
        }
        if let Some(moved) = snapshot.moved {
            if let Some(queue) = self.queue_mut(queue) {
                queue.moved.insert((moved.died_at, sequence, index));
            }
            self.extra_mut(index).moved = Some(moved);
        }
        if let Some(dead) = snapshot.dead {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.entered_at = snapshot.entered_at;
            }
            if let Some(key) = body.ordering_key {
                self.keys.insert(index, key.into());
            }
            let died_at = dead.died_at;
            return self.make_dead(index, dead, died_at, Position::START);
        }
        self.enter(index, queue, body.ordering_key, snapshot.entered_at);
        self.restore_phase(index, snapshot.phase, snapshot.since, snapshot.timer);
        if let (Some(turn), Some((queue, lane))) = (snapshot.turn, self.lane_of(index))
            && let Some(queue) = self.queue_mut(queue)
        {
            queue.lanes.set_turn(lane, Some(turn));
        }
    }

    fn restore_phase(
        &mut self,
        index: u32,
        phase: Phase,
        since: Timestamp,
        timer: Option<(Timestamp, Hold)>,
    ) {
        match (phase, timer) {
            (Phase::Scheduled, Some((due, _))) => {
                self.make_scheduled(index, due, self.now, Position::START);
            }
            (Phase::Leased, Some((until, hold))) => self.make_leased(index, until, hold, self.now),
            _ => self.make_ready(index, since, Position::START),
        }
    }

    /// A process has opened the log: leases of the one before are over, and clients that outlive
    /// it get their full time again.
    pub(crate) fn opened(&mut self, epoch: u32, relaxed: bool) {
        self.numbers.epoch = self.numbers.epoch.max(epoch);
        self.numbers.relaxed = relaxed;
        let leased = self.slots.tasks().filter(|(_, slot)| slot.phase == Phase::Leased);
        let mut held: Vec<(u64, u32, Hold)> = leased
            .filter_map(|(n, slot)| Some((slot.sequence, n, self.timers.get(slot.right)?.hold)))
            .collect();
        held.sort_unstable_by_key(|(sequence, ..)| *sequence);
        for (_, index, hold) in held {
            if hold.client {
                let length = Duration::from_millis(u64::from(hold.length_ms));
                self.move_lease_end(index, self.now.plus(length), hold.length_ms);
            } else {
                self.lease_ended(index, self.now);
            }
        }
    }

    /// Makes the state ready for commands after the last record was replayed.
    pub(crate) fn finish_replay(&mut self) {
        self.slots.rebuild_free();
        self.changed.clear();
        self.queues.iter_mut().flatten().for_each(|queue| queue.newly_available = 0);
        let _ = self.usage.take_emptied();
    }
}
