//! Between callers and the state: one lock, one command at a time under it, and whoever waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};
use tidegate_core::{Error, ErrorKind, Operation, Result, Timestamp};

use crate::commit::Commit;
use crate::log::Log;
use crate::log::frame::FrameKind;
use crate::log::record::Frame;
use crate::logtime::LogTime;
use crate::position::Position;
use crate::state::State;

/// Bytes of the log that are kept back for each live task, so that it can always be settled: the
/// record of a settle and its frame.
const RESERVE_BYTES_PER_TASK: u64 = 128;
/// Segments that are kept back for cleaning and acknowledgements.
const RESERVE_SEGMENTS: u64 = 2;

/// The shell.
pub(crate) struct Shell {
    core: Mutex<Core>,
    pub(crate) commit: Commit,
    pub(crate) time: LogTime,
    /// Told when a timer is set before all others while somebody waits, and at the close.
    pub(crate) sooner: Event,
    /// Told when the janitor has something to do.
    pub(crate) janitor: Event,
    waiting: AtomicUsize,
}

/// What is under the lock.
pub(crate) struct Core {
    pub(crate) state: State,
    pub(crate) log: Log,
    /// The end of the newest frame that was more than a lease: what an answer about everything
    /// depends on.
    pub(crate) effects_end: Position,
    ready: HashMap<u32, Arc<Event>>,
    next_session: u32,
    closed: bool,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shell")
    }
}

impl Core {
    pub(crate) fn new(state: State, log: Log) -> Self {
        let effects_end = log.end();
        Self { state, log, effects_end, ready: HashMap::new(), next_session: 1, closed: false }
    }

    /// Runs a command that changes more than leases, and tells what its answer depends on.
    pub(crate) fn effect<T>(
        &mut self,
        run: impl FnOnce(&mut State, &mut Frame<'_>) -> T,
    ) -> (T, Position) {
        let Self { state, log, .. } = self;
        let before = log.end();
        let now = state.now();
        let answer = log.append(FrameKind::Command, now, |frame| run(state, frame));
        if log.end() != before {
            self.effects_end = log.end();
        }
        (answer, self.effects_end)
    }

    /// Runs a command that changes leases only, and tells where its frame ends.
    pub(crate) fn lease<T>(
        &mut self,
        run: impl FnOnce(&mut State, &mut Frame<'_>) -> T,
    ) -> (T, Position) {
        let Self { state, log, .. } = self;
        let now = state.now();
        let answer = log.append(FrameKind::Command, now, |frame| run(state, frame));
        (answer, log.end())
    }

    /// Makes sure that a frame with `body_max` bytes fits, where that is known only under the lock.
    pub(crate) fn reserve_more(&mut self, body_max: usize) -> Result<()> {
        let Self { state, log, .. } = self;
        let now = state.now();
        log.reserve(body_max, state, now).map_err(|error| no_segment(error, Operation::Settle))
    }

    /// A number for a new session. It is not one of an earlier open, whose leases may live on.
    pub(crate) fn take_session(&mut self) -> u64 {
        self.next_session += 1;
        u64::from(self.state.numbers().epoch) << 32 | u64::from(self.next_session)
    }

    /// What is told when something becomes available in the queue with this index.
    pub(crate) fn ready(&mut self, index: u32) -> Arc<Event> {
        self.ready.entry(index).or_default().clone()
    }

    /// Bytes of spare segments that only acknowledgements, deletes and cleaning may use.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        let segment = u64::from(self.log.spares.segment_bytes());
        RESERVE_SEGMENTS * segment + RESERVE_BYTES_PER_TASK * self.state.tasks()
    }

    /// Refuses a send that would use up the reserve, unless a new file makes up for it.
    pub(crate) fn admit_bytes(&mut self, bytes: u64) -> Result<()> {
        let needed = self.reserve_bytes() + bytes;
        while self.log.spares.bytes() + self.log.tail_room() < needed {
            let spares = &mut self.log.spares;
            if spares.disk_full || spares.make_one().is_err() {
                spares.disk_full = true;
                let why = "the disk is full: tasks can still be received, settled and deleted; \
                           free some space and send again";
                return Err(Error::new(ErrorKind::DiskFull, Operation::Enqueue, why));
            }
        }
        Ok(())
    }
}

impl Shell {
    pub(crate) fn new(core: Core, commit: Commit, time: LogTime) -> Self {
        Self {
            core: Mutex::new(core),
            commit,
            time,
            sooner: Event::new(),
            janitor: Event::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody holds what a command needs.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_free(&self) -> bool {
        self.core.try_lock().is_ok() && self.commit.is_free()
    }

    /// Runs one command with all that is due done before, and room for a frame with `body_max`
    /// bytes. Whoever waits for what it made available is woken.
    pub(crate) fn command<T>(
        &self,
        doing: Operation,
        body_max: usize,
        run: impl FnOnce(&mut Core) -> Result<T>,
    ) -> Result<T> {
        self.command_telling(&mut Told::default(), doing, body_max, run)
    }

    /// Runs one command as `command` does, and leaves it to `told` to wake whoever waits for what the command itself made
    /// available.
    pub(crate) fn command_telling<T>(
        &self,
        told: &mut Told,
        doing: Operation,
        body_max: usize,
        run: impl FnOnce(&mut Core) -> Result<T>,
    ) -> Result<T> {
        // Dropped last, without the lock.
        let mut due = Told::default();
        let mut core = self.lock();
        if core.closed {
            return Err(Error::new(ErrorKind::Closed, doing, "the broker was closed"));
        }
        self.commit.poison.check(doing)?;
        let now = self.time.now();
        core.state.advance(now);
        core.take_woken(&mut due);
        let timer_before = self.is_watched().then(|| core.state.next_event());
        let reserved = self.reserve(&mut core, body_max, now, doing);
        let answer = reserved.and_then(|()| run(&mut core));
        let failure = core.log.spares.take_failure();
        self.finish(core, timer_before, told);
        if let Some(why) = failure {
            self.commit.fail(why);
            self.commit.poison.check(doing)?;
        }
        answer
    }

    fn reserve(
        &self,
        core: &mut Core,
        body_max: usize,
        now: Timestamp,
        doing: Operation,
    ) -> Result<()> {
        let Core { state, log, .. } = core;
        if body_max as u64 + 1_024 > log.tail_room() {
            self.janitor.notify(1);
        }
        log.reserve(body_max, state, now).map_err(|error| no_segment(error, doing))
    }

    /// Lets go of the lock, and notes whom the command concerns.
    fn finish(
        &self,
        mut core: MutexGuard<'_, Core>,
        timer_before: Option<Option<Timestamp>>,
        told: &mut Told,
    ) {
        let core_ref = &mut *core;
        if core_ref.state.usage_ref().has_emptied() {
            core_ref.log.forget_emptied(&mut core_ref.state);
        }
        core_ref.take_woken(told);
        let sooner = timer_before.is_some_and(|before| {
            let after = core_ref.state.next_event();
            after.is_some_and(|after| before.is_none_or(|before| after < before))
        });
        drop(core);
        if sooner {
            self.sooner.notify(usize::MAX);
        }
    }

    /// Whether somebody waits for a task.
    #[cfg(test)]
    pub(crate) fn has_watchers(&self) -> bool {
        self.is_watched()
    }

    fn is_watched(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Does what is due now.
    pub(crate) fn tick(&self) {
        let mut core = self.lock();
        let now = self.time.now();
        core.state.advance(now);
        self.finish(core, None, &mut Told::default());
    }

    /// When something happens by itself next, if anybody waits for it.
    pub(crate) fn next_watched_event(&self) -> Option<Timestamp> {
        self.is_watched().then(|| self.lock().state.next_event()).flatten()
    }

    /// Counts somebody who waits for a task, as long as the guard lives.
    pub(crate) fn watch(&self) -> Watch<'_> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.sooner.notify(usize::MAX);
        }
        Watch(self)
    }

    /// Closes the log to commands and says so in it.
    pub(crate) fn close(&self) -> Result<()> {
        let mut core = self.lock();
        if std::mem::replace(&mut core.closed, true) {
            return Ok(());
        }
        let events: Vec<_> = core.ready.values().cloned().collect();
        drop(core);
        events.iter().for_each(|event| {
            event.notify(usize::MAX);
        });
        self.commit.poison.check(Operation::Close)?;
        self.commit.sync_for(self)?;
        let mut core = self.lock();
        let now = core.state.now();
        core.log.append(FrameKind::ClosingMark, now, |_| ());
        drop(core);
        self.commit.sync_for(self)
    }
}

fn no_segment(error: std::io::Error, doing: Operation) -> Error {
    let why = format!("there is no room for another segment of the log: {error}");
    Error::new(ErrorKind::DiskFull, doing, why).caused_by(error)
}

impl Core {
    /// Notes what became available, and how often.
    fn take_woken(&mut self, told: &mut Told) {
        if !self.state.has_changed() {
            return;
        }
        for (index, count) in self.state.take_changed() {
            if let Some(event) = self.ready.get(&index) {
                told.0.push((event.clone(), count));
            }
        }
    }
}

/// What became available, and for how many receivers: they are told when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<(Arc<Event>, usize)>);

impl Drop for Told {
    fn drop(&mut self) {
        for (event, count) in self.0.drain(..) {
            event.notify_additional(count);
        }
    }
}

/// Somebody waits for a task.
pub(crate) struct Watch<'a>(&'a Shell);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a receiver that found nothing listens to.
pub(crate) type ReadyListener = EventListener;
