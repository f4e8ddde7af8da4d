//! The driver's face of the engine.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Atomic, Capabilities, Driver, Enqueued, Error, ErrorKind, FollowUp, Holder, LeaseToken,
    NewTask, Operation, QueueName, QueueSpec, Result, Session, SessionOptions, Settled, Verdict,
};

use crate::engine::Engine;
use crate::log::body;
use crate::log::record::BODY_HEAD_BYTES;
use crate::session::EngineSession;
use crate::shell::Told;

/// Most bytes of tasks in one frame, unless one task alone has more.
const FRAME_TASK_BYTES_MAX: usize = 8 << 20;
/// Most bytes of what is settled and enqueued in one step: it must be one frame.
const ATOMIC_BYTES_MAX: usize = 64 << 20;
/// Bytes of a record beside what it carries.
const RECORD_BYTES: usize = 64;

/// The engine as a driver.
#[derive(Clone, Debug)]
pub(crate) struct EngineDriver {
    pub(crate) engine: Arc<Engine>,
}

impl EngineDriver {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Enqueues as many tasks as fit one frame, and tells what the answer depends on.
    fn enqueue_frame(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
        told: &mut Told,
    ) -> Result<(Vec<Result<Enqueued>>, crate::position::Position)> {
        const ENQUEUE: Operation = Operation::Enqueue;
        let bytes = tasks.iter().map(task_bytes).sum::<usize>() + RECORD_BYTES;
        self.engine.shell.command_telling(told, ENQUEUE, bytes, |core| {
            core.state.index_of(queue, ENQUEUE)?;
            core.admit_bytes(bytes as u64).map_err(|error| error.on(queue))?;
            let (outcomes, end) = core.effect(|state, frame| state.enqueue(queue, tasks, frame));
            Ok((outcomes?, end))
        })
    }
}

fn task_bytes(task: &NewTask) -> usize {
    body::len_max(task) + BODY_HEAD_BYTES
}

/// Splits tasks into runs that fit one frame.
fn frames(tasks: &[NewTask]) -> impl Iterator<Item = &[NewTask]> {
    let mut left = tasks;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = left.iter().take_while(|task| {
            bytes += task_bytes(task);
            bytes <= FRAME_TASK_BYTES_MAX
        });
        let count = fitting.count().max(1).min(left.len());
        let (now, later) = left.split_at(count);
        left = later;
        (!now.is_empty()).then_some(now)
    })
}

#[async_trait]
impl Driver for EngineDriver {
    fn capabilities(&self) -> &Capabilities {
        &self.engine.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        const DECLARE: Operation = Operation::Declare;
        let shell = &self.engine.shell;
        let bytes = spec_bytes_max(spec);
        let end = shell.command(DECLARE, bytes, |core| {
            let (declared, end) = core.effect(|state, frame| state.declare(spec, frame));
            declared.map(|()| end)
        })?;
        shell.commit.durable(shell, end, DECLARE).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        let shell = &self.engine.shell;
        let mut outcomes = Vec::with_capacity(tasks.len());
        let mut depends = crate::position::Position::START;
        let mut told = Told::default();
        for tasks in frames(tasks) {
            match self.enqueue_frame(queue, tasks, &mut told) {
                Ok((more, end)) => {
                    outcomes.extend(more);
                    depends = end;
                }
                // WHY: an earlier frame went in, so the error is these tasks' alone.
                Err(error) if !outcomes.is_empty() => {
                    let refused = || {
                        Err(Error::new(error.kind(), error.operation(), error.message()).on(queue))
                    };
                    outcomes.extend(std::iter::repeat_with(refused).take(tasks.len()));
                }
                Err(error) => return Err(error),
            }
        }
        shell.commit.durable_then_told(shell, depends, Operation::Enqueue, told).await?;
        Ok(outcomes)
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        let SessionOptions { membership: _, holder } = options;
        let client = *holder == Holder::Client;
        let number = self.engine.shell.command(Operation::OpenSession, 0, |core| {
            core.state.index_of(queue, Operation::OpenSession)?;
            Ok(core.take_session())
        })?;
        Ok(Arc::new(EngineSession::new(self.engine.clone(), queue.clone(), number, client)))
    }

    async fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

/// At most this many bytes are written for a spec and for that of its dead-letter queue.
pub(crate) fn spec_bytes_max(spec: &QueueSpec) -> usize {
    let labels = spec.labels.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8);
    8_192 + labels.sum::<usize>()
}

/// At most this many bytes are written for a verdict.
pub(crate) fn verdict_bytes(verdict: &Verdict) -> usize {
    RECORD_BYTES
        + match verdict {
            Verdict::Retry { after: _, error: Some(text) }
            | Verdict::DeadLetter { reason: text } => text.len(),
            Verdict::Complete | Verdict::Retry { .. } | Verdict::Release { .. } => 0,
        }
}

#[async_trait]
impl Atomic for EngineDriver {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        const SETTLE: Operation = Operation::Settle;
        let shell = &self.engine.shell;
        let tasks = follow_ups.iter().map(|next| task_bytes(&next.task) + RECORD_BYTES);
        let bytes = verdict_bytes(verdict) + tasks.sum::<usize>();
        if bytes > ATOMIC_BYTES_MAX {
            let why = format!(
                "the follow-up tasks have {bytes} bytes, and one step takes {ATOMIC_BYTES_MAX}: \
                 keep large payloads elsewhere, or enqueue some of them before"
            );
            return Err(Error::new(ErrorKind::Invalid, SETTLE, why).on(queue));
        }
        let (answer, end) = shell.command(SETTLE, bytes, |core| {
            let tokens = core.state.read_tokens(queue, [token].into_iter(), SETTLE)?;
            let Some(fenced) = tokens.first().copied() else { return Err(no_token(queue)) };
            if !follow_ups.is_empty() {
                core.admit_bytes(bytes as u64).map_err(|e| e.during(SETTLE).on(queue))?;
            }
            let (answer, end) = core.effect(|state, frame| {
                state.settle_and_enqueue(queue, fenced, verdict, follow_ups, frame)
            });
            Ok((answer?, end))
        })?;
        shell.commit.durable(shell, end, SETTLE).await?;
        Ok(answer)
    }
}

fn no_token(queue: &QueueName) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Settle, "there is no lease token").on(queue)
}
