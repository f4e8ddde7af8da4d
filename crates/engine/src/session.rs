//! One consumer's place at a queue of the engine.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_lite::future::or;
use tidegate_core::{
    Bytes, Error, ErrorKind, Held, Kind, Lease, LeaseToken, Operation, QueueName, QueueSpec,
    ReceiveOptions, Result, Session, Settled, Task, Verdict,
};

use crate::bodies::Bodies;
use crate::driver::verdict_bytes;
use crate::engine::Engine;
use crate::log::body::Body;
use crate::position::Position;
use crate::shell::ReadyListener;
use crate::state::timers::Hold;
use crate::state::{Extra, Grant, Granted};

/// Bytes that a lease record needs for each task, and an extend.
const LEASE_BYTES: usize = 32;

pub(crate) struct EngineSession {
    engine: Arc<Engine>,
    queue: QueueName,
    hold: Hold,
    closed: AtomicBool,
}

impl fmt::Debug for EngineSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EngineSession").field(&self.queue).finish()
    }
}

/// What one look at the queue found.
enum Attempt {
    Got(Batch),
    Nothing(ReadyListener),
}

/// Tasks that were handed out, and what they depend on.
struct Batch {
    grant: Grant,
    bodies: Bodies,
    spec: Arc<QueueSpec>,
    written: Position,
}

impl EngineSession {
    pub(crate) fn new(engine: Arc<Engine>, queue: QueueName, session: u64, client: bool) -> Self {
        let hold = Hold { session, client, length_ms: 0 };
        Self { engine, queue, hold, closed: AtomicBool::new(false) }
    }

    fn check_open(&self, doing: Operation) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let why = "the session was closed";
            return Err(Error::new(ErrorKind::Closed, doing, why).on(&self.queue));
        }
        Ok(())
    }

    fn try_receive(&self, options: &ReceiveOptions) -> Result<Attempt> {
        const RECEIVE: Operation = Operation::Receive;
        let bytes = LEASE_BYTES * (options.limit + 1);
        self.engine.shell.command(RECEIVE, bytes, |core| {
            let index = core.state.index_of(&self.queue, RECEIVE)?;
            let (grant, written) =
                core.lease(|state, frame| state.receive(index, self.hold, options, frame));
            let Some(grant) = grant else {
                // INVARIANT: listened to under the lock, so that nothing becomes ready unheard.
                return Ok(Attempt::Nothing(core.ready(index).listen()));
            };
            let mut bodies = Bodies::for_lengths(grant.tasks.iter().map(|task| task.body_len));
            for task in &grant.tasks {
                bodies.locate(&core.log, task.body, task.sequence, task.body_len);
            }
            let Some(spec) = core.state.spec_at(index) else { return Err(self.gone()) };
            Ok(Attempt::Got(Batch { grant, bodies, spec, written }))
        })
    }

    fn gone(&self) -> Error {
        let why = "there is no such queue; declare it first";
        Error::new(ErrorKind::NotFound, Operation::Receive, why).on(&self.queue)
    }

    /// Lets a batch leave once what it depends on is durable.
    async fn hand_over(&self, batch: Batch) -> Result<Vec<Lease>> {
        const RECEIVE: Operation = Operation::Receive;
        let shell = &self.engine.shell;
        let Batch { mut grant, bodies, spec, written } = batch;
        shell.commit.written_by(shell, written, RECEIVE).await?;
        shell.commit.durable(shell, grant.depends, RECEIVE).await?;
        let tasks = std::mem::take(&mut grant.tasks);
        let mut leases = Vec::with_capacity(tasks.len());
        let mut damaged = Vec::new();
        let mut kind = Kind::from("");
        for (task, body) in tasks.into_iter().zip(bodies.read()) {
            let (token, at) = (grant.token(&task), task.body);
            let read =
                body.ok().and_then(|body| to_task(&self.queue, &spec, &mut kind, task, &body));
            match read {
                Some(task) => {
                    let Grant { until, duration, .. } = grant;
                    leases.push(Lease { task, token, until, duration });
                }
                None => damaged.push((token, at)),
            }
        }
        if !damaged.is_empty() {
            self.quarantine(damaged).await?;
        }
        Ok(leases)
    }

    /// Makes tasks dead whose bodies cannot be read: named, kept, and not handed out again.
    async fn quarantine(&self, damaged: Vec<(LeaseToken, Position)>) -> Result<()> {
        let verdict = |(token, at): (LeaseToken, Position)| {
            tracing::error!(?at, "a task's payload is damaged on the disk; the task is now dead");
            let reason = format!("its payload is damaged on the disk ({at:?} of the log)");
            (token, Verdict::DeadLetter { reason })
        };
        let verdicts: Vec<_> = damaged.into_iter().map(verdict).collect();
        self.settle(&verdicts).await.map(drop)
    }
}

/// A task as it is received; `None` if `bytes` are no body. `kind` is that of the task before,
/// which nearly always is this one's too.
fn to_task(
    queue: &QueueName,
    spec: &QueueSpec,
    kind: &mut Kind,
    granted: Granted,
    bytes: &Bytes,
) -> Option<Task> {
    let body = Body::read(bytes)?;
    if *kind != body.kind {
        *kind = String::from(body.kind).into();
    }
    let Granted { sequence, deliveries, attempt, extra, .. } = granted;
    let Extra { last_error, moved, .. } = extra.map(|extra| *extra).unwrap_or_default();
    Some(Task {
        id: body.id,
        queue: queue.clone(),
        kind: kind.clone(),
        payload: body.payload_of(bytes),
        headers: body.headers(),
        priority: body.priority,
        ordering_key: body.ordering_key.map(Into::into),
        partition: spec.router.route(body.ordering_key, sequence, spec.partitions),
        sequence,
        deliveries,
        attempt,
        enqueued_at: body.enqueued_at,
        last_error,
        dead_letter: moved,
    })
}

#[async_trait]
impl Session for EngineSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let shell = &self.engine.shell;
        let mut deadline = None;
        loop {
            self.check_open(Operation::Receive)?;
            let ready = match self.try_receive(options)? {
                Attempt::Got(batch) => return self.hand_over(batch).await,
                Attempt::Nothing(ready) => ready,
            };
            if options.wait.is_zero() {
                return Ok(Vec::new());
            }
            let now = shell.time.now();
            let deadline = *deadline.get_or_insert_with(|| now.plus(options.wait));
            if now >= deadline {
                return Ok(Vec::new());
            }
            let _watch = shell.watch();
            or(ready, shell.time.sleep_until(deadline)).await;
        }
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        const SETTLE: Operation = Operation::Settle;
        self.check_open(SETTLE)?;
        let shell = &self.engine.shell;
        let bytes = verdicts.iter().map(|(_, verdict)| verdict_bytes(verdict)).sum::<usize>();
        let (outcomes, end) = shell.command(SETTLE, bytes, |core| {
            let tokens = verdicts.iter().map(|(token, _)| token);
            let tokens = core.state.read_tokens(&self.queue, tokens, SETTLE)?;
            Ok(core.effect(|state, frame| {
                let mut outcomes = Vec::with_capacity(verdicts.len());
                for (fenced, (_, verdict)) in tokens.into_iter().zip(verdicts) {
                    outcomes.push(state.settle(fenced, verdict, frame));
                }
                outcomes
            }))
        })?;
        shell.commit.durable(shell, end, SETTLE).await?;
        Ok(outcomes)
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        const EXTEND: Operation = Operation::Extend;
        self.check_open(EXTEND)?;
        let shell = &self.engine.shell;
        let (outcomes, end) = shell.command(EXTEND, LEASE_BYTES * leases.len(), |core| {
            let tokens = leases.iter().map(|(token, _)| token);
            let tokens = core.state.read_tokens(&self.queue, tokens, EXTEND)?;
            Ok(core.lease(|state, frame| {
                let mut outcomes = Vec::with_capacity(leases.len());
                for (fenced, (_, length)) in tokens.into_iter().zip(leases) {
                    outcomes.push(state.extend(fenced, *length, frame));
                }
                outcomes
            }))
        })?;
        shell.commit.written_by(shell, end, EXTEND).await?;
        Ok(outcomes)
    }

    async fn close(&self, held: Held) -> Result<()> {
        const CLOSE: Operation = Operation::Close;
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let shell = &self.engine.shell;
        let (ready, end) = shell.command(CLOSE, 0, |core| {
            let index = core.state.index_of(&self.queue, CLOSE)?;
            Ok((core.ready(index), core.effects_end))
        })?;
        let end = match held {
            Held::Keep => end,
            Held::Release => self.release_all()?,
        };
        ready.notify(usize::MAX);
        shell.commit.durable(shell, end, CLOSE).await
    }
}

impl EngineSession {
    /// Gives back every lease of this session.
    fn release_all(&self) -> Result<Position> {
        const CLOSE: Operation = Operation::Close;
        let session = self.hold.session;
        self.engine.shell.command(CLOSE, 0, |core| {
            let index = core.state.index_of(&self.queue, CLOSE)?;
            let held = core.state.held_by(session);
            core.reserve_more(held * LEASE_BYTES)?;
            let ((), end) =
                core.effect(|state, frame| state.release_session(index, session, frame));
            Ok(end)
        })
    }
}
