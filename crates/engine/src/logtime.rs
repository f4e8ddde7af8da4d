//! The log's time: it goes on where it stopped, whatever happened to the wall clock meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::clock::Sleep;
use tidegate_core::{Clock, Timestamp};

/// While the wall clock is behind the log, the log's time runs slower by this part, until the two
/// agree: 1 in 10.
const SLEW_PART: u64 = 10;

/// A clock that is never behind the log.
#[derive(Clone, Debug)]
pub(crate) struct LogTime {
    clock: Arc<dyn Clock>,
    opened_at: Timestamp,
    /// How far the wall clock was behind the log at the open, in milliseconds.
    behind_ms: u64,
}

impl LogTime {
    /// The time of a log whose last frame was written at `last`.
    pub(crate) fn new(clock: Arc<dyn Clock>, last: Timestamp) -> Self {
        let opened_at = clock.now();
        let behind = last.since(opened_at);
        if behind > Duration::from_secs(1) {
            tracing::warn!(
                behind_ms = behind.as_millis() as u64,
                "the wall clock is behind the log: it was set back; time goes on from the log and \
                 runs slower by a tenth until they agree"
            );
        }
        Self { clock, opened_at, behind_ms: behind.as_millis() as u64 }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let passed = now.since(self.opened_at).as_millis() as u64;
        now.plus(Duration::from_millis(self.behind_ms.saturating_sub(passed / SLEW_PART)))
    }

    /// Ends when the log's time has reached `until`.
    pub(crate) async fn sleep_until(&self, until: Timestamp) {
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            self.nap(left).await;
        }
    }

    fn nap(&self, by: Duration) -> Sleep {
        self.clock.sleep_until(self.clock.now().plus(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ManualClock;

    #[test]
    fn time_goes_on_after_the_wall_clock_was_set_back() {
        let clock = ManualClock::new();
        let last = clock.now().plus(Duration::from_secs(100));
        let time = LogTime::new(Arc::new(clock.clone()), last);
        assert_eq!(time.now(), last);
        clock.advance(Duration::from_secs(10));
        assert_eq!(time.now(), last.plus(Duration::from_secs(9)));
        clock.advance(Duration::from_secs(2_000));
        assert_eq!(time.now(), clock.now());
    }

    #[test]
    fn time_is_the_clock_s_where_it_is_ahead() {
        let clock = ManualClock::new();
        let time = LogTime::new(Arc::new(clock.clone()), Timestamp::from_millis(5));
        assert_eq!(time.now(), clock.now());
    }
}
