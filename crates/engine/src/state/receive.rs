//! Receiving: who is next, and the lease on it.

use std::time::Duration;

use tidegate_core::limits::RECEIVE_BYTES_MAX;
use tidegate_core::{LeaseToken, ReceiveOptions, Timestamp};

use super::lanes::Available;
use super::queue::Queue;
use super::slots::Phase;
use super::timers::Hold;
use super::{Extra, State};
use crate::log::record::{Frame, TaskRef};
use crate::position::Position;
use crate::token::{Fence, Fenced};

/// What one receive hands out.
#[derive(Debug)]
pub(crate) struct Grant {
    queue: u32,
    fence: Fence,
    pub(crate) until: Timestamp,
    pub(crate) duration: Duration,
    pub(crate) tasks: Vec<Granted>,
    /// What must be durable before they leave.
    pub(crate) depends: Position,
}

/// What a receive handed out, so that it can be made again.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    fence: Fence,
    until: Timestamp,
    tasks: Vec<TaskRef>,
    depends: Position,
}

/// A task that is handed out, as far as the state knows it.
#[derive(Debug)]
pub(crate) struct Granted {
    slot: u32,
    pub(crate) sequence: u64,
    pub(crate) body: Position,
    pub(crate) body_len: u32,
    pub(crate) deliveries: u32,
    pub(crate) attempt: u32,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Grant {
    pub(crate) fn token(&self, task: &Granted) -> LeaseToken {
        let Granted { slot, sequence, .. } = *task;
        Fenced { queue: self.queue, slot, sequence, fence: self.fence }.to_token()
    }
}

/// The next task, and what must be durable before it leaves.
#[derive(Clone, Copy, Debug)]
struct Next {
    slot: u32,
    depends: Position,
}

impl State {
    /// Hands out tasks of a queue. `None` if it has none to give.
    pub(crate) fn receive(
        &mut self,
        index: u32,
        hold: Hold,
        options: &ReceiveOptions,
        frame: &mut Frame<'_>,
    ) -> Option<Grant> {
        let queue = self.queue(index)?;
        let duration = options.lease.unwrap_or(queue.spec.lease);
        let hold = Hold { length_ms: duration.as_millis() as u32, ..hold };
        if let Some(given) = self.given_before(index, options) {
            return Some(self.give_again(index, given, hold, duration, options, frame));
        }
        if queue.paused || queue.counts.ready == 0 {
            return None;
        }
        let mut grant = Grant {
            queue: queue.id,
            fence: self.fence(frame.lsn()),
            until: self.now.plus(duration),
            duration,
            tasks: Vec::with_capacity(options.limit.min(queue.counts.ready as usize)),
            depends: Position::START,
        };
        let (ordered, list) = (queue.is_ordered(), frame.begin_leased(queue.id, hold));
        let (mut next, mut bytes) = (Vec::new(), 0);
        while grant.tasks.len() < options.limit && bytes < RECEIVE_BYTES_MAX {
            let room = options.limit - grant.tasks.len();
            match ordered {
                false => next.extend(self.next_unordered(index)),
                true => next.extend(self.next_ordered(index, room.min(options.per_key))),
            }
            if next.is_empty() {
                break;
            }
            for next in next.drain(..) {
                if bytes >= RECEIVE_BYTES_MAX {
                    break;
                }
                grant.depends = grant.depends.max(next.depends);
                let Some(granted) = self.grant(next.slot, &grant, hold, frame) else { continue };
                // INVARIANT: whatever brought it back, a task leaves when its own send is durable: a
                // lease or a delay can end before the sync does.
                let sent = granted.body.plus(granted.body_len as usize);
                grant.depends = grant.depends.max(sent);
                bytes += granted.body_len as usize;
                grant.tasks.push(granted);
            }
        }
        frame.end_list(&list, grant.tasks.len() as u32);
        self.note_attempt(index, options, &grant);
        (!grant.tasks.is_empty()).then_some(grant)
    }

    /// What an earlier receive of the same attempt id handed out, if all of it is still held like that.
    fn given_before(&self, index: u32, options: &ReceiveOptions) -> Option<Given> {
        let id = options.attempt_id.as_ref()?;
        let given = self.queue(index)?.attempts.get(id, self.now)?;
        let is_held = |task: &TaskRef| {
            let slot = self.slots.of_task(task.slot, task.sequence);
            let slot = slot.filter(|slot| slot.fence == given.fence && slot.phase == Phase::Leased);
            let timer = slot.and_then(|slot| self.timers.get(slot.right));
            timer.is_some_and(|timer| timer.at == given.until)
        };
        let fits = given.tasks.len() <= options.limit;
        (fits && given.tasks.iter().all(is_held)).then(|| given.clone())
    }

    /// Hands the tasks of an earlier receive out again as they were, their leases begun anew.
    fn give_again(
        &mut self,
        index: u32,
        given: Given,
        hold: Hold,
        duration: Duration,
        options: &ReceiveOptions,
        frame: &mut Frame<'_>,
    ) -> Grant {
        let Given { fence, until: _, tasks, depends } = given;
        let queue = self.queue(index).map_or(0, |queue| queue.id);
        let until = self.now.plus(duration);
        let mut grant = Grant {
            queue,
            fence,
            until,
            duration,
            tasks: Vec::with_capacity(tasks.len()),
            depends,
        };
        for task in tasks {
            frame.put_extended(task, duration);
            self.hold_anew(task.slot, until, hold);
            grant.tasks.extend(self.granted(task.slot));
        }
        self.note_attempt(index, options, &grant);
        grant
    }

    fn note_attempt(&mut self, index: u32, options: &ReceiveOptions, grant: &Grant) {
        let Some(id) = options.attempt_id.clone() else { return };
        let Grant { queue: _, fence, until, duration: _, tasks, depends } = grant;
        let task = |task: &Granted| TaskRef { slot: task.slot, sequence: task.sequence };
        let tasks: Vec<_> = tasks.iter().map(task).collect();
        let (given, now) =
            (Given { fence: *fence, until: *until, tasks, depends: *depends }, self.now);
        if let Some(queue) = self.queue_mut(index).filter(|_| !given.tasks.is_empty()) {
            queue.attempts.remember(id, given, now);
        }
    }

    fn next_unordered(&self, index: u32) -> Option<Next> {
        let queue = self.queue(index)?;
        let line =
            queue.lines.iter().find_map(|line| self.slots.get(line.first).map(|s| (line, s)));
        let Some((line, slot)) = line else {
            let returned = queue.returned.values().next()?;
            return Some(Next { slot: returned.slot, depends: returned.depends });
        };
        let order = (std::cmp::Reverse(slot.priority), slot.since, slot.sequence);
        let returned = queue.returned.first_key_value().filter(|(other, _)| **other < order);
        Some(match returned {
            Some((_, returned)) => Next { slot: returned.slot, depends: returned.depends },
            None => Next { slot: line.first, depends: slot.body.plus(slot.body_len as usize) },
        })
    }

    /// The first ready tasks of the key that has been available longest.
    fn next_ordered(&self, index: u32, most: usize) -> Vec<Next> {
        let Some(queue) = self.queue(index) else { return Vec::new() };
        match queue.lanes.available.values().next() {
            None => Vec::new(),
            Some(Available::Single { slot, depends }) => {
                vec![Next { slot: *slot, depends: *depends }]
            }
            Some(Available::Lane(number)) => self.lane_head(queue, *number, most),
        }
    }

    fn lane_head(&self, queue: &Queue, number: u32, most: usize) -> Vec<Next> {
        let Some(lane) = queue.lanes.get(number) else { return Vec::new() };
        let ready = |slot: &&u32| self.slots.get(**slot).is_some_and(|s| s.phase == Phase::Ready);
        let tasks = lane.tasks.iter().take_while(ready).take(most);
        tasks.map(|slot| Next { slot: *slot, depends: lane.depends }).collect()
    }

    fn grant(
        &mut self,
        index: u32,
        grant: &Grant,
        hold: Hold,
        frame: &mut Frame<'_>,
    ) -> Option<Granted> {
        let sequence = self.slots.get(index)?.sequence;
        frame.put_task_ref(TaskRef { slot: index, sequence });
        self.hand_out(index, grant.fence, grant.until, hold, self.now);
        self.granted(index)
    }

    fn granted(&self, index: u32) -> Option<Granted> {
        let slot = self.slots.get(index)?;
        Some(Granted {
            slot: index,
            sequence: slot.sequence,
            body: slot.body,
            body_len: slot.body_len,
            deliveries: slot.deliveries,
            attempt: slot.attempts(),
            extra: self.extra(index).cloned().map(Box::new),
        })
    }

    /// Leases a ready task.
    pub(super) fn hand_out(
        &mut self,
        index: u32,
        fence: Fence,
        until: Timestamp,
        hold: Hold,
        at: Timestamp,
    ) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.deliveries = slot.deliveries.saturating_add(1);
        slot.fence = fence;
        slot.settled = false;
        self.make_leased(index, until, hold, at);
    }

    /// The slots that a receive would hand out next.
    pub(super) fn next_up(&self, index: u32, limit: usize) -> Vec<u32> {
        let Some(queue) = self.queue(index) else { return Vec::new() };
        if queue.is_ordered() {
            let available = queue.lanes.available.values();
            let slots = available.flat_map(|available| match available {
                Available::Single { slot, .. } => vec![*slot],
                Available::Lane(number) => {
                    let head = self.lane_head(queue, *number, limit);
                    head.into_iter().map(|next| next.slot).collect()
                }
            });
            return slots.take(limit).collect();
        }
        let mut ready: Vec<_> =
            queue.returned.iter().take(limit).map(|(o, r)| (*o, r.slot)).collect();
        for line in &queue.lines {
            let mut number = line.first;
            for _ in 0..limit {
                let Some(slot) = self.slots.get(number) else { break };
                let order = (std::cmp::Reverse(slot.priority), slot.since, slot.sequence);
                ready.push((order, number));
                number = slot.right;
            }
        }
        ready.sort_unstable();
        ready.into_iter().take(limit).map(|(_, slot)| slot).collect()
    }
}
