//! The thread that syncs for those who wait, syncs leases within 10 ms, and marks a quiet log as
//! synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tidegate_core::Operation;

use crate::Durability;
use crate::log::frame::FrameKind;
use crate::position::Position;
use crate::shell::Shell;

/// A lease record is synced at the latest this long after it was written.
const LEASE_SYNC: Duration = Duration::from_millis(10);

/// Syncs until `stop` is set.
pub(crate) fn run(shell: &Arc<Shell>, stop: &AtomicBool) {
    shell.commit.set_flusher(thread::current());
    let mut flusher = Flusher::new(shell.commit.durability());
    while !stop.load(Ordering::SeqCst) {
        match flusher.step(shell) {
            Rest::None => {}
            Rest::AtMost(pause) => thread::park_timeout(pause),
            Rest::UntilWoken => thread::park(),
        }
    }
}

/// What the thread does after a step. It may be woken from either rest at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    None,
    AtMost(Duration),
    UntilWoken,
}

/// What the flusher knows from one step to the next.
#[derive(Debug)]
pub(crate) struct Flusher {
    /// How long it leaves a log alone for which nobody waits.
    pause: Duration,
    /// Whether the last step ended with that pause.
    paused: bool,
    quiet: Quiet,
}

impl Flusher {
    pub(crate) fn new(durability: Durability) -> Self {
        let pause = match durability {
            Durability::Always => LEASE_SYNC,
            Durability::Interval(interval) => interval,
            Durability::Never => Duration::from_secs(3_600),
        };
        Self { pause, paused: false, quiet: Quiet::default() }
    }

    /// Does what is next: syncs for those who wait, or after a pause for nobody.
    pub(crate) fn step(&mut self, shell: &Shell) -> Rest {
        let paused = std::mem::take(&mut self.paused);
        if shell.commit.poison.check(Operation::Settle).is_err() {
            shell.commit.wake_all();
            return Rest::UntilWoken;
        }
        if shell.commit.has_waiters() {
            if !shell.commit.try_take_sync_role() {
                return Rest::AtMost(LEASE_SYNC);
            }
            // WHY: a failure is in the poison, where all see it.
            let _ = shell.commit.sync(shell);
            shell.commit.leave_sync_role();
            return Rest::None;
        }
        if !self.quiet.is_over(shell) {
            shell.commit.flusher_sleeps();
            // WHY: again, or what was appended before the line above would stay unseen.
            return if self.quiet.is_over(shell) { Rest::None } else { Rest::UntilWoken };
        }
        if paused {
            self.quiet.step(shell);
            return Rest::None;
        }
        self.paused = true;
        Rest::AtMost(self.pause)
    }
}

/// What the flusher does while nobody waits.
#[derive(Debug, Default)]
struct Quiet {
    /// The end of the log when everything up to it was synced and marked.
    marked: Position,
    last_seen: Position,
}

impl Quiet {
    /// Whether something was appended since the log was marked.
    fn is_over(&self, shell: &Shell) -> bool {
        shell.lock().log.end() != self.marked
    }

    /// Syncs what is not synced; marks a log in which nothing has happened since the last step.
    fn step(&mut self, shell: &Shell) {
        if shell.commit.durability() == Durability::Never {
            self.marked = shell.lock().log.end();
            return;
        }
        let end = shell.lock().log.end();
        if shell.commit.synced() < end {
            if shell.commit.try_take_sync_role() {
                let _ = shell.commit.sync(shell);
                shell.commit.leave_sync_role();
            }
            self.last_seen = end;
            return;
        }
        if std::mem::replace(&mut self.last_seen, end) == end {
            self.marked = mark(shell, end);
        }
    }
}

/// Appends a mark at `end` and tells where the log ends then.
fn mark(shell: &Shell, end: Position) -> Position {
    let mut core = shell.lock();
    let now = core.state.now();
    let has_room = core.log.tail_room() > 1_024;
    if core.log.end() == end && has_room {
        core.log.append(FrameKind::IdleMark, now, |_| ());
    }
    let marked = core.log.end();
    drop(core);
    let _ = shell.commit.write(shell, marked, Operation::Settle);
    marked
}
