//! Time that processes of one boot share, for histories that several of them write.

use rustix::time::{ClockId, clock_gettime};

use crate::scribe::Scribe;

/// How exact a broker's time is, in microseconds: it counts in milliseconds, rounded down twice (the
/// wall clock at the open and the time since), and a process that opens it again rounds anew. What
/// a history says of lengths is less by this, so that rounding is not taken for an early delivery.
const TICK_US: u64 = 3_000;

/// Microseconds of the machine's monotonic clock.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000 + (now.tv_nsec as u64) / 1_000
}

/// Who writes the histories of these processes.
pub(crate) const SCRIBE: Scribe = Scribe { name: |id| id.to_string(), tick_us: TICK_US };
