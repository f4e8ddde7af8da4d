//! Who comes next: whoever gets the lock opens the engine, all others attach.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{Broker, Error, ErrorKind, Result};
use tidegate_engine::Options;
use tidegate_remote::client::{Line, Redial, Target};

use super::holder::{Holder, socket_of};

/// How long an open waits for a process that has the lock and does not answer: one that is starting,
/// or ending.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two tries, spread so that all who are attached do not try at once.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the engine or finds who has it.
#[derive(Debug)]
pub(super) struct Succession {
    options: Options,
    held: Arc<OnceLock<Holder>>,
}

/// What a try has found.
pub(super) enum Found {
    /// The engine is in this process now.
    Held,
    /// Another process has it and answers.
    Attached(Box<Line>),
}

impl Succession {
    pub(super) const fn new(options: Options, held: Arc<OnceLock<Holder>>) -> Self {
        Self { options, held }
    }

    /// The first place of a process.
    pub(super) async fn first(&self) -> Result<Found> {
        let clock = &self.options.clock;
        let begun = clock.now();
        loop {
            match self.one_try().await {
                Err(error)
                    if is_a_matter_of_time(&error) && clock.now().since(begun) < PATIENCE =>
                {
                    pause().await;
                }
                found => return found,
            }
        }
    }

    async fn one_try(&self) -> Result<Found> {
        match open(self.options.clone()).await {
            Ok(broker) => {
                let holder = Holder::new(broker, &self.options.path).await;
                // INVARIANT: set once: only a process without the lock tries to get it.
                let _ = self.held.set(holder);
                Ok(Found::Held)
            }
            Err(locked) if locked.kind() == ErrorKind::Locked => {
                let target = Target::unix(socket_of(&self.options.path));
                let line = Line::dial(&target).await;
                line.map(|line| Found::Attached(Box::new(line)))
                    .map_err(|silent| locked.caused_by(silent))
            }
            Err(error) => Err(error),
        }
    }
}

/// Opens the engine off the runtime's own threads: it reads the whole log.
async fn open(options: Options) -> Result<Broker> {
    let opened = tokio::task::spawn_blocking(move || {
        futures_lite::future::block_on(tidegate_engine::open(options))
    });
    opened.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

fn is_a_matter_of_time(error: &Error) -> bool {
    error.kind() == ErrorKind::Locked
}

async fn pause() {
    tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
}

#[async_trait]
impl Redial for Succession {
    async fn redial(&self) -> Option<Line> {
        let mut last = None;
        loop {
            match self.one_try().await {
                Ok(Found::Held) => {
                    tracing::info!(path = %self.options.path.display(), "this process holds the queues now");
                    return None;
                }
                Ok(Found::Attached(line)) => return Some(*line),
                // WHY: told once, not fifty times a second.
                Err(error) if !is_a_matter_of_time(&error) && last != Some(error.kind()) => {
                    last = Some(error.kind());
                    tracing::error!(%error, "the queues cannot be opened in the place of who held them");
                }
                Err(_) => {}
            }
            pause().await;
        }
    }
}
