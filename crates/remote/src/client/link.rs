//! Keeps a line up: when one ends, another is dialled, and calls that come meanwhile wait a little.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::line::Line;

/// How a line that has ended is followed by another.
#[async_trait]
pub trait Redial: Send + Sync + 'static {
    /// Dials until there is a line, however long that takes. `None` if none is needed any more.
    async fn redial(&self) -> Option<Line>;
}

/// Whether calls can go out.
#[derive(Clone, Debug)]
pub enum Ready {
    /// On this line.
    Up(Arc<Line>),
    /// No line is needed any more, as [`Redial::redial`] has said.
    Stopped,
}

/// How long a call that has not gone out waits for a line before it is `Unavailable`.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum State {
    Up(Arc<Line>),
    Down,
    Stopped,
    Closed,
}

/// A line that is kept up.
pub(super) struct Link {
    state: watch::Sender<State>,
    supervisor: JoinHandle<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&*self.state.borrow()).finish()
    }
}

impl Link {
    pub(super) fn new(line: Arc<Line>, redial: impl Redial) -> Self {
        let (state, _) = watch::channel(State::Up(line.clone()));
        let supervisor = tokio::spawn(supervise(line, redial, state.clone()));
        Self { state, supervisor }
    }

    /// The line to go out on. Waits a little where there is none.
    pub(super) async fn ready(&self, doing: Operation) -> Result<Ready> {
        match self.up() {
            Some(line) => Ok(Ready::Up(line)),
            // WHY: boxed, so that calls are small as long as there is a line.
            None => Box::pin(self.wait(doing)).await,
        }
    }

    /// The line, if calls can go out on it now.
    pub(super) fn up(&self) -> Option<Arc<Line>> {
        match &*self.state.borrow() {
            State::Up(line) if line.is_open() => Some(line.clone()),
            _ => None,
        }
    }

    async fn wait(&self, doing: Operation) -> Result<Ready> {
        let mut changes = self.state.subscribe();
        let settled = changes.wait_for(|state| match state {
            State::Up(line) => line.is_open(),
            State::Stopped | State::Closed => true,
            State::Down => false,
        });
        let Ok(Ok(state)) = tokio::time::timeout(PATIENCE, settled).await else {
            return Err(down(doing));
        };
        match &*state {
            State::Up(line) => Ok(Ready::Up(line.clone())),
            State::Stopped => Ok(Ready::Stopped),
            State::Closed => Err(closed(doing)),
            State::Down => Err(down(doing)),
        }
    }

    /// The line to go out on, where there will always be one.
    pub(super) async fn line(&self, doing: Operation) -> Result<Arc<Line>> {
        match self.ready(doing).await? {
            Ready::Up(line) => Ok(line),
            Ready::Stopped => Err(down(doing)),
        }
    }

    /// Hangs up for good: whoever waits for an answer has it now.
    pub(super) fn close(&self) {
        self.supervisor.abort();
        if let State::Up(line) = self.state.send_replace(State::Closed) {
            line.hang_up();
        }
    }

    /// An error of a call, or that the broker was closed in the middle of it.
    pub(super) fn or_closed(&self, error: Error) -> Error {
        match &*self.state.borrow() {
            State::Closed if error.is_retryable() => closed(error.operation()),
            _ => error,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

async fn supervise(mut line: Arc<Line>, redial: impl Redial, state: watch::Sender<State>) {
    loop {
        line.ended().await;
        state.send_replace(State::Down);
        let Some(next) = redial.redial().await else {
            state.send_replace(State::Stopped);
            return;
        };
        line = Arc::new(next);
        state.send_replace(State::Up(line.clone()));
    }
}

fn down(doing: Operation) -> Error {
    let why = format!("there is no connection to the server, and none came up in {PATIENCE:?}");
    Error::new(ErrorKind::Unavailable, doing, why)
}

fn closed(doing: Operation) -> Error {
    Error::new(ErrorKind::Closed, doing, "the broker was closed").about("a closed broker")
}
