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
    let mut quiet = Quiet::default();
    let pause = match shell.commit.durability() {
        Durability::Always => LEASE_SYNC,
        Durability::Interval(interval) => interval,
        Durability::Never => Duration::from_secs(3_600),
    };
    while !stop.load(Ordering::SeqCst) {
        if shell.commit.poison.check(Operation::Settle).is_err() {
            shell.commit.wake_all();
            thread::park();
            continue;
        }
        if shell.commit.has_waiters() {
            if shell.commit.try_take_sync_role() {
                // WHY: a failure is in the poison, where all see it.
                let _ = shell.commit.sync(shell);
                shell.commit.leave_sync_role();
                continue;
            }
            thread::park_timeout(LEASE_SYNC);
            continue;
        }
        if quiet.is_over(shell) {
            thread::park_timeout(pause);
            if !shell.commit.has_waiters() {
                quiet.step(shell);
            }
        } else {
            shell.commit.flusher_sleeps();
            // WHY: again, or what was appended before the line above would stay unseen.
            if !quiet.is_over(shell) && !stop.load(Ordering::SeqCst) {
                thread::park();
            }
        }
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
