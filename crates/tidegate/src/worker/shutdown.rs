//! The end of a worker: it stops receiving, runs the users' hooks, drains, and gives back what is
//! left so that others get it at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event_listener::Event;
use tidegate_core::{Clock, Error, Held, Timestamp};

use super::Shared;
use super::metrics::{Counters, Metrics};

/// What a user wants done when the worker stops.
pub(super) type Hook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Stops a worker and tells what it did. Cheap to clone; works before, during and after the run.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) shutdown: Arc<Shutdown>,
    pub(super) counters: Arc<Counters>,
}

impl Control {
    /// Shuts the worker down gracefully: it stops receiving, runs the hooks and waits for its
    /// handlers up to the graceful timeout. Returns at once.
    pub fn stop(&self) {
        self.shutdown.begin(Stage::Draining);
    }

    /// Ends the wait for handlers: they are cancelled, and what they do not finish is given back.
    pub fn hurry(&self) {
        self.shutdown.begin(Stage::Hurried);
    }

    /// What the worker has done since its start.
    pub fn metrics(&self) -> Metrics {
        self.counters.snapshot()
    }
}

/// How far the end of a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Running,
    /// Nothing more is received; handlers go on.
    Draining,
    /// Handlers are no longer waited for.
    Hurried,
    /// Nothing is tried again any more.
    Over,
}

#[derive(Debug)]
pub(super) struct Shutdown {
    stage: AtomicU8,
    changed: Event,
    error: Mutex<Option<Error>>,
}

impl Shutdown {
    pub(super) fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Running as u8),
            changed: Event::new(),
            error: Mutex::default(),
        }
    }

    /// Goes on to a stage, never back.
    pub(super) fn begin(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
        self.changed.notify(usize::MAX);
    }

    /// Begins the end because of an error, which the worker returns.
    pub(super) fn fail(&self, error: Error) {
        let mut kept = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(error);
        drop(kept);
        self.begin(Stage::Draining);
    }

    pub(super) fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Ends once the stage is reached.
    pub(super) async fn reached(&self, stage: Stage) {
        loop {
            let told = self.changed.listen();
            if self.is_at(stage) {
                return;
            }
            told.await;
        }
    }
}

/// From here on, signals no longer kill the process.
pub(super) fn catch_signals() -> Option<Terminations> {
    let caught = Terminations::new();
    caught.inspect_err(|error| tracing::warn!(%error, "signals cannot be heeded")).ok()
}

/// Begins the end at the first SIGTERM or Ctrl-C and hurries it at the second.
pub(super) async fn heed(mut terminations: Terminations, shared: Arc<Shared>) {
    terminations.next().await;
    tracing::info!("shutting down; a second signal ends the wait for handlers");
    shared.shutdown.begin(Stage::Draining);
    terminations.next().await;
    shared.shutdown.begin(Stage::Hurried);
}

pub(super) struct Terminations {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Terminations {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Terminations {
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        // Where Ctrl-C cannot be caught, only the program itself stops the worker.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Carries the end out, from the moment nothing more is received until nothing is held.
pub(super) async fn carry_out(shared: &Arc<Shared>, hooks: Vec<Hook>) {
    let clock = shared.broker.clock().clone();
    let deadline = clock.now().plus(shared.options.graceful_shutdown_timeout);
    let hurried = async {
        tokio::select! {
            () = clock.sleep_until(deadline) => {}
            () = shared.shutdown.reached(Stage::Hurried) => {}
        }
    };
    tokio::pin!(hurried);
    tokio::select! {
        () = run_and_drain(shared, hooks) => return,
        () = &mut hurried => {}
    }
    shared.slots.cancel_all();
    let grace = clock.now().plus(shared.options.cancel_grace);
    tokio::select! {
        () = drained(shared) => {}
        () = clock.sleep_until(grace) => abandon(shared, clock.as_ref()).await,
    }
}

async fn run_and_drain(shared: &Shared, hooks: Vec<Hook>) {
    for hook in hooks {
        hook().await;
    }
    drained(shared).await;
}

/// Ends once no task is in a slot.
async fn drained(shared: &Shared) {
    loop {
        let told = shared.slots.listen();
        if shared.slots.held() == 0 {
            return;
        }
        told.await;
    }
}

/// Drops the handlers that did not return, so that closing the places gives their tasks back: others
/// get them now and not when the leases end. Outcomes on their way get as long again to be settled.
async fn abandon(shared: &Shared, clock: &dyn Clock) {
    let left = shared.slots.abandon();
    tracing::warn!(tasks = left.len(), "handlers did not stop in time; their tasks are given back");
    if !shared.settles_on_receipt() {
        shared.counters.given_back(left.len());
    }
    shared.slots.free(left);
    let until = clock.now().plus(shared.options.cancel_grace);
    tokio::select! {
        () = drained(shared) => {}
        () = clock.sleep_until(until) => {}
    }
}

/// Closes the places; what they still hold is given back, and receives under way end.
pub(super) async fn close_places(shared: &Shared) {
    for place in &shared.places {
        if let Err(error) = place.receiver().close(Held::Release).await {
            tracing::warn!(%error, "a queue could not be closed; what it holds comes back later");
        }
    }
}

/// The moment that never comes, for tries without an end.
pub(super) const NEVER: Timestamp = Timestamp::MAX;
