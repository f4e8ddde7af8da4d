//! Time that processes of one boot share, for histories that several of them write.

use rustix::time::{ClockId, clock_gettime};

/// How exact a broker's time is, in microseconds: it counts in milliseconds, rounded down twice (the
/// wall clock at the open and the time since), and a process that opens it again rounds anew. What
/// a history says of lengths is less by this, so that rounding is not taken for an early delivery.
pub(crate) const TICK_US: u64 = 3_000;

/// Microseconds of the machine's monotonic clock.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000 + (now.tv_nsec as u64) / 1_000
}

/// A length as a history should have it: no longer than the broker may make it.
pub(crate) fn at_least_us(length: std::time::Duration) -> u64 {
    (length.as_micros() as u64).saturating_sub(TICK_US)
}
