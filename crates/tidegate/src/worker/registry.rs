//! Which handler works on which kind, and how.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_core::{Result, Task};
use tokio::sync::Semaphore;

use super::options::{KindOptions, WorkerOptions, invalid};
use crate::handler::{AnyHandler, Handler, Raw, Typed};
use crate::typed::TypedTask;

/// The handlers of a worker.
#[derive(Default)]
pub(super) struct Registry {
    kinds: HashMap<String, Arc<Kind>>,
    /// Works on every kind that has no handler of its own.
    rest: Option<Arc<Kind>>,
    twice: Option<String>,
}

/// One kind, with its handler.
pub(super) struct Kind {
    pub(super) handler: Box<dyn AnyHandler>,
    pub(super) timeout: Option<Duration>,
    pub(super) gate: Option<Gate>,
    pub(super) pace: Pace,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

impl Registry {
    pub(super) fn typed<T: TypedTask>(&mut self, handler: impl Handler<T>) {
        self.add(T::KIND.to_owned(), Box::new(Typed::new(handler)));
    }

    pub(super) fn raw(&mut self, kind: String, handler: impl Handler<Task>) {
        self.add(kind, Box::new(Raw::new(handler)));
    }

    pub(super) fn rest(&mut self, handler: impl Handler<Task>) {
        self.rest = Some(Arc::new(Kind::new(Box::new(Raw::new(handler)))));
    }

    fn add(&mut self, kind: String, handler: Box<dyn AnyHandler>) {
        if self.kinds.insert(kind.clone(), Arc::new(Kind::new(handler))).is_some() {
            self.twice = Some(kind);
        }
    }

    /// The handler for a kind, if there is one.
    pub(super) fn find(&self, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(kind).or(self.rest.as_ref())
    }

    /// Refuses what cannot work, and gives the kinds their limits.
    pub(super) fn apply(&mut self, options: &WorkerOptions) -> Result<()> {
        if let Some(kind) = &self.twice {
            return Err(invalid(format!("{kind:?} has two handlers; remove one")));
        }
        if self.kinds.is_empty() && self.rest.is_none() {
            return Err(invalid("it has no handler; register one with `handle`"));
        }
        for (kind, limits) in &options.kinds {
            let Some(found) = self.kinds.get_mut(kind).and_then(Arc::get_mut) else {
                return Err(invalid(format!("options are set for {kind:?}, which has no handler")));
            };
            found.limit(limits);
        }
        Ok(())
    }
}

impl Kind {
    fn new(handler: Box<dyn AnyHandler>) -> Self {
        Self { handler, timeout: None, gate: None, pace: Pace::default() }
    }

    fn limit(&mut self, options: &KindOptions) {
        let KindOptions { concurrency, timeout } = options;
        self.timeout = *timeout;
        self.gate = concurrency.map(Gate::new);
    }
}

/// Lets so many tasks of a kind work at once, and as many again wait.
pub(super) struct Gate {
    pub(super) permits: Semaphore,
    inside: AtomicUsize,
    room: usize,
}

impl Gate {
    fn new(limit: usize) -> Self {
        let permits = Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        Self { permits, inside: AtomicUsize::new(0), room: limit.saturating_mul(2) }
    }

    /// Takes a place at work or waiting, if there is one.
    pub(super) fn try_enter(&self) -> bool {
        let enter = |inside: usize| (inside < self.room).then_some(inside + 1);
        self.inside.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
    }

    /// Takes a place beyond the room, where giving back would cost an attempt.
    pub(super) fn enter(&self) {
        self.inside.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long a kind keeps a thread to itself when it starts.
///
/// A handler whose first step is quick is started where it was received, which saves the hop to
/// another thread; one that is not would hold up those received with it, and gets a task of its
/// own. A kind earns the one with a few quick starts and loses it for long with a slow one.
#[derive(Default)]
pub(super) struct Pace {
    score: AtomicI32,
}

/// A first step above this is slow: it costs more than the hop it saves (about 30 us), twice.
const QUICK: Duration = Duration::from_micros(60);
/// So many quick starts in a row earn the quick way.
const EARNED: i32 = 4;
/// A slow start costs so many quick ones.
const SLOW_COSTS: i32 = 500;

impl Pace {
    pub(super) fn is_quick(&self) -> bool {
        self.score.load(Ordering::Relaxed) >= EARNED
    }

    pub(super) fn note(&self, first_step: Duration) {
        // WHY: two threads may overwrite each other's note; the score is a hint, not a count.
        let score = self.score.load(Ordering::Relaxed);
        if first_step > QUICK {
            self.score.store(EARNED - SLOW_COSTS, Ordering::Relaxed);
        } else if score < EARNED {
            self.score.store(score + 1, Ordering::Relaxed);
        }
    }
}
