//! Durations as whole microseconds, moments as milliseconds.

use std::time::Duration;

/// Microseconds of a duration, rounded up so that none becomes zero.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// The duration of so many microseconds.
pub(crate) const fn duration(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_microsecond_counts_as_a_whole_one() {
        assert_eq!(micros(Duration::ZERO), 0);
        assert_eq!(micros(Duration::from_nanos(1)), 1);
        assert_eq!(micros(Duration::from_nanos(1_001)), 2);
        assert_eq!(micros(Duration::MAX), u64::MAX);
        assert_eq!(duration(micros(Duration::from_millis(7))), Duration::from_millis(7));
    }
}
