//! Which of the two a process is: the one that holds the engine, or one that is attached to it.

use std::sync::{Arc, OnceLock};

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tidegate_engine::Options;
use tidegate_remote::client::{Ready, RemoteDriver};

use super::holder::Holder;
use super::succession::{Found, Succession};

/// A process's part in a shared directory. Once it holds the engine it does so until it is closed.
#[derive(Debug)]
pub(super) struct Seat {
    held: Arc<OnceLock<Holder>>,
    /// `None` for one that has held the engine from the start.
    attached: Option<RemoteDriver>,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    /// To the engine in this process.
    Held(&'a Holder),
    /// To the process that holds it.
    Attached(&'a RemoteDriver),
}

impl Seat {
    /// Opens the engine, or attaches to who has.
    pub(super) async fn take(options: Options) -> Result<Self> {
        let held = Arc::new(OnceLock::new());
        let succession = Succession::new(options, held.clone());
        let attached = match succession.first().await? {
            Found::Held => None,
            Found::Attached(line) => Some(RemoteDriver::new(*line, succession)),
        };
        Ok(Self { held, attached })
    }

    /// Where a call goes now. Waits a little while the engine changes hands.
    pub(super) async fn at(&self, doing: Operation) -> Result<At<'_>> {
        if let Some(holder) = self.held.get() {
            return Ok(At::Held(holder));
        }
        if let Some(attached) = &self.attached
            && let Ready::Up(_) = attached.ready(doing).await?
        {
            return Ok(At::Attached(attached));
        }
        // INVARIANT: one that began attached needs no connection any more only when it holds the engine.
        self.held.get().map(At::Held).ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, doing, "the engine is neither here nor elsewhere")
        })
    }

    /// The engine, if it is in this process.
    pub(super) fn held(&self) -> Option<&Holder> {
        self.held.get()
    }

    /// The connection to the process that holds the engine, where this one began attached.
    pub(super) const fn attached(&self) -> Option<&RemoteDriver> {
        self.attached.as_ref()
    }
}
