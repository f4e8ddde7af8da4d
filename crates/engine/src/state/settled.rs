//! Deliveries that are over, so that a repeated settle is told so.
//!
//! A table of fixed size, indexed by the task's sequence: the newest four deliveries of each place
//! in it are remembered, so the last hundred thousand or so of the engine.

use tidegate_core::{Lost, Settled, Timestamp, limits};

use crate::token::Fence;

const WAYS: usize = 4;
const ROWS: usize = 32_768;

const _: () = assert!(WAYS * ROWS >= limits::SETTLED_MEMORY_MAX);

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Over {
    #[default]
    Settled,
    /// Its lease ended on the last attempt and the task died of it.
    Died,
}

#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    sequence: u64,
    fence: Fence,
    at: Timestamp,
    over: Over,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct SettledMemory {
    rows: Vec<[Remembered; WAYS]>,
}

impl SettledMemory {
    pub(crate) fn remember(&mut self, sequence: u64, fence: Fence, over: Over, at: Timestamp) {
        if self.rows.is_empty() {
            self.rows = vec![[Remembered::default(); WAYS]; ROWS];
        }
        if let Some(row) = self.rows.get_mut(sequence as usize % ROWS) {
            row.copy_within(..WAYS - 1, 1);
            row[0] = Remembered { sequence, fence, at, over };
        }
    }

    /// What a settle or extend with a fence that is over answers.
    pub(crate) fn answer(&self, sequence: u64, fence: Fence, now: Timestamp) -> Option<Settled> {
        let row = self.rows.get(sequence as usize % ROWS)?;
        let found = row.iter().find(|r| r.sequence == sequence && r.fence == fence)?;
        if now >= found.at.plus(limits::SETTLED_MEMORY) {
            return None;
        }
        Some(match found.over {
            Over::Settled => Settled::AlreadyDone,
            Over::Died => Settled::Lost(Lost::Expired),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_remembered_for_its_time() {
        let mut memory = SettledMemory::default();
        let (start, fence) = (Timestamp::from_millis(1_000), Fence::new(1, 2));
        assert_eq!(memory.answer(9, fence, start), None);
        memory.remember(9, fence, Over::Settled, start);
        memory.remember(9, Fence::new(1, 3), Over::Died, start);
        assert_eq!(memory.answer(9, fence, start), Some(Settled::AlreadyDone));
        assert_eq!(memory.answer(9, Fence::new(1, 3), start), Some(Settled::Lost(Lost::Expired)));
        assert_eq!(memory.answer(9, Fence::new(1, 4), start), None);
        assert_eq!(memory.answer(9, fence, start.plus(limits::SETTLED_MEMORY)), None);
    }
}
