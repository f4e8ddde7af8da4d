//! The server's time, as far as it can be told from here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::clock::Sleep;
use tidegate_core::{Clock, Timestamp};

/// Follows the server's clock by this machine's monotonic one, from the last time it was told.
#[derive(Clone, Debug)]
pub(crate) struct ServerClock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    origin: Instant,
    /// The server's microseconds at the origin.
    at_origin: AtomicI64,
    /// INVARIANT: `now` never answers less than it has answered before.
    last_millis: AtomicU64,
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            origin: Instant::now(),
            at_origin: AtomicI64::new(0),
            last_millis: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Microseconds since the origin, to be given to [`ServerClock::told`].
    pub(crate) fn elapsed_micros(&self) -> i64 {
        i64::try_from(self.inner.origin.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// The server said that it was `time` at some moment between two readings of `elapsed_micros`.
    pub(crate) fn told(&self, time: SystemTime, asked: i64, answered: i64) {
        let micros = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        self.inner.at_origin.store(micros - i64::midpoint(asked, answered), Ordering::Relaxed);
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        let micros =
            self.inner.at_origin.load(Ordering::Relaxed).saturating_add(self.elapsed_micros());
        let millis = u64::try_from(micros / 1_000).unwrap_or(0);
        Timestamp::from_millis(
            self.inner.last_millis.fetch_max(millis, Ordering::Relaxed).max(millis),
        )
    }

    fn sleep_until(&self, until: Timestamp) -> Sleep {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = until.since(clock.now());
                if left.is_zero() {
                    return;
                }
                // WHY: a day at most keeps the timer away from overflow when `until` is "never".
                tokio::time::sleep(left.min(Duration::from_secs(86_400))).await;
            }
        })
    }
}

/// A moment of the server as the contract tells it; the part of a millisecond is left out.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Microseconds, at most a thousand years.
pub(crate) fn micros(duration: Duration) -> i64 {
    const MOST: i64 = 1_000 * 365 * 86_400 * 1_000_000;
    i64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(MOST).min(MOST)
}
