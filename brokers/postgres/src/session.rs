//! One consumer's place at a queue.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_listener::Event;
use tidegate_core::gather::Lane;
use tidegate_core::{
    Clock, Error, ErrorKind, Held, Lease, LeaseToken, Lost, Operation, QueueName, ReceiveOptions,
    Result, Session, Settled, Timestamp, Verdict,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::clock::micros;
use crate::driver::{ID, Postgres};
use crate::errors;
use crate::queues::Queue;
use crate::receives::Receives;
use crate::rows::{self, field};
use crate::server::Parameter;
use crate::token::Fenced;

/// Least time between two looks at a queue whose timers are due and cannot be done yet.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) struct PostgresSession {
    postgres: Postgres,
    name: QueueName,
    /// Its number, which the leases it holds carry.
    number: i64,
    receives: Arc<Lane<Receives>>,
    is_closed: AtomicBool,
    closing: Event,
}

impl fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresSession").field(&self.name).finish()
    }
}

impl PostgresSession {
    pub(crate) fn new(postgres: Postgres, name: QueueName, number: i64) -> Self {
        let (is_closed, closing) = (AtomicBool::new(false), Event::new());
        Self { postgres, name, number, receives: Arc::default(), is_closed, closing }
    }

    fn check_open(&self, operation: Operation) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) {
            let why = "the session was closed";
            return Err(Error::new(ErrorKind::Closed, operation, why).on(&self.name));
        }
        errors::on(&self.name, self.postgres.inner.server.check_open(operation))
    }

    async fn call(
        &self,
        operation: Operation,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        let rows = self.postgres.inner.server.call(operation, statement, parameters).await;
        errors::on(&self.name, rows.map_err(|error| self.postgres.noted(error)))
    }

    // Receiving.

    /// Learns where the next claims begin, now and then.
    async fn ask_horizon(&self, queue: &Queue) -> Result<()> {
        const RECEIVE: Operation = Operation::Receive;
        let inner = &self.postgres.inner;
        let Some(reached) = queue.horizon_is_due(inner.watch.now()) else {
            return Ok(());
        };
        let parameters: [Parameter<'_>; 4] = [
            (&queue.id, ID),
            (&reached.priorities, Type::INT2_ARRAY),
            (&reached.lows, Type::TEXT_ARRAY),
            (&reached.open, Type::TEXT_ARRAY),
        ];
        let rows = self.call(RECEIVE, &inner.server.statements.horizon, &parameters).await?;
        if let Some(row) = rows.first() {
            let priorities: Option<Vec<i16>> = field(row, 0, RECEIVE)?;
            let lows: Option<Vec<String>> = field(row, 1, RECEIVE)?;
            let (priorities, lows) = (priorities.unwrap_or_default(), lows.unwrap_or_default());
            queue.horizon(priorities, lows, field(row, 2, RECEIVE)?);
        }
        Ok(())
    }

    /// How long a waiting receive may sleep.
    async fn until_next_look(&self, queue: &Queue) -> Result<Duration> {
        let server = &self.postgres.inner.server;
        let reached = queue.reached(self.postgres.inner.watch.now());
        let parameters: [Parameter<'_>; 2] =
            [(&queue.id, ID), (&reached.timers, Type::TIMESTAMPTZ)];
        let rows = self.call(Operation::Receive, &server.statements.next_due, &parameters).await?;
        let due: Option<i64> = match rows.first() {
            Some(row) => field(row, 0, Operation::Receive)?,
            None => None,
        };
        let due = due.map(|micros| Duration::from_micros(micros.unsigned_abs()));
        let poll = server.config.poll;
        Ok(due.map_or(poll, |due| due.max(LOOK_AGAIN).min(poll)))
    }

    // Settling.

    /// Reads tokens, all or none: the numbers, and whether each is of the queue as it is now.
    async fn read<'t>(
        &self,
        tokens: impl Iterator<Item = &'t LeaseToken> + Send,
        operation: Operation,
    ) -> Result<(Arc<Queue>, Vec<Fenced>)> {
        let not_ours = "the lease token is not one of this broker's";
        let unreadable = || errors::unreadable(&self.name, operation, not_ours);
        let read = |token| Fenced::from_token(token).ok_or_else(unreadable);
        let tokens: Vec<Fenced> = tokens.map(read).collect::<Result<_>>()?;
        let mut queue = self.postgres.queue(&self.name, operation).await?;
        if tokens.iter().any(|fenced| fenced.queue != queue.id) {
            queue = self.postgres.current_queue(&self.name, operation).await?;
            let elsewhere = tokens.iter().map(|fenced| fenced.queue).filter(|id| *id != queue.id);
            self.refuse_elsewhere(elsewhere.collect(), operation).await?;
        }
        Ok((queue, tokens))
    }

    async fn refuse_elsewhere(&self, queues: Vec<i64>, operation: Operation) -> Result<()> {
        let exists = &self.postgres.inner.server.statements.queue_exists;
        let rows = self.call(operation, exists, &[(&queues, Type::INT8_ARRAY)]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        Err(errors::unreadable(&self.name, operation, "the lease token belongs to another queue"))
    }
}

/// The arrays of sequences and fences. A token of a queue that is gone names no task of this one.
pub(crate) fn numbers(queue: i64, tokens: &[Fenced]) -> (Vec<i64>, Vec<i64>) {
    let sequence = |fenced: &Fenced| if fenced.queue == queue { fenced.sequence } else { -1 };
    (tokens.iter().map(sequence).collect(), tokens.iter().map(|fenced| fenced.fence).collect())
}

/// What the server says of a settle or extend; `state` is where the task is if it was carried out.
pub(crate) fn settled(outcome: i16, state: i16, operation: Operation) -> Result<Settled> {
    Ok(match outcome {
        0 => Settled::Done { state: rows::state(state, operation)? },
        1 => Settled::AlreadyDone,
        2 => Settled::Lost(Lost::Expired),
        3 => Settled::Lost(Lost::Superseded),
        _ => Settled::Lost(Lost::NotFound),
    })
}

/// Verdicts as the arrays that `settle` takes.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    kinds: Vec<i16>,
    afters: Vec<i64>,
    texts: Vec<Option<String>>,
}

impl Verdicts {
    pub(crate) fn new<'v>(verdicts: impl Iterator<Item = &'v Verdict>) -> Self {
        let mut arrays = Self::default();
        for verdict in verdicts {
            let (kind, after, text) = match verdict {
                Verdict::Complete => (0, Duration::ZERO, None),
                Verdict::Retry { after, error } => (1, *after, error.as_deref()),
                Verdict::Release { after } => (2, *after, None),
                Verdict::DeadLetter { reason } => (3, Duration::ZERO, Some(reason.as_str())),
            };
            arrays.kinds.push(kind);
            arrays.afters.push(micros(after));
            // WHY: PostgreSQL keeps no zero byte in a text, and an error must not be lost for one.
            arrays.texts.push(text.map(|text| text.replace('\0', "\u{fffd}")));
        }
        arrays
    }

    /// The parameters of the statement `settle`.
    pub(crate) fn parameters<'p>(
        &'p self,
        queue: &'p i64,
        sequences: &'p Vec<i64>,
        fences: &'p Vec<i64>,
    ) -> [Parameter<'p>; 6] {
        [
            (queue, ID),
            (sequences, Type::INT8_ARRAY),
            (fences, Type::INT8_ARRAY),
            (&self.kinds, Type::INT2_ARRAY),
            (&self.afters, Type::INT8_ARRAY),
            (&self.texts, Type::TEXT_ARRAY),
        ]
    }
}

/// The outcomes of a settle, and how many tasks became available.
pub(crate) fn outcomes(rows: &[Row]) -> Result<(Vec<Settled>, usize)> {
    const SETTLE: Operation = Operation::Settle;
    let row = rows.first().ok_or_else(|| errors::corrupt(SETTLE, "no answer to a settle"))?;
    let outcomes: Vec<i16> = field(row, 0, SETTLE)?;
    let states: Vec<i16> = field(row, 1, SETTLE)?;
    let woken: i32 = field(row, 2, SETTLE)?;
    let outcome = |(outcome, state)| settled(outcome, state, SETTLE);
    let outcomes = outcomes.into_iter().zip(states).map(outcome).collect::<Result<_>>()?;
    Ok((outcomes, usize::try_from(woken).unwrap_or(0)))
}

#[async_trait]
impl Session for PostgresSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        const RECEIVE: Operation = Operation::Receive;
        let inner = &self.postgres.inner;
        let deadline: Timestamp = inner.watch.now().plus(options.wait);
        let (postgres, name) = (self.postgres.clone(), self.name.clone());
        let receives = Receives { postgres, name, number: self.number };
        loop {
            // INVARIANT: listened to before looking, so that nothing becomes available unheard.
            let (closing, all_closing) = (self.closing.listen(), inner.closing.listen());
            self.check_open(RECEIVE)?;
            let known = self.postgres.queue(&self.name, RECEIVE).await?;
            let ready = known.ready.listen();
            let (queue, leases) = receives.claim(&self.receives, options).await?;
            if !leases.is_empty() {
                // WHY: the tasks are held already; not learning where to begin only costs time.
                let _costs_time = self.ask_horizon(&queue).await;
                return Ok(leases);
            }
            if inner.watch.now() >= deadline {
                return Ok(leases);
            }
            let pause = self.until_next_look(&queue).await?;
            let pause = pause.min(deadline.since(inner.watch.now()));
            tokio::select! {
                () = ready => {}
                () = closing => {}
                () = all_closing => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        const SETTLE: Operation = Operation::Settle;
        self.check_open(SETTLE)?;
        let (queue, tokens) = self.read(verdicts.iter().map(|(token, _)| token), SETTLE).await?;
        let verdicts = verdicts.iter().map(|(_, verdict)| verdict);
        errors::on(&self.name, self.postgres.settle(&queue, tokens, verdicts).await)
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        const EXTEND: Operation = Operation::Extend;
        self.check_open(EXTEND)?;
        let (queue, tokens) = self.read(leases.iter().map(|(token, _)| token), EXTEND).await?;
        let (sequences, fences) = numbers(queue.id, &tokens);
        let lengths: Vec<i64> = leases.iter().map(|(_, length)| micros(*length)).collect();
        let parameters: [Parameter<'_>; 4] = [
            (&queue.id, ID),
            (&sequences, Type::INT8_ARRAY),
            (&fences, Type::INT8_ARRAY),
            (&lengths, Type::INT8_ARRAY),
        ];
        let extend = &self.postgres.inner.server.statements.extend;
        let rows = self.call(EXTEND, extend, &parameters).await?;
        rows.iter().map(|row| settled(field(row, 0, EXTEND)?, 2, EXTEND)).collect()
    }

    async fn close(&self, held: Held) -> Result<()> {
        const CLOSE: Operation = Operation::Close;
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.closing.notify(usize::MAX);
        if held == Held::Keep {
            return Ok(());
        }
        let queue = self.postgres.queue(&self.name, CLOSE).await?;
        let parameters: [Parameter<'_>; 2] = [(&queue.id, ID), (&self.number, Type::INT8)];
        let release = &self.postgres.inner.server.statements.release_held;
        let rows = self.call(CLOSE, release, &parameters).await?;
        let woken: Option<i64> = rows.first().map(|row| field(row, 0, CLOSE)).transpose()?;
        let woken = usize::try_from(woken.unwrap_or(0)).unwrap_or(0);
        self.postgres.inner.events.tell(&queue, woken);
        Ok(())
    }
}
