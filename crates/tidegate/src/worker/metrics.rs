//! What a worker counts, and whom it tells.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_core::{Error, Lost, Settled, State, Task, Verdict};

/// What a worker has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Tasks handed to it.
    pub received: u64,
    /// Tasks completed.
    pub completed: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Tasks given back unharmed.
    pub released: u64,
    /// Tasks that became dead letters.
    pub dead: u64,
    /// Leases that no longer counted when they were renewed or settled.
    pub lost: u64,
    /// Attempts that panicked; they count as retried or dead too.
    pub panicked: u64,
    /// Attempts that took too long; they count as retried or dead too.
    pub timed_out: u64,
    /// Verdicts that the broker refused; such a task comes back when its lease ends.
    pub unsettled: u64,
    /// Attempts that failed with [`super::AckMode::Auto`], where nothing can be tried again.
    pub failed_unacknowledged: u64,
}

/// Something that happened to a task in a worker's hands.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A verdict was carried out.
    Settled {
        /// What was decided.
        verdict: &'a Verdict,
        /// What the broker answered.
        settled: Settled,
    },
    /// The lease no longer counts.
    Lost(Lost),
    /// The broker refused the verdict.
    Unsettled(&'a Error),
    /// The handler panicked with this text.
    Panicked(&'a str),
    /// The handler took too long.
    TimedOut,
}

/// Told of every event, on the thread where it happens: it must be quick.
pub(super) type Observer = Box<dyn Fn(&Task, Event<'_>) + Send + Sync>;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    completed: AtomicU64,
    retried: AtomicU64,
    released: AtomicU64,
    dead: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) unsettled: AtomicU64,
    pub(super) failed_unacknowledged: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl Counters {
    /// Counts a verdict that was carried out and left its task in `state`.
    pub(super) fn settled(&self, verdict: &Verdict, state: Option<State>) {
        let counter = match (verdict, state) {
            (Verdict::Complete, _) => &self.completed,
            (Verdict::DeadLetter { .. }, _) | (_, Some(State::Dead)) => &self.dead,
            (Verdict::Retry { .. }, _) => &self.retried,
            (Verdict::Release { .. }, _) => &self.released,
        };
        add(counter, 1);
    }

    /// Counts tasks that go back with the place they were received at.
    pub(super) fn given_back(&self, count: usize) {
        add(&self.released, count);
    }

    pub(super) fn snapshot(&self) -> Metrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            received: read(&self.received),
            completed: read(&self.completed),
            retried: read(&self.retried),
            released: read(&self.released),
            dead: read(&self.dead),
            lost: read(&self.lost),
            panicked: read(&self.panicked),
            timed_out: read(&self.timed_out),
            unsettled: read(&self.unsettled),
            failed_unacknowledged: read(&self.failed_unacknowledged),
        }
    }
}
