//! The slots of a worker: one for every task at work. A free slot is the credit to receive one
//! task more, and a taken one is a lease that the heartbeat keeps alive until it is settled.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::{Event, EventListener};
use tidegate_core::Timestamp;
use tokio::task::AbortHandle;

use crate::context::Context;

/// The longest the heartbeat sleeps. A lease that is due for its first renewal later than this (one
/// of 15 s and more) need not wake it, which spares a worker with little to do a hop per task.
const SLEEP_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Slots {
    inner: Mutex<Inner>,
    /// Told when slots become free.
    freed: Event,
    heartbeat_interval: Duration,
}

#[derive(Debug)]
struct Inner {
    slots: Vec<Option<Held>>,
    free: Vec<usize>,
    /// Free slots that a receive under way may fill.
    reserved: usize,
    /// How often slots were filled.
    fills: u64,
    /// When the heartbeat looks next.
    heartbeat_at: Timestamp,
}

#[derive(Debug)]
struct Held {
    context: Context,
    /// The index of the queue it came from.
    place: usize,
    /// Whether the lease is over when the task is received, and nothing is to be renewed.
    settled: bool,
    renewing: bool,
    /// After a failed renewal, when to try again.
    not_before: Timestamp,
    abort: Option<AbortHandle>,
}

/// A lease that is due for renewal, and its slot.
#[derive(Clone)]
pub(super) struct Renewal {
    pub(super) slot: usize,
    pub(super) place: usize,
    pub(super) context: Context,
}

impl Slots {
    pub(super) fn new(count: usize, heartbeat_interval: Duration) -> Self {
        let inner = Inner {
            slots: std::iter::repeat_with(|| None).take(count).collect(),
            free: (0..count).rev().collect(),
            reserved: 0,
            fills: 0,
            heartbeat_at: Timestamp::MAX,
        };
        Self { inner: Mutex::new(inner), freed: Event::new(), heartbeat_interval }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets up to `most` free slots aside, none if none is free.
    pub(super) fn reserve(&self, most: usize) -> usize {
        let mut inner = self.lock();
        let credit = (inner.free.len() - inner.reserved).min(most);
        inner.reserved += credit;
        credit
    }

    /// Gives back slots that were set aside.
    pub(super) fn unreserve(&self, count: usize) {
        self.lock().reserved -= count;
        self.freed.notify(usize::MAX);
    }

    /// Told when slots become free. Listen before looking.
    pub(super) fn listen(&self) -> EventListener {
        self.freed.listen()
    }

    /// Tasks in slots.
    pub(super) fn held(&self) -> usize {
        self.busy().0
    }

    /// Tasks in slots, and how often slots were filled.
    pub(super) fn busy(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.slots.len() - inner.free.len(), inner.fills)
    }

    /// Puts tasks into slots that were set aside for them. Tells their slots, in order, and whether
    /// the heartbeat must look sooner than it means to.
    pub(super) fn fill(
        &self,
        contexts: &[Context],
        place: usize,
        settled: bool,
    ) -> (Vec<usize>, bool) {
        let mut inner = self.lock();
        let mut filled = Vec::with_capacity(contexts.len());
        let mut soonest = Timestamp::MAX;
        for context in contexts {
            // INVARIANT: never more contexts than slots set aside; receive keeps to its limit.
            let Some(slot) = inner.free.pop() else {
                break;
            };
            let held = Held {
                context: context.clone(),
                place,
                settled,
                renewing: false,
                not_before: Timestamp::default(),
                abort: None,
            };
            soonest = soonest.min(held.look_at(self.heartbeat_interval));
            if let Some(place) = inner.slots.get_mut(slot) {
                *place = Some(held);
            }
            filled.push(slot);
        }
        inner.reserved = inner.reserved.saturating_sub(filled.len());
        inner.fills += 1;
        let sooner = soonest < inner.heartbeat_at;
        (filled, sooner)
    }

    /// Frees slots.
    pub(super) fn free(&self, slots: impl IntoIterator<Item = usize>) {
        let mut inner = self.lock();
        for slot in slots {
            if inner.slots.get_mut(slot).and_then(Option::take).is_some() {
                inner.free.push(slot);
            }
        }
        drop(inner);
        self.freed.notify(usize::MAX);
    }

    /// Notes how the work in a slot is ended from outside, unless it has ended already.
    pub(super) fn set_abort(&self, slot: usize, context: &Context, abort: AbortHandle) {
        let mut inner = self.lock();
        let held = inner.slots.get_mut(slot).and_then(Option::as_mut);
        if let Some(held) = held.filter(|held| held.context.is_same(context)) {
            held.abort = Some(abort);
        }
    }

    /// Cancels every task whose lease is about to end, marks those that are due as being renewed
    /// and returns them with the moment to look again.
    pub(super) fn due(&self, now: Timestamp) -> (Vec<Renewal>, Timestamp) {
        let mut inner = self.lock();
        let mut due = Vec::new();
        let mut next = now.plus(SLEEP_MAX);
        for (slot, held) in inner.slots.iter_mut().enumerate() {
            let Some(held) = held.as_mut().filter(|held| !held.settled) else {
                continue;
            };
            if held.cancel_at() <= now {
                held.context.cancel();
            }
            if !held.renewing && held.renew_at(self.heartbeat_interval) <= now {
                held.renewing = true;
                due.push(Renewal { slot, place: held.place, context: held.context.clone() });
            }
            next = next.min(held.look_at(self.heartbeat_interval));
        }
        inner.heartbeat_at = next;
        (due, next)
    }

    /// Whether the attempt is still in its slot.
    pub(super) fn holds(&self, slot: usize, context: &Context) -> bool {
        let inner = self.lock();
        let held = inner.slots.get(slot).and_then(Option::as_ref);
        held.is_some_and(|held| held.context.is_same(context))
    }

    /// Ends a renewal; where it failed, it is tried again at `not_before`.
    pub(super) fn renewed(&self, slot: usize, context: &Context, not_before: Timestamp) {
        let mut inner = self.lock();
        let held = inner.slots.get_mut(slot).and_then(Option::as_mut);
        if let Some(held) = held.filter(|held| held.context.is_same(context)) {
            held.renewing = false;
            held.not_before = not_before;
        }
    }

    /// Asks every handler to stop.
    pub(super) fn cancel_all(&self) {
        let inner = self.lock();
        inner.slots.iter().flatten().for_each(|held| held.context.cancel());
    }

    /// Ends all work whose outcome is not under way yet, and returns its slots. They stay taken until
    /// they are freed.
    pub(super) fn abandon(&self) -> Vec<usize> {
        let mut inner = self.lock();
        let mut left = Vec::new();
        for (slot, held) in inner.slots.iter_mut().enumerate() {
            let Some(held) = held.as_mut().filter(|held| held.context.abandon()) else {
                continue;
            };
            if let Some(abort) = held.abort.take() {
                abort.abort();
            }
            left.push(slot);
        }
        left
    }
}

impl Held {
    /// When the lease is renewed: a third of it after it was given, or the heartbeat's interval.
    fn renew_at(&self, heartbeat_interval: Duration) -> Timestamp {
        if self.context.is_lost() {
            return Timestamp::MAX;
        }
        let lease = self.context.lease();
        let period = (lease / 3).min(heartbeat_interval).max(Duration::from_millis(1));
        let left_then = lease.saturating_sub(period);
        before(self.context.until(), left_then).max(self.not_before)
    }

    /// When its handler is told to stop though nobody said that the lease is lost: a tenth before
    /// it ends.
    fn cancel_at(&self) -> Timestamp {
        before(self.context.until(), self.context.lease() / 10)
    }

    fn look_at(&self, heartbeat_interval: Duration) -> Timestamp {
        let renew_at = match self.renewing || self.settled {
            true => Timestamp::MAX,
            false => self.renew_at(heartbeat_interval),
        };
        match self.settled || self.context.is_cancelled() {
            true => renew_at,
            false => renew_at.min(self.cancel_at()),
        }
    }
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(by))
}
