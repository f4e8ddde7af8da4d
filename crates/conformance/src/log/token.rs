//! Tokens of the log: which record, handed out by which session, in which delivery.

use tidegate_core::LeaseToken;
use tidegate_core::routing::fnv1a_32;

const BODY_BYTES: usize = 40;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fenced {
    pub(super) queue: u64,
    pub(super) session: u64,
    pub(super) at: Place,
    pub(super) fence: u64,
}

/// Where a record lies in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) partition: u32,
    pub(super) offset: u64,
}

impl Fenced {
    pub(super) fn to_token(self) -> LeaseToken {
        let Self { queue, session, at: Place { partition, offset }, fence } = self;
        let numbers = [queue, session, u64::from(partition), offset, fence];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend_from_slice(&fnv1a_32(&bytes).to_le_bytes());
        LeaseToken::from_bytes(bytes)
    }

    /// Reads a token; `None` if no log issued it.
    pub(super) fn from_token(token: &LeaseToken) -> Option<Self> {
        let (body, sum) = token.as_bytes().split_at_checked(BODY_BYTES)?;
        if sum != fnv1a_32(body).to_le_bytes() {
            return None;
        }
        let mut numbers = body.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
        let mut next = || numbers.next().map(u64::from_le_bytes);
        let (queue, session) = (next()?, next()?);
        let at = Place { partition: u32::try_from(next()?).ok()?, offset: next()? };
        Some(Self { queue, session, at, fence: next()? })
    }
}
