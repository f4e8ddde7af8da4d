//! Fences, and the tokens that carry them.

use tidegate_core::LeaseToken;

const VERSION: u8 = 1;
const TOKEN_BYTES: usize = 33;
/// The golden ratio of 64 bits: an odd number whose multiples are spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits of the log sequence in a fence: 17 million million frames.
const LSN_BITS: u32 = 44;
/// Most times a directory can be opened: a million.
pub(crate) const EPOCH_MAX: u32 = (1 << (64 - LSN_BITS)) - 1;

/// What is new with every delivery: the epoch of the open and the log sequence of the lease's
/// frame, compared for equality. An epoch is synced before its first fence is given out, so that
/// none repeats even where a power cut forgot the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fence(u64);

impl Fence {
    pub(crate) const fn new(epoch: u32, lsn: u64) -> Self {
        Self((epoch as u64) << LSN_BITS | lsn)
    }

    pub(crate) const fn from_u64(value: u64) -> Self {
        Self(value)
    }

    pub(crate) const fn as_u64(self) -> u64 {
        self.0
    }

    /// The open in which it was given out.
    #[cfg(feature = "simulation")]
    pub(crate) const fn epoch(self) -> u32 {
        (self.0 >> LSN_BITS) as u32
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fenced {
    /// The number of the queue, never used twice.
    pub(crate) queue: u32,
    /// Where the task stands in the table of tasks.
    pub(crate) slot: u32,
    /// The task.
    pub(crate) sequence: u64,
    /// The delivery.
    pub(crate) fence: Fence,
}

impl Fenced {
    pub(crate) fn to_token(self) -> LeaseToken {
        let Self { queue, slot, sequence, fence } = self;
        let mut bytes = [VERSION; TOKEN_BYTES];
        let mut rest = &mut bytes[1..];
        let mut put = |number: &[u8]| {
            let (place, after) = std::mem::take(&mut rest).split_at_mut(number.len());
            place.copy_from_slice(number);
            rest = after;
        };
        put(&queue.to_le_bytes());
        put(&slot.to_le_bytes());
        put(&sequence.to_le_bytes());
        put(&fence.0.to_le_bytes());
        put(&self.check().to_le_bytes());
        LeaseToken::from_slice(&bytes)
    }

    /// Reads a token; `None` if no engine issued it.
    pub(crate) fn from_token(token: &LeaseToken) -> Option<Self> {
        let bytes: &[u8; TOKEN_BYTES] = token.as_bytes().try_into().ok()?;
        let four = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let eight = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let read =
            Self { queue: four(1)?, slot: four(5)?, sequence: eight(9)?, fence: Fence(eight(17)?) };
        (bytes.first() == Some(&VERSION) && eight(25)? == read.check()).then_some(read)
    }

    /// Tells a token from bytes that are none. Each step can be undone, so a change of one of the
    /// numbers always changes the check.
    fn check(self) -> u64 {
        let Self { queue, slot, sequence, fence } = self;
        let place = u64::from(queue) << 32 | u64::from(slot);
        [place, sequence, fence.0].into_iter().fold(u64::from(VERSION), |check, number| {
            let mixed = (check ^ number).wrapping_mul(GOLDEN);
            mixed ^ mixed >> 32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_changed_one_is_not() {
        let fenced = Fenced { queue: 7, slot: 1 << 30, sequence: 9, fence: Fence::new(3, 77) };
        let token = fenced.to_token();
        assert_eq!(Fenced::from_token(&token), Some(fenced));
        for place in 0..token.as_bytes().len() {
            for bit in 0..8 {
                let mut bytes = token.as_bytes().to_vec();
                bytes[place] ^= 1 << bit;
                assert_eq!(Fenced::from_token(&LeaseToken::from_bytes(bytes)), None);
            }
        }
        assert_eq!(Fenced::from_token(&LeaseToken::from_bytes(&b"garbage"[..])), None);
    }
}
