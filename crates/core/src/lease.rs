//! A task in a worker's hands, and what the worker decides about it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::task::Task;

/// Proof of a lease: opaque bytes that name the task and the fence of one delivery.
///
/// A token of a timed lease is good in any session and after a restart; one of a connection lease
/// only in the session that issued it. A settle or extend with a token older than the newest
/// delivery is refused as [`Settled::Lost`].
#[derive(Clone)]
pub struct LeaseToken(TokenBytes);

/// Short tokens are kept in place: one is made, copied and dropped for every delivery.
#[derive(Clone)]
enum TokenBytes {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Bytes),
}

const INLINE_BYTES: usize = 46;

impl LeaseToken {
    /// The token with these bytes, as a driver issued it.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        match Self::inline(&bytes) {
            Some(inline) => Self(inline),
            None => Self(TokenBytes::Heap(bytes)),
        }
    }

    /// The token with these bytes, copied.
    pub fn from_slice(bytes: &[u8]) -> Self {
        let heap = || TokenBytes::Heap(Bytes::copy_from_slice(bytes));
        Self(Self::inline(bytes).unwrap_or_else(heap))
    }

    fn inline(from: &[u8]) -> Option<TokenBytes> {
        let mut bytes = [0; INLINE_BYTES];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(TokenBytes::Inline { len: from.len() as u8, bytes })
    }

    /// The bytes of the token.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            TokenBytes::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            TokenBytes::Heap(bytes) => bytes,
        }
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl PartialEq for LeaseToken {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for LeaseToken {}

impl Hash for LeaseToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for LeaseToken {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LeaseToken {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// A task held until a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub task: Task,
    /// Proof of the lease, for settle and extend.
    pub token: LeaseToken,
    /// When the lease ends unless it is extended, by the broker's clock.
    pub until: Timestamp,
    /// How long that was from the moment it was handed out. Compare this, not `until`, with a
    /// clock of another machine.
    pub duration: Duration,
}

/// What the holder of a lease decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The work is done; the task is gone for good.
    Complete,
    /// The attempt failed. The task comes back after `after`, or dies when its attempts are used up.
    Retry {
        /// How long it waits.
        after: Duration,
        /// What went wrong; kept with the task.
        error: Option<String>,
    },
    /// Nothing was tried. The task comes back after `after` and the attempt does not count.
    Release {
        /// How long it waits.
        after: Duration,
    },
    /// Trying again is of no use. The task becomes a dead letter.
    DeadLetter {
        /// Why; kept with the task.
        reason: String,
    },
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Waits for its time.
    Scheduled,
    /// Waits for a worker.
    Ready,
    /// Held by a worker.
    Leased,
    /// Completed; no longer kept.
    Done,
    /// Kept as a dead letter.
    Dead,
}

impl State {
    /// The state as a word in tables, logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a settle or an extend. A lost lease is an outcome, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// It was carried out; the task is now in this state.
    Done {
        /// The state after it.
        state: State,
    },
    /// This very lease was settled before. Told for five minutes.
    AlreadyDone,
    /// The lease no longer counts; nothing was changed.
    Lost(Lost),
}

/// Why a lease no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its time ran out.
    Expired,
    /// The task was handed out again since.
    Superseded,
    /// The task is no longer there: completed by a later lease, purged, or its queue deleted.
    NotFound,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "its time ran out",
            Self::Superseded => "the task was handed out again",
            Self::NotFound => "the task is no longer there",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_its_bytes_whatever_their_number() {
        for len in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 512] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let token = LeaseToken::from_slice(&bytes);
            assert_eq!(token.as_bytes(), bytes);
            assert_eq!(token, LeaseToken::from_bytes(bytes));
        }
    }
}
