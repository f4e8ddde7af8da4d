//! Receiving: who is next, and the lease on it.

use std::time::Duration;

use tidegate_core::{DeadLetter, LeaseToken, ReceiveOptions, Timestamp};

use super::State;
use super::lanes::Available;
use super::queue::Queue;
use super::slots::Phase;
use super::timers::Hold;
use crate::log::record::{Frame, TaskRef};
use crate::position::Position;
use crate::token::{Fence, Fenced};

/// A lease, as far as the state knows the task.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) token: LeaseToken,
    pub(crate) sequence: u64,
    pub(crate) body: Position,
    pub(crate) body_len: u32,
    pub(crate) deliveries: u32,
    pub(crate) attempt: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) moved: Option<DeadLetter>,
    pub(crate) until: Timestamp,
    pub(crate) duration: Duration,
}

/// The next task, and what must be durable before it leaves.
#[derive(Clone, Copy, Debug)]
struct Next {
    slot: u32,
    depends: Position,
}

impl State {
    /// Hands out tasks of a queue and tells what they depend on.
    pub(crate) fn receive(
        &mut self,
        index: u32,
        hold: Hold,
        options: &ReceiveOptions,
        frame: &mut Frame<'_>,
    ) -> (Vec<Granted>, Position) {
        let mut granted = Vec::new();
        let mut depends = Position::START;
        let Some(queue) = self.queue(index).filter(|queue| !queue.paused) else {
            return (granted, depends);
        };
        let duration = options.lease.unwrap_or(queue.spec.lease);
        let hold = Hold { length_ms: duration.as_millis() as u32, ..hold };
        let (ordered, list) = (queue.is_ordered(), frame.begin_leased(queue.id, hold));
        while granted.len() < options.limit {
            let room = options.limit - granted.len();
            let next = match ordered {
                false => self.next_unordered(index).into_iter().collect(),
                true => self.next_ordered(index, room.min(options.per_key)),
            };
            if next.is_empty() {
                break;
            }
            for next in next {
                depends = depends.max(next.depends);
                granted.extend(self.grant(next.slot, duration, hold, frame));
            }
        }
        frame.end_list(&list, granted.len() as u32);
        (granted, depends)
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
        duration: Duration,
        hold: Hold,
        frame: &mut Frame<'_>,
    ) -> Option<Granted> {
        let (now, fence) = (self.now, self.fence(frame.lsn()));
        let until = now.plus(duration);
        let sequence = self.slots.get(index)?.sequence;
        frame.put_task_ref(TaskRef { slot: index, sequence });
        self.hand_out(index, fence, until, hold, now);
        let slot = self.slots.get(index)?;
        let queue = self.queue(slot.queue)?.id;
        let extra = self.extra(index);
        Some(Granted {
            token: Fenced { queue, slot: index, sequence, fence }.to_token(),
            sequence,
            body: slot.body,
            body_len: slot.body_len,
            deliveries: slot.deliveries,
            attempt: slot.attempts(),
            last_error: extra.and_then(|extra| extra.last_error.clone()),
            moved: extra.and_then(|extra| extra.moved.clone()),
            until,
            duration,
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
