//! A task in a worker's hands, and what the worker decides about it.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::task::Task;

/// Proof of a lease: opaque bytes that name the task and the fence of one delivery.
///
/// A token of a timed lease is good in any session and after a restart; one of a connection lease
/// only in the session that issued it. A settle or extend with a token older than the newest
/// delivery is refused as [`Settled::Lost`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseToken(Bytes);

impl LeaseToken {
    /// The token with these bytes, as a driver issued it.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the token.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Expired => "its time ran out",
            Self::Superseded => "the task was handed out again",
            Self::NotFound => "the task is no longer there",
        })
    }
}
