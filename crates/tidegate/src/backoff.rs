//! Waiting a little longer each time, by the broker's clock.

use std::time::Duration;

use tidegate_core::{Clock, Timestamp};

/// The pauses between tries of something that failed: each up to twice the one before, spread so
/// that those who failed together do not return together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses from about `first` up to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The next pause: the whole of what it grew to, or down to half of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.longest);
        pause.max(Duration::from_millis(1))
    }

    /// Pauses, but not beyond `until`.
    pub(crate) async fn wait(&mut self, clock: &dyn Clock, until: Timestamp) {
        let end = clock.now().plus(self.pause());
        clock.sleep_until(end.min(until)).await;
    }
}
