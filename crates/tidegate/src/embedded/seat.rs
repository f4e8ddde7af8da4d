//! Which of the two a process is: the one that holds the engine, or one that is attached to it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate_core::{Admin, Driver, Error, ErrorKind, Inspect, Operation, Result};
use tidegate_engine::Options;
use tidegate_remote::client::{Line, Ready, RemoteDriver};

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
#[derive(Clone, Debug)]
pub(super) enum At<'a> {
    /// To the engine in this process.
    Held(&'a Holder),
    /// To the process that holds it, on this line.
    Attached(&'a RemoteDriver, Arc<Line>),
}

/// A call under way.
pub(super) type Calling<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// How soon after a call fails its line is known to be over, if that was why.
const FALL: Duration = Duration::from_secs(1);

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
            && let Ready::Up(line) = attached.ready(doing).await?
        {
            return Ok(At::Attached(attached, line));
        }
        // INVARIANT: one that began attached needs no connection any more only when it holds the engine.
        self.held.get().map(At::Held).ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, doing, "the engine is neither here nor elsewhere")
        })
    }

    /// Makes a call that does no harm when it is carried out twice: if its holder dies under it, it is
    /// made again at the next one.
    pub(super) async fn answered<'a, T>(
        &'a self,
        doing: Operation,
        call: impl Fn(&At<'a>) -> Result<Calling<'a, T>> + Send,
    ) -> Result<T> {
        loop {
            let at = self.at(doing).await?;
            let done = call(&at)?.await;
            let At::Attached(_, line) = at else { return done };
            let lost = matches!(&done, Err(error) if error.kind() == ErrorKind::Unavailable);
            if !lost || tokio::time::timeout(FALL, line.ended()).await.is_err() {
                return done;
            }
        }
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

impl<'a> At<'a> {
    pub(super) fn driver(&self) -> &'a dyn Driver {
        match self {
            Self::Held(holder) => &**holder.driver(),
            Self::Attached(remote, _) => *remote,
        }
    }

    pub(super) fn inspect(&self) -> Result<&'a dyn Inspect> {
        Ok(match self {
            Self::Held(holder) => &**holder.broker().inspect()?,
            Self::Attached(remote, _) => *remote,
        })
    }

    pub(super) fn admin(&self) -> Result<&'a dyn Admin> {
        Ok(match self {
            Self::Held(holder) => &**holder.broker().admin()?,
            Self::Attached(remote, _) => *remote,
        })
    }
}
