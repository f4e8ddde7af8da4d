//! After a failed write or sync nothing of the log can be trusted: what the page cache shows may
//! not be what the disk holds. So the first failure is the last word, and nobody tries again.
//!
//! Why: <https://www.usenix.org/conference/atc20/presentation/rebello> (after a failed fsync the
//! pages are marked clean, and the next one succeeds without having written them).

use std::sync::OnceLock;

use tidegate_core::{Error, ErrorKind, Operation, Result};

/// Whether the log is poisoned, and by what.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    why: OnceLock<String>,
}

impl Poison {
    /// Poisons the log. The first reason stays.
    pub(crate) fn set(&self, why: impl Into<String>) {
        let why = self.why.get_or_init(|| why.into());
        tracing::error!(why, "the log is poisoned");
    }

    /// An error if the log is poisoned.
    pub(crate) fn check(&self, doing: Operation) -> Result<()> {
        match self.why.get() {
            None => Ok(()),
            Some(why) => {
                let why = format!(
                    "an earlier write to the disk failed ({why}), and nothing after it can be \
                     trusted; what was acknowledged before is safe: stop this process, see to the \
                     disk, and start again"
                );
                Err(Error::new(ErrorKind::Poisoned, doing, why))
            }
        }
    }
}
