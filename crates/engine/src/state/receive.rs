//! Receiving: who is next, and the lease on it.

use std::time::Duration;

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
        let queue = self.queue(index).filter(|queue| !queue.paused && queue.counts.ready > 0)?;
        let duration = options.lease.unwrap_or(queue.spec.lease);
        let hold = Hold { length_ms: duration.as_millis() as u32, ..hold };
        let mut grant = Grant {
            queue: queue.id,
            fence: self.fence(frame.lsn()),
            until: self.now.plus(duration),
            duration,
            tasks: Vec::with_capacity(options.limit.min(queue.counts.ready as usize)),
            depends: Position::START,
        };
        let (ordered, list) = (queue.is_ordered(), frame.begin_leased(queue.id, hold));
        let mut next = Vec::new();
        while grant.tasks.len() < options.limit {
            let room = options.limit - grant.tasks.len();
            match ordered {
                false => next.extend(self.next_unordered(index)),
                true => next.extend(self.next_ordered(index, room.min(options.per_key))),
            }
            if next.is_empty() {
                break;
            }
            for next in next.drain(..) {
                grant.depends = grant.depends.max(next.depends);
                let Some(granted) = self.grant(next.slot, &grant, hold, frame) else { continue };
                // INVARIANT: whatever brought it back, a task leaves when its own send is durable: a
                // lease or a delay can end before the sync does.
                let sent = granted.body.plus(granted.body_len as usize);
                grant.depends = grant.depends.max(sent);
                grant.tasks.push(granted);
            }
        }
        frame.end_list(&list, grant.tasks.len() as u32);
        (!grant.tasks.is_empty()).then_some(grant)
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
        let slot = self.slots.get(index)?;
        Some(Granted {
            slot: index,
            sequence,
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
