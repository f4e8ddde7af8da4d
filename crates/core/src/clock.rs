//! Time as an argument: a clock is handed in, so that tests move it and nobody sleeps.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last moment that can be told; used as "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `millis` milliseconds after 1970-01-01 UTC.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment and `by` later, at most [`Timestamp::MAX`]. A part of a millisecond counts as a
    /// whole one, so that nothing is ever early.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis_ceil(by)))
    }

    /// Time from `earlier` until this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

fn millis_ceil(by: Duration) -> u64 {
    u64::try_from(by.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A future that ends when a clock has reached a moment. Dropping it forgets the wait.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time comes from. Never runs backwards within a process.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current moment.
    fn now(&self) -> Timestamp;

    /// Ends once [`Clock::now`] has reached `until`. Dropping it forgets the wait.
    fn sleep_until(&self, until: Timestamp) -> Sleep;
}

/// The machine's time: the wall clock read once, then moved on by the monotonic clock, so that a
/// step of the wall clock neither ends a lease early nor keeps one alive.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
    origin_wall: Timestamp,
}

impl SystemClock {
    /// Reads the wall clock now and follows the monotonic clock from here on.
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), origin_wall: Timestamp(wall.as_millis() as u64) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // WHY: rounded down, so that a deadline is never seen as reached before it is.
        Timestamp(self.origin_wall.0.saturating_add(self.origin.elapsed().as_millis() as u64))
    }

    fn sleep_until(&self, until: Timestamp) -> Sleep {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = until.since(clock.now());
                if left.is_zero() {
                    return;
                }
                // WHY: a timer may fire a hair early; a day at most keeps the timer's own
                // arithmetic away from overflow when `until` is "never".
                futures_timer::Delay::new(left.min(Duration::from_secs(86_400))).await;
            }
        })
    }
}

/// A clock that stands still until it is told to move. Clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

#[derive(Debug)]
struct Manual {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
    next_sleeper: u64,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        let inner = Manual { now: start, sleepers: BTreeMap::new(), next_sleeper: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A clock that stands at 2026-01-01 00:00 UTC.
    pub fn new() -> Self {
        Self::starting_at(Timestamp(1_767_225_600_000))
    }

    /// Moves the clock and wakes whoever waited for a moment that has now come.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut inner = self.lock();
            inner.now = inner.now.plus(by);
            let first_later = (Timestamp(inner.now.0.saturating_add(1)), 0);
            let later = inner.sleepers.split_off(&first_later);
            std::mem::replace(&mut inner.sleepers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// The earliest moment somebody waits for, if anybody waits.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.lock().sleepers.keys().next().map(|(at, _)| *at)
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn sleep_until(&self, until: Timestamp) -> Sleep {
        Box::pin(ManualSleep { clock: self.clone(), until, place: None })
    }
}

struct ManualSleep {
    clock: ManualClock,
    until: Timestamp,
    place: Option<(Timestamp, u64)>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut inner = clock.lock();
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or_else(|| {
            inner.next_sleeper += 1;
            (self.until, inner.next_sleeper)
        });
        self.place = Some(place);
        inner.sleepers.insert(place, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.clock.lock().sleepers.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole_one() {
        let start = Timestamp::from_millis(10);
        assert_eq!(start.plus(Duration::from_micros(1)), Timestamp::from_millis(11));
        assert_eq!(start.plus(Duration::from_millis(1)), Timestamp::from_millis(11));
        assert_eq!(start.plus(Duration::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_manual_clock_wakes_only_those_whose_moment_has_come() {
        let clock = ManualClock::new();
        let mut soon = clock.sleep_until(clock.now().plus(Duration::from_secs(1)));
        let mut late = clock.sleep_until(clock.now().plus(Duration::from_secs(9)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(soon.as_mut().poll(&mut cx).is_pending());
        assert!(late.as_mut().poll(&mut cx).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(soon.as_mut().poll(&mut cx).is_ready());
        assert!(late.as_mut().poll(&mut cx).is_pending());
        drop(late);
        assert_eq!(clock.next_wake(), None);
    }

    #[test]
    fn the_system_clock_does_not_end_a_sleep_early() {
        let clock = SystemClock::new();
        let until = clock.now().plus(Duration::from_millis(5));
        let mut sleep = clock.sleep_until(until);
        let mut cx = Context::from_waker(Waker::noop());
        while sleep.as_mut().poll(&mut cx).is_pending() {
            std::thread::yield_now();
        }
        assert!(clock.now() >= until);
    }
}
