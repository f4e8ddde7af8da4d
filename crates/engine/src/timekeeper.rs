//! The thread that does what is due while receivers wait for it. Without receivers nobody needs
//! it: every command does first what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::{block_on, or};

use crate::shell::Shell;

/// Ticks until `stop` is set.
pub(crate) fn run(shell: &Arc<Shell>, stop: &AtomicBool) {
    loop {
        let sooner = shell.sooner.listen();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        match shell.next_watched_event() {
            None => block_on(sooner),
            Some(at) => block_on(or(sooner, shell.time.sleep_until(at))),
        }
        step(shell);
    }
}

/// Does what is due now, if anybody waits for it.
pub(crate) fn step(shell: &Shell) {
    if shell.next_watched_event().is_some_and(|at| at <= shell.time.now()) {
        shell.tick();
    }
}
