//! The table of tasks: what is kept in memory of each, 72 bytes. A slot is named by its index,
//! which the log knows too, so that a token from before a restart still finds its task.

use tidegate_core::Timestamp;

use crate::position::Position;
use crate::token::Fence;

/// No slot, lane or timer.
pub(crate) const NONE: u32 = u32::MAX;

/// The slots of one chunk: chunks are allocated whole, so that the table never moves.
const CHUNK: usize = 4_096;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    #[default]
    Free,
    Scheduled,
    Ready,
    Leased,
    Dead,
}

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Its identity; 0 in a free slot.
    pub(crate) sequence: u64,
    /// Where its body lies in the log.
    pub(crate) body: Position,
    /// When it entered its queue.
    pub(crate) entered_at: Timestamp,
    /// Since when it has been ready, while it is.
    pub(crate) since: Timestamp,
    /// The fence of its newest delivery.
    pub(crate) fence: Fence,
    pub(crate) body_len: u32,
    /// The index of its queue.
    pub(crate) queue: u32,
    pub(crate) deliveries: u32,
    /// Deliveries that do not count as attempts.
    pub(crate) uncounted: u32,
    /// On an ordered queue its lane; else, while ready, the slot before it in its line.
    pub(crate) left: u32,
    /// While scheduled or leased its timer; else, while ready, the slot after it in its line.
    pub(crate) right: u32,
    /// A part of its id, to find it by.
    pub(crate) id_hash: u32,
    pub(crate) phase: Phase,
    pub(crate) priority: u8,
    /// Whether the newest delivery was settled.
    pub(crate) settled: bool,
    /// Whether it has an `Extra`.
    pub(crate) has_extra: bool,
}

const _: () = assert!(size_of::<Slot>() <= 72);

impl Default for Slot {
    /// An empty slot. It is not all zeros, so that a new chunk is written and not just promised by
    /// the kernel, page by page, at the worst moment.
    fn default() -> Self {
        Self {
            sequence: 0,
            body: Position::START,
            entered_at: Timestamp::default(),
            since: Timestamp::default(),
            fence: Fence::default(),
            body_len: 0,
            queue: 0,
            deliveries: 0,
            uncounted: 0,
            left: NONE,
            right: NONE,
            id_hash: 0,
            phase: Phase::Free,
            priority: 0,
            settled: false,
            has_extra: false,
        }
    }
}

impl Slot {
    /// Past attempts, the running one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.deliveries.saturating_sub(self.uncounted)
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Scheduled | Phase::Ready | Phase::Leased)
    }
}

/// All slots. The lowest numbers are not kept low: the last one freed is the next one used, since
/// it is still warm.
#[derive(Debug)]
pub(crate) struct Slots {
    chunks: Vec<Box<[Slot]>>,
    /// Slots at and above this were never used.
    fresh: u32,
    /// The free slot that is used next; `left` leads on to the others.
    free: u32,
}

impl Default for Slots {
    fn default() -> Self {
        Self { chunks: Vec::new(), fresh: 0, free: NONE }
    }
}

impl Slots {
    /// A free slot. It stays free until it is filled.
    pub(crate) fn take(&mut self) -> u32 {
        if let Some(slot) = self.get(self.free) {
            let next = slot.left;
            return std::mem::replace(&mut self.free, next);
        }
        let index = self.fresh;
        self.grow_to(index);
        self.fresh += 1;
        index
    }

    /// Makes `index` usable, as a replay wants it.
    pub(crate) fn claim(&mut self, index: u32) -> Option<&mut Slot> {
        if index >= NONE - 1 {
            return None;
        }
        self.grow_to(index);
        self.fresh = self.fresh.max(index + 1);
        self.get_mut(index)
    }

    fn grow_to(&mut self, index: u32) {
        while self.chunks.len() * CHUNK <= index as usize {
            self.chunks.push((0..CHUNK).map(|_| Slot::default()).collect());
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }

    /// The slot of a task, if it is still that task's.
    pub(crate) fn of_task(&self, index: u32, sequence: u64) -> Option<&Slot> {
        self.get(index).filter(|slot| slot.sequence == sequence && sequence != 0)
    }

    /// Empties a slot.
    pub(crate) fn free(&mut self, index: u32) {
        let next = self.free;
        if let Some(slot) = self.get_mut(index) {
            *slot = Slot { left: next, ..Slot::default() };
            self.free = index;
        }
    }

    /// Finds the free slots again after a replay.
    pub(crate) fn rebuild_free(&mut self) {
        let free = |index: &u32| self.get(*index).is_some_and(|slot| slot.phase == Phase::Free);
        let gaps: Vec<u32> = (0..self.fresh).rev().filter(free).collect();
        self.free = NONE;
        gaps.into_iter().for_each(|index| self.free(index));
    }

    /// Every task, with its slot's index.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let slots = self.chunks.iter().flat_map(|chunk| chunk.iter());
        let numbered = (0..self.fresh).zip(slots);
        numbered.filter(|(_, slot)| slot.phase != Phase::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_the_next_one_used() {
        let mut slots = Slots::default();
        let (a, b) = (slots.take(), slots.take());
        assert_ne!(a, b);
        slots.free(a);
        assert_eq!(slots.take(), a);
    }

    #[test]
    fn a_slot_answers_for_its_own_task_only() {
        let mut slots = Slots::default();
        let index = slots.take();
        *slots.get_mut(index).unwrap() = Slot { sequence: 5, ..Slot::default() };
        assert!(slots.of_task(index, 5).is_some());
        assert!(slots.of_task(index, 6).is_none());
        slots.free(index);
        assert!(slots.of_task(index, 5).is_none());
        assert!(slots.of_task(index, 0).is_none());
        assert!(slots.of_task(NONE, 5).is_none());
    }

    #[test]
    fn after_a_replay_the_gaps_are_free() {
        let mut slots = Slots::default();
        slots.claim(2).unwrap().phase = Phase::Ready;
        slots.rebuild_free();
        assert_eq!([slots.take(), slots.take(), slots.take()], [0, 1, 3]);
    }
}
