//! Copying what is still needed out of the oldest segment to the tail of the log.

use tidegate_core::{Bytes, limits};

use super::State;
use super::slots::Phase;
use crate::log::body::Body;
use crate::log::record::{Frame, Snapshot, TaskRef, Written};
use crate::position::Position;

/// Something in the oldest segment that may still be needed.
#[derive(Clone, Debug)]
pub(crate) enum Candidate {
    /// A task's body, and the number of the queue in which it opened a dedup window, if it can have.
    Body { task: TaskRef, at: Position, body: Bytes, opened_in: Option<u32> },
    /// A dedup key of the queue with this number.
    Dedup { queue: u32, key: String },
}

impl Candidate {
    /// Bytes that it has in the segment it is in.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Body { body, .. } => body.len(),
            Self::Dedup { key, .. } => key.len(),
        }
    }
}

/// Bytes of a snapshot beside the body and the texts, and of a dedup record beside its key.
const RECORD_BYTES: usize = 160;
/// Bytes of all texts of a task that failed or died, at most.
const EXTRA_BYTES: usize = 6 * limits::TEXT_BYTES_MAX;

impl State {
    /// Whether a body is still the one of its task.
    pub(crate) fn is_needed(&self, task: TaskRef, at: Position) -> bool {
        self.slots.of_task(task.slot, task.sequence).is_some_and(|slot| slot.body == at)
    }

    /// At most this many bytes are written for a candidate; `None` if it is not needed any more.
    pub(crate) fn relocation_bytes(&self, candidate: &Candidate) -> Option<usize> {
        let windows = !self.dedup_ends.is_empty();
        match candidate {
            Candidate::Body { task, at, body, opened_in } => {
                let needed = self.is_needed(*task, *at);
                let extra = if self.extra(task.slot).is_some() { EXTRA_BYTES } else { 0 };
                let opened = opened_in.is_some() && windows;
                let key = if opened { limits::KEY_BYTES_MAX } else { 0 };
                (needed || opened).then_some(body.len() + extra + key + RECORD_BYTES)
            }
            Candidate::Dedup { key, .. } => windows.then_some(key.len() + RECORD_BYTES),
        }
    }

    /// Whether nothing of a segment can be needed.
    pub(crate) fn is_unused(&self, segment: u32) -> bool {
        self.usage.live_in(segment) == 0 && self.dedup_ends.is_empty()
    }

    /// Notes that the log begins with the segment `floor` from now on.
    pub(crate) fn raise_floor(&mut self, floor: u32, frame: &mut Frame<'_>) {
        frame.put_cleaned(floor);
        self.numbers.floor = self.numbers.floor.max(floor);
    }

    /// Writes what of the candidates is still needed, as of now.
    pub(crate) fn relocate(&mut self, candidates: &[Candidate], frame: &mut Frame<'_>) {
        for candidate in candidates {
            match candidate {
                Candidate::Body { task, at, body, opened_in } => {
                    if self.is_needed(*task, *at) {
                        self.relocate_task(*task, *at, body, frame);
                    }
                    if let Some(queue) = opened_in {
                        self.relocate_window(*task, *queue, body, frame);
                    }
                }
                Candidate::Dedup { queue, key } => self.relocate_key(*queue, key, None, frame),
            }
        }
    }

    fn relocate_task(&mut self, task: TaskRef, at: Position, body: &[u8], frame: &mut Frame<'_>) {
        let written = Written { task, at, body };
        let Some(snapshot) = self.snapshot(&written) else { return };
        let moved_to = frame.put_snapshot(&snapshot);
        let len = body.len() as u32;
        self.usage.detach(at, len);
        self.usage.attach(moved_to, len);
        if let Some(slot) = self.slots.get_mut(task.slot) {
            slot.body = moved_to;
        }
    }

    fn snapshot<'a>(&self, written: &Written<'a>) -> Option<Snapshot<'a>> {
        let index = written.task.slot;
        let slot = self.slots.get(index)?;
        let held_back = matches!(slot.phase, Phase::Scheduled | Phase::Leased);
        let timer = held_back.then(|| self.timers.get(slot.right)).flatten();
        let extra = self.extra(index).cloned().unwrap_or_default();
        Some(Snapshot {
            queue: self.queue(slot.queue)?.id,
            phase: slot.phase,
            entered_at: slot.entered_at,
            since: slot.since,
            fence: slot.fence,
            deliveries: slot.deliveries,
            uncounted: slot.uncounted,
            settled: slot.settled,
            timer: timer.map(|timer| (timer.at, timer.hold)),
            turn: self.turn_of(index),
            holds_key: self.until_done.contains_key(&index),
            last_error: extra.last_error,
            dead: extra.dead,
            moved: extra.moved,
            written: *written,
        })
    }

    /// Where a task's key stands, if the task is the first of an available key.
    fn turn_of(&self, index: u32) -> Option<(tidegate_core::Timestamp, u64)> {
        let (queue, lane) = self.lane_of(index)?;
        let lane = self.queue(queue)?.lanes.get(lane)?;
        lane.turn.filter(|_| lane.tasks.front() == Some(&index))
    }

    /// Keeps the dedup window that a body opened, whether its task is done or not.
    fn relocate_window(&mut self, task: TaskRef, queue: u32, body: &[u8], frame: &mut Frame<'_>) {
        if let Some((key, _)) = Body::read(body).and_then(|body| body.dedup) {
            self.relocate_key(queue, key, Some(task.sequence), frame);
        }
    }

    fn relocate_key(
        &mut self,
        queue: u32,
        key: &str,
        sequence: Option<u64>,
        frame: &mut Frame<'_>,
    ) {
        let found = self.by_id.get(&queue).and_then(|index| self.queue(*index));
        let Some(held) = found.and_then(|queue| queue.dedup.get(key)).copied() else { return };
        let same = sequence.is_none_or(|sequence| sequence == held.sequence);
        if let Some(until) = held.until.filter(|until| same && *until > self.now) {
            frame.put_dedup(queue, key, held.id, held.sequence, until);
        }
    }
}
