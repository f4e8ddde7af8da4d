//! What the clients of one process work on.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_lite::future::yield_now;
use tidegate_core::{Broker, Clock, Error, ErrorKind};

use super::book::Book;

/// One process's broker and the book.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) book: Arc<Book>,
    pub(crate) payload_bytes_max: usize,
    /// Whether the disk may fail: then errors that say so are no news.
    pub(crate) may_fail: bool,
    /// Whether a power cut may take anything: then queues may be missing.
    pub(crate) may_forget: bool,
    /// Whether sends are carried out in the order in which they are begun.
    pub(crate) in_order: bool,
}

/// Why a client stopped.
pub(crate) type Failure = Error;

impl Stage {
    /// Lets others go on, for up to so many milliseconds.
    pub(crate) async fn pause(&self, rng: &mut Rng, ms_max: u64) {
        if rng.bool() {
            return yield_now().await;
        }
        let clock = &self.book.clock;
        clock.sleep_until(clock.now().plus(Duration::from_millis(rng.u64(0..ms_max)))).await;
    }

    /// A client stopped: with an error that this machine explains, or it is a violation.
    pub(crate) fn failed(&self, client: &str, error: &Error) {
        if !self.book.machine.is_running() {
            return;
        }
        self.book.trace.line(format_args!("{client} stops: {error}"));
        let explained = match error.kind() {
            ErrorKind::Poisoned | ErrorKind::DiskFull => self.may_fail,
            ErrorKind::NotFound => self.may_forget,
            _ => false,
        };
        if !explained {
            self.book.violation(format_args!("{client} met an error nothing explains: {error:?}"));
        }
        let text = error.to_string();
        if text.is_empty() || text.contains("Error {") || text.contains("Os {") {
            self.book.violation(format_args!("an error that is not for people: {text}"));
        }
    }
}
