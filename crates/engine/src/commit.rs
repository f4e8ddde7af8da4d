//! Making frames durable: who writes, who syncs, and who waits for it.
//!
//! Writing is short and whoever needs it does it. Syncing is long: while one runs, the next batch
//! forms. A caller who is alone syncs where it is, because waking another thread takes a quarter of
//! the time a sync does; as soon as others wait too, the flusher's thread takes over.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use tidegate_core::{Operation, Result, queueing};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::log::segment::Segment;
use crate::poison::Poison;
use crate::position::Position;
use crate::shell::{Shell, Told};
use crate::{Durability, log::Chunk};

/// How far the log is written and synced, and who waits.
#[derive(Debug)]
pub(crate) struct Commit {
    durability: Durability,
    pub(crate) poison: Poison,
    written: AtomicU64,
    synced: AtomicU64,
    writer: Mutex<Writer>,
    /// Whether somebody syncs.
    syncing: AtomicBool,
    waiters: Mutex<Vec<Waiter>>,
    /// How many commands are about to answer.
    in_flight: AtomicUsize,
    crowd: Crowd,
    next_waiter: AtomicU64,
    flusher: Mutex<Option<Thread>>,
    /// Whether the flusher sleeps until it is woken.
    flusher_sleeps: AtomicBool,
}

#[derive(Debug)]
struct Writer {
    /// What the next frames are put together in.
    scratch: Vec<u8>,
    /// Segments that were written to since the last sync.
    unsynced: Vec<Arc<Segment>>,
    end: Position,
    lsn: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    needed: Position,
    waker: Waker,
}

/// How long a thread that can wait leaves the role to whoever has it.
const ROLE_PAUSE: Duration = Duration::from_millis(1);

/// A scratch buffer that grew beyond this is not kept.
const SCRATCH_BYTES_MAX: usize = 8 << 20;

impl Commit {
    /// For a log that is durable up to `end`, the end of the frame `lsn`.
    pub(crate) fn new(durability: Durability, end: Position, lsn: u64) -> Self {
        Self {
            durability,
            poison: Poison::default(),
            written: AtomicU64::new(end.as_u64()),
            synced: AtomicU64::new(end.as_u64()),
            writer: Mutex::new(Writer { scratch: Vec::new(), unsynced: Vec::new(), end, lsn }),
            syncing: AtomicBool::new(false),
            waiters: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            crowd: Crowd::default(),
            next_waiter: AtomicU64::new(1),
            flusher: Mutex::new(None),
            flusher_sleeps: AtomicBool::new(false),
        }
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    pub(crate) fn synced(&self) -> Position {
        Position::from_u64(self.synced.load(Ordering::Acquire))
    }

    /// Whether nobody writes.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_free(&self) -> bool {
        self.writer.try_lock().is_ok()
    }

    fn written(&self) -> Position {
        Position::from_u64(self.written.load(Ordering::Acquire))
    }

    /// Whether callers leave the syncing to the flusher.
    #[cfg(test)]
    pub(crate) fn knows_a_crowd(&self) -> bool {
        self.crowd.0.load(Ordering::Relaxed) > 0
    }

    /// Whether an answer that depends on `needed` may leave.
    fn is_durable(&self, needed: Position) -> bool {
        match self.durability {
            Durability::Always => self.synced() >= needed,
            Durability::Interval(_) | Durability::Never => self.written() >= needed,
        }
    }

    /// Makes everything up to `needed` written, so that a kill forgets none of it.
    pub(crate) fn write(&self, shell: &Shell, needed: Position, doing: Operation) -> Result<()> {
        if self.written() < needed {
            let mut writer = lock(&self.writer);
            if self.written() < needed {
                self.write_pending(shell, &mut writer, doing)?;
            }
        }
        self.wake_flusher_from_sleep();
        Ok(())
    }

    fn write_pending(&self, shell: &Shell, writer: &mut Writer, doing: Operation) -> Result<()> {
        self.poison.check(doing)?;
        let scratch = std::mem::take(&mut writer.scratch);
        let (chunks, end, lsn) = {
            let mut core = shell.lock();
            let chunks = core.log.take_pending(scratch);
            (chunks, core.log.end(), core.log.last_lsn())
        };
        for chunk in chunks {
            let Chunk { segment, offset, bytes } = chunk;
            if let Err(error) = segment.file.write_at(&bytes, u64::from(offset)) {
                self.fail(format!("writing segment {} of the log: {error}", segment.id));
                return self.poison.check(doing);
            }
            // WHY: what is held here is not used again, so a log that is never synced holds nothing.
            let synced = self.durability != Durability::Never;
            if synced && writer.unsynced.last().is_none_or(|last| last.id != segment.id) {
                writer.unsynced.push(segment);
            }
            if bytes.capacity() <= SCRATCH_BYTES_MAX {
                writer.scratch = bytes;
                writer.scratch.clear();
            }
        }
        (writer.end, writer.lsn) = (end, lsn);
        self.written.store(end.as_u64(), Ordering::Release);
        Ok(())
    }

    /// Writes and syncs all there is, whoever else does. For opening, closing and cleaning.
    pub(crate) fn sync_for(&self, shell: &Shell) -> Result<()> {
        while !self.try_take_sync_role() {
            std::thread::park_timeout(ROLE_PAUSE);
        }
        let synced = self.sync(shell);
        self.leave_sync_role();
        synced.map(drop)
    }

    /// Takes the role of the one who syncs, if it is free.
    pub(crate) fn try_take_sync_role(&self) -> bool {
        self.syncing.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Gives the role back, and wakes the flusher if somebody relied on it meanwhile.
    pub(crate) fn leave_sync_role(&self) {
        self.syncing.store(false, Ordering::SeqCst);
        if self.has_waiters() {
            self.wake_flusher();
        }
    }

    pub(crate) fn has_waiters(&self) -> bool {
        !lock(&self.waiters).is_empty()
    }

    /// Writes and syncs all there is, and tells whether more came meanwhile that waits for a sync. Only for
    /// whoever has the role.
    pub(crate) fn sync(&self, shell: &Shell) -> Result<bool> {
        let (segments, end, lsn) = {
            let mut writer = lock(&self.writer);
            self.write_pending(shell, &mut writer, Operation::Settle)?;
            let segments = match self.durability {
                Durability::Never => shell.lock().log.all_segments(),
                Durability::Always | Durability::Interval(_) => {
                    std::mem::take(&mut writer.unsynced)
                }
            };
            (segments, writer.end, writer.lsn)
        };
        for segment in &segments {
            if let Err(error) = segment.file.sync() {
                self.fail(format!("syncing segment {} of the log: {error}", segment.id));
                return self.poison.check(Operation::Settle).map(|()| false);
            }
        }
        self.synced.store(end.as_u64(), Ordering::SeqCst);
        let is_overtaken = {
            let mut core = shell.lock();
            core.log.note_synced(lsn);
            core.effects_end > end
        };
        self.wake_waiters(end);
        Ok(is_overtaken)
    }

    /// Poisons the log, and tells all who wait.
    pub(crate) fn fail(&self, why: String) {
        self.poison.set(why);
        self.wake_all();
    }

    /// Wakes all who wait, to see that the log is poisoned.
    pub(crate) fn wake_all(&self) {
        self.wake_waiters(Position::from_u64(u64::MAX));
    }

    fn wake_waiters(&self, up_to: Position) {
        let woken = {
            let mut waiters = lock(&self.waiters);
            let (woken, left) =
                std::mem::take(&mut *waiters).into_iter().partition(|w| w.needed <= up_to);
            *waiters = left;
            let woken: Vec<Waiter> = woken;
            woken
        };
        woken.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    /// Waits until an answer that depends on `needed` may leave.
    pub(crate) async fn durable(
        &self,
        shell: &Shell,
        needed: Position,
        doing: Operation,
    ) -> Result<()> {
        self.durable_then_told(shell, needed, doing, Told::default()).await
    }

    /// Waits until an answer that depends on `needed` may leave. Whoever waits for what became available is told
    /// when it may be handed out, if that is known here, and at once if not.
    pub(crate) async fn durable_then_told(
        &self,
        shell: &Shell,
        needed: Position,
        doing: Operation,
        told: Told,
    ) -> Result<()> {
        if self.is_durable(needed) {
            return self.poison.check(doing);
        }
        if self.durability != Durability::Always {
            drop(told);
            return self.written_by(shell, needed, doing).await;
        }
        if queueing::is_in_line() {
            self.crowd.comes();
        }
        let in_flight = InFlight::new(self);
        if in_flight.is_alone() && may_block() && !self.crowd.passes() && self.try_take_sync_role()
        {
            // WHY: told before, a receiver is woken twice, once to find that it must wait for this sync.
            let synced = if self.is_durable(needed) { Ok(false) } else { self.sync(shell) };
            self.leave_sync_role();
            drop(in_flight);
            drop(told);
            if let Ok(true) = synced {
                self.crowd.comes();
            }
            self.wake_flusher_from_sleep();
            return synced.map(drop).map_err(|error| error.during(doing));
        }
        drop(told);
        let mut number = None;
        std::future::poll_fn(|cx| self.poll_durable(cx, needed, doing, &mut number)).await
    }

    /// Waits until everything up to `needed` is written, so that a kill forgets none of it.
    pub(crate) async fn written_by(
        &self,
        shell: &Shell,
        needed: Position,
        doing: Operation,
    ) -> Result<()> {
        let in_flight = InFlight::new(self);
        if self.written() < needed && !in_flight.is_alone() {
            // WHY: whoever else is about to answer has its turn first, and one write does for all.
            futures_lite::future::yield_now().await;
        }
        self.write(shell, needed, doing)
    }

    fn poll_durable(
        &self,
        cx: &mut Context<'_>,
        needed: Position,
        doing: Operation,
        number: &mut Option<u64>,
    ) -> Poll<Result<()>> {
        if self.is_durable(needed) {
            return Poll::Ready(Ok(()));
        }
        self.register(number, needed, cx.waker());
        // WHY: after registering, or the last sync could have ended unseen.
        if self.is_durable(needed) {
            return Poll::Ready(Ok(()));
        }
        if let Err(poisoned) = self.poison.check(doing) {
            return Poll::Ready(Err(poisoned));
        }
        if !self.syncing.load(Ordering::SeqCst) {
            self.wake_flusher();
        }
        Poll::Pending
    }

    fn register(&self, number: &mut Option<u64>, needed: Position, waker: &Waker) {
        let mut waiters = lock(&self.waiters);
        let known = number.and_then(|number| waiters.iter_mut().find(|w| w.number == number));
        if let Some(same) = known {
            same.waker.clone_from(waker);
            return;
        }
        let number =
            *number.get_or_insert_with(|| self.next_waiter.fetch_add(1, Ordering::Relaxed));
        waiters.push(Waiter { number, needed, waker: waker.clone() });
    }

    /// Makes `thread` the flusher.
    pub(crate) fn set_flusher(&self, thread: Thread) {
        *lock(&self.flusher) = Some(thread);
    }

    pub(crate) fn wake_flusher(&self) {
        if let Some(flusher) = &*lock(&self.flusher) {
            flusher.unpark();
        }
    }

    /// The flusher is about to sleep until it is woken.
    pub(crate) fn flusher_sleeps(&self) {
        self.flusher_sleeps.store(true, Ordering::SeqCst);
    }

    fn wake_flusher_from_sleep(&self) {
        if self.flusher_sleeps.load(Ordering::Relaxed)
            && self.flusher_sleeps.swap(false, Ordering::SeqCst)
        {
            self.wake_flusher();
        }
    }
}

/// Whether callers come faster than syncs end. One who syncs where it is keeps its thread from them, so
/// after it was overtaken, or others stood in line for its thread, the flusher syncs for a while, even for callers
/// who are alone.
#[derive(Debug, Default)]
struct Crowd(AtomicUsize);

/// Callers for whom the flusher syncs after one was overtaken: enough that a crowd hardly ever syncs by
/// itself, and few enough that one who is alone again is soon known to be.
const CROWD: usize = 32;

impl Crowd {
    /// Somebody had something to do while a caller synced where it was.
    fn comes(&self) {
        self.0.store(CROWD, Ordering::Relaxed);
    }

    /// Whether a caller leaves the syncing to the flusher for its sake.
    fn passes(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Counts a command that is about to answer.
struct InFlight<'a>(&'a Commit);

impl<'a> InFlight<'a> {
    fn new(commit: &'a Commit) -> Self {
        commit.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(commit)
    }

    fn is_alone(&self) -> bool {
        self.0.in_flight.load(Ordering::SeqCst) == 1
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether this thread may wait for the disk: not where all other tasks would wait with it.
fn may_block() -> bool {
    match Handle::try_current() {
        Ok(runtime) => runtime.runtime_flavor() != RuntimeFlavor::CurrentThread,
        Err(_) => true,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_forgotten_after_a_while() {
        let crowd = Crowd::default();
        assert!(!crowd.passes(), "a caller who is alone from the start syncs where it is");
        crowd.comes();
        assert!((0..CROWD).all(|_| crowd.passes()));
        assert!(!crowd.passes());
    }
}
