//! Runs handlers: where they were received if their kind is quick, else as tasks of their own.
//! Panics and timeouts are failed attempts.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use tidegate_core::capabilities::ReleaseCost;
use tidegate_core::{Settled, Verdict};

use super::Shared;
use super::metrics::{Event, add};
use super::options::{AckMode, UnknownKind};
use super::place::{Finished, Place};
use super::registry::Kind;
use super::settler::settle_until;
use super::shutdown::NEVER;
use crate::context::Context;
use crate::handler::Work;
use crate::outcome::Outcome;

/// So many outcomes go to the settler together, so that it starts while the rest is at work.
const HANDED_OVER: usize = 128;

/// How long a task goes back whose kind is at its limit.
const CROWDED: Duration = Duration::from_secs(1);

/// One attempt in its slot.
struct Attempt {
    context: Context,
    slot: usize,
}

/// Starts the work on tasks that were put into slots.
pub(super) async fn start(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    contexts: Vec<Context>,
    slots: Vec<usize>,
) {
    let attempts = contexts.into_iter().zip(slots).map(|(context, slot)| Attempt { context, slot });
    let mut finished = Vec::new();
    let mut ready = Vec::new();
    for attempt in attempts {
        match prepare(shared, &attempt.context) {
            Ok((kind, work)) if shared.options.ack == AckMode::Auto => {
                ready.push((attempt, kind, work))
            }
            Ok((kind, work)) => finished.extend(launch(shared, place, attempt, kind, work)),
            Err(outcome) => finished.extend(attempt.finish(outcome)),
        }
        if finished.len() >= HANDED_OVER {
            place.outbox.put_all(&mut finished);
        }
    }
    match shared.options.ack {
        AckMode::Manual => place.outbox.put_all(&mut finished),
        AckMode::Auto => start_acknowledged(shared, place, finished, ready).await,
    }
}

/// With [`AckMode::Auto`]: settles what was received, unread ones by their outcome, and starts the
/// work on what could be completed.
async fn start_acknowledged(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    unread: Vec<Finished>,
    ready: Vec<(Attempt, Arc<Kind>, Work)>,
) {
    let rules = super::settler::Rules::new(shared, place.policy().await);
    let unread_verdict = |f: &Finished| rules.verdict(&f.outcome, f.context.attempt());
    let mut verdicts: Vec<_> =
        unread.iter().map(|f| (f.context.token().clone(), unread_verdict(f))).collect();
    verdicts.extend(ready.iter().map(|(a, _, _)| (a.context.token().clone(), Verdict::Complete)));
    let mut answers = settle_until(shared, place, &verdicts, NEVER).await.into_iter();
    for ((finished, (_, verdict)), answer) in unread.iter().zip(&verdicts).zip(answers.by_ref()) {
        shared.note_settled(finished, verdict, answer);
    }
    shared.slots.free(unread.iter().map(|finished| finished.slot));
    let mut done = Vec::new();
    for ((attempt, kind, work), answer) in ready.into_iter().zip(answers) {
        match answer {
            // WHY: only this worker has the token, so that it was settled before is its own doing: the
            // answer to an earlier try was lost.
            Ok(Settled::Done { .. } | Settled::AlreadyDone) => {
                done.extend(launch(shared, place, attempt, kind, work))
            }
            // WHY: whoever cannot know that the task is gone for good must not start it.
            answer => {
                let Attempt { context, slot } = attempt;
                let finished = Finished { slot, context, outcome: Outcome::done() };
                shared.note_settled(&finished, &Verdict::Complete, answer);
                shared.slots.free([slot]);
            }
        }
    }
    place.outbox.put_all(&mut done);
}

/// The work on a task, or what becomes of one that nobody here can work on.
pub(super) fn prepare(shared: &Shared, context: &Context) -> Result<(Arc<Kind>, Work), Outcome> {
    let name = &context.task().kind;
    let Some(kind) = shared.registry.find(name) else {
        tracing::warn!(kind = %name, "no handler is registered for this kind");
        return Err(match &shared.options.unknown_kind {
            UnknownKind::Release { after } => Outcome::release(*after),
            UnknownKind::DeadLetter => Outcome::dead_letter(format!(
                "no handler is registered for kind {name:?}; register one, then redrive"
            )),
        });
    };
    let work = kind.handler.prepare(context)?;
    Ok((kind.clone(), shared.wrap(context, work)))
}

/// Starts the work. Returns its outcome if it is decided at once, and nothing if the outcome comes
/// through the outbox.
fn launch(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    attempt: Attempt,
    kind: Arc<Kind>,
    work: Work,
) -> Option<Finished> {
    if let Some(gate) = &kind.gate
        && !gate.try_enter()
    {
        if gives_back_for_free(shared) {
            return attempt.finish(Outcome::release(CROWDED));
        }
        gate.enter();
    }
    let limited = kind.gate.is_some() || kind.timeout.is_some();
    if limited || !kind.pace.is_quick() {
        spawn(shared, place, attempt, kind, work);
        return None;
    }
    let started = Instant::now();
    let mut work = Some(work);
    let step = step(&mut work, &mut task::Context::from_waker(Waker::noop()));
    kind.pace.note(started.elapsed());
    match (step, work) {
        (Poll::Ready(outcome), _) => {
            let outcome = shared.read(&attempt.context, outcome);
            attempt.finish(outcome)
        }
        (Poll::Pending, Some(work)) => {
            // WHY: its waker goes nowhere, but a new task is polled at once with one that works.
            spawn(shared, place, attempt, kind, work);
            None
        }
        (Poll::Pending, None) => {
            attempt.finish(Outcome::retry("the handler ended without outcome"))
        }
    }
}

fn gives_back_for_free(shared: &Shared) -> bool {
    let can = shared.broker.capabilities();
    can.release == ReleaseCost::KeepsAttempt
        && can.retry_delay.allows(CROWDED)
        && shared.options.ack == AckMode::Manual
}

fn spawn(shared: &Arc<Shared>, place: &Arc<Place>, attempt: Attempt, kind: Arc<Kind>, work: Work) {
    let (slot, context) = (attempt.slot, attempt.context.clone());
    let running =
        Running { shared: shared.clone(), place: place.clone(), kind, attempt: Some(attempt) };
    let spawned = tokio::spawn(running.run(work));
    shared.slots.set_abort(slot, &context, spawned.abort_handle());
}

/// Work that has a task of its own. Dropped early, it still leaves its gate and tells an outcome, so
/// that no slot is taken for ever.
struct Running {
    shared: Arc<Shared>,
    place: Arc<Place>,
    kind: Arc<Kind>,
    attempt: Option<Attempt>,
}

impl Running {
    async fn run(mut self, work: Work) {
        let permit = match &self.kind.gate {
            Some(gate) => gate.permits.acquire().await.ok(),
            None => None,
        };
        let done = self.work(work).await;
        drop(permit);
        let outcome = match (&self.attempt, done) {
            (Some(attempt), Some(done)) => self.shared.read(&attempt.context, done),
            (Some(attempt), None) => self.shared.time_out(&attempt.context, self.kind.timeout),
            (None, _) => return,
        };
        self.tell(outcome);
    }

    /// Works until the end, or until the kind's time is up.
    async fn work(&self, work: Work) -> Option<Done> {
        let mut work = Some(work);
        let mut timer = self.kind.timeout.map(|timeout| {
            let clock = self.shared.broker.clock();
            clock.sleep_until(clock.now().plus(timeout))
        });
        let mut first = true;
        poll_fn(|cx| {
            let started = first.then(Instant::now);
            let step = step(&mut work, cx);
            if let Some(started) = started {
                self.kind.pace.note(started.elapsed());
                first = false;
            }
            if let Poll::Ready(done) = step {
                return Poll::Ready(Some(done));
            }
            match timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    discard(&mut work);
                    Poll::Ready(None)
                }
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(finished) = self.attempt.take().and_then(|attempt| attempt.finish(outcome)) {
            self.place.outbox.put(finished);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(gate) = &self.kind.gate {
            gate.leave();
        }
        self.tell(Outcome::retry("the handler was dropped before it ended"));
    }
}

impl Attempt {
    /// Claims the attempt for its outcome, unless the worker gave the task back already.
    fn finish(self, outcome: Outcome) -> Option<Finished> {
        let Self { context, slot } = self;
        context.finish().then(|| Finished { slot, context, outcome })
    }
}

/// How the work ended: with an outcome, or with the text of a panic.
pub(super) type Done = Result<Outcome, String>;

/// Works to the end, or to a panic.
pub(super) async fn to_the_end(work: Work) -> Done {
    let mut work = Some(work);
    poll_fn(|cx| step(&mut work, cx)).await
}

/// Takes the work one step on. At its end, or when it panics, it is gone.
fn step(work: &mut Option<Work>, cx: &mut task::Context<'_>) -> Poll<Done> {
    let Some(at_work) = work else {
        return Poll::Pending;
    };
    match catch_unwind(AssertUnwindSafe(|| at_work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(discard(work).map_or(Ok(outcome), Err)),
        Err(panic) => {
            discard(work);
            Poll::Ready(Err(text_of(panic.as_ref())))
        }
    }
}

/// Drops the work. What it holds may panic, too; then this is the text.
fn discard(work: &mut Option<Work>) -> Option<String> {
    let work = work.take();
    catch_unwind(AssertUnwindSafe(|| drop(work))).err().map(|panic| text_of(panic.as_ref()))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

impl Shared {
    /// The outcome of work that ended; a panic is a failed attempt.
    pub(super) fn read(&self, context: &Context, done: Done) -> Outcome {
        done.unwrap_or_else(|text| {
            add(&self.counters.panicked, 1);
            let task = context.task();
            tracing::error!(id = %task.id, kind = %task.kind, text, "a handler panicked");
            self.observe(task, || Event::Panicked(&text));
            Outcome::retry(format!("the handler panicked: {text}"))
        })
    }

    /// The outcome of work that took too long.
    fn time_out(&self, context: &Context, timeout: Option<Duration>) -> Outcome {
        context.cancel();
        add(&self.counters.timed_out, 1);
        let task = context.task();
        tracing::warn!(id = %task.id, kind = %task.kind, "a handler took too long");
        self.observe(task, || Event::TimedOut);
        Outcome::retry(format!("the handler took longer than {:?}", timeout.unwrap_or_default()))
    }
}
