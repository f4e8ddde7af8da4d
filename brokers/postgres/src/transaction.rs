//! Several things in one transaction: settling and enqueueing in one step, and both in a transaction of
//! the caller.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tidegate_core::{
    Atomic, Enqueued, Error, FollowUp, LeaseToken, NewTask, Operation, QueueName, Result, Settled,
    State, Verdict, admit,
};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};

use crate::batch::{self, Admission, Answer, Batch};
use crate::driver::{ID, Postgres, new_tasks};
use crate::errors;
use crate::events::{CHANNEL, notice};
use crate::queues::Queue;
use crate::server::Parameter;
use crate::session::{Verdicts, numbers, outcomes};
use crate::token::Fenced;

const SETTLE: Operation = Operation::Settle;

impl Postgres {
    /// Enqueues tasks in a transaction of the caller: they are there when it commits, and never were
    /// when it does not. Returns one outcome per task, in order.
    ///
    /// The transaction must be of this broker's database and READ COMMITTED. The capacity is soft here:
    /// what other transactions have not committed yet is not counted, and nobody waits for this one to
    /// keep a count. Until it ends, senders of the same dedup key wait for it, and so do senders and
    /// workers of ordering keys that share a lock with one of these: keep it short.
    ///
    /// # Errors
    /// `NotFound` for a queue that does not exist, `Invalid` in a transaction of another isolation level,
    /// `Unavailable` after a deadlock or a lost connection: the transaction is over then. Dropping the
    /// future leaves it open with or without the tasks: roll it back.
    ///
    /// ```no_run
    /// # use tidegate_core::{NewTask, QueueName};
    /// # async fn order(
    /// #     postgres: tidegate_postgres::Postgres,
    /// #     client: &mut tidegate_postgres::tokio_postgres::Client,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let mail = QueueName::new("mail")?;
    /// let mut order = client.transaction().await?;
    /// order.execute("INSERT INTO orders (id) VALUES (42)", &[]).await?;
    /// let sent = postgres.enqueue_in(&mut order, &mail, &[NewTask::new("mail.receipt", "42")]).await?;
    /// sent.into_iter().collect::<Result<Vec<_>, _>>()?;
    /// order.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue_in(
        &self,
        transaction: &mut Transaction<'_>,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        const ENQUEUE: Operation = Operation::Enqueue;
        let known = self.queue(queue, ENQUEUE).await?;
        let refusal = |task| {
            let admitted = admit::task(&self.inner.capabilities, Some(&known.spec), task);
            admitted.err().or_else(|| batch::refusal(task, &known, ENQUEUE))
        };
        let refusals: Vec<Option<Error>> = tasks.iter().map(refusal).collect();
        let admitted = tasks.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
        let admitted: Vec<&NewTask> = admitted.map(|(task, _)| task).collect();
        let mut sent = Vec::with_capacity(tasks.len());
        for call in batch::in_calls(&admitted) {
            for part in call.chunks(self.inner.capabilities.batch_max) {
                let soft = self.enqueue_part(transaction, &known, part, Admission::Soft, ENQUEUE);
                sent.extend(errors::on(queue, soft.await)?);
            }
        }
        let told = notice(&self.inner.server.statements.schema, known.id, new_tasks(&sent), 0);
        let tell: [Parameter<'_>; 2] = [(&CHANNEL, Type::TEXT), (&told, Type::TEXT)];
        self.query_in(transaction, "SELECT pg_notify($1, $2)", &tell, ENQUEUE).await?;
        let mut sent = sent.into_iter();
        let missing = || Err(errors::corrupt(ENQUEUE, "fewer outcomes than tasks").on(queue));
        let outcome = |refusal: Option<Error>| match refusal {
            Some(refusal) => Err(refusal.on(queue)),
            None => sent.next().unwrap_or_else(missing),
        };
        Ok(refusals.into_iter().map(outcome).collect())
    }

    /// Completes tasks of one queue or of several in a transaction of the caller, so that the effect of
    /// the work and its acknowledgement commit together. Returns one outcome per token, in order.
    ///
    /// Unless an outcome is `Done`, the task is somebody else's by now, or done before: roll back. What
    /// holds for [`Postgres::enqueue_in`] holds here.
    ///
    /// # Errors
    /// `Invalid` for a token that cannot be read, and then nothing was carried out.
    pub async fn complete_in(
        &self,
        transaction: &mut Transaction<'_>,
        tokens: &[LeaseToken],
    ) -> Result<Vec<Settled>> {
        let unreadable = || {
            let why = "the lease token is not one of this broker's; pass it on as it was received";
            Error::new(tidegate_core::ErrorKind::Invalid, SETTLE, why)
        };
        let read = |token| Fenced::from_token(token).ok_or_else(unreadable);
        let fenced: Vec<Fenced> = tokens.iter().map(read).collect::<Result<_>>()?;
        let mut by_queue: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (place, fenced) in fenced.iter().enumerate() {
            by_queue.entry(fenced.queue).or_default().push(place);
        }
        let mut settled = vec![None; tokens.len()];
        for (queue, places) in by_queue {
            let ours: Vec<Fenced> =
                places.iter().filter_map(|place| fenced.get(*place)).copied().collect();
            let verdicts = ours.iter().map(|_| &Verdict::Complete);
            let (outcomes, _) = self.settle_in(transaction, queue, &ours, verdicts).await?;
            for (place, outcome) in places.into_iter().zip(outcomes) {
                if let Some(slot) = settled.get_mut(place) {
                    *slot = Some(outcome);
                }
            }
        }
        let missing = || errors::corrupt(SETTLE, "fewer outcomes than tokens");
        settled.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
    }

    async fn settle_in<'v>(
        &self,
        transaction: &Transaction<'_>,
        queue: i64,
        tokens: &[Fenced],
        verdicts: impl Iterator<Item = &'v Verdict>,
    ) -> Result<(Vec<Settled>, usize)> {
        let (sequences, fences) = numbers(queue, tokens);
        let arrays = Verdicts::new(verdicts);
        let parameters = arrays.parameters(&queue, &sequences, &fences);
        let settle = &self.inner.server.statements.settle.anywhere;
        outcomes(&self.query_in(transaction, settle, &parameters, SETTLE).await?)
    }

    async fn enqueue_part(
        &self,
        transaction: &Transaction<'_>,
        queue: &Queue,
        tasks: &[&NewTask],
        admission: Admission,
        operation: Operation,
    ) -> Result<Vec<Result<Enqueued>>> {
        let batch = Batch::new(tasks.iter().copied());
        queue.announce_priorities(&self.inner.server, batch.priorities()).await?;
        let how = admission as i16;
        let parameters = batch.parameters(&queue.id, &how);
        let enqueue = &self.inner.server.statements.enqueue.anywhere;
        let rows = self.query_in(transaction, enqueue, &parameters, operation).await?;
        match batch::answer(&rows, &batch, queue, operation)? {
            Answer::Outcomes(outcomes) => Ok(outcomes),
            Answer::Missing => Err(errors::missing(&queue.name, operation)),
            Answer::Alone => Err(errors::corrupt(operation, "an answer to another question")),
        }
    }

    async fn query_in(
        &self,
        transaction: &Transaction<'_>,
        statement: &str,
        parameters: &[Parameter<'_>],
        operation: Operation,
    ) -> Result<Vec<Row>> {
        self.inner.server.check_open(operation)?;
        let rows = transaction.query_typed(statement, parameters).await;
        rows.map_err(|error| self.noted(self.inner.server.failed(operation, error)))
    }

    /// Tells those who wait at the dead-letter queue of what has moved there.
    pub(crate) async fn tell_dead_letters(&self, queue: &Queue, outcomes: &[Settled]) {
        let is_dead = |outcome: &&Settled| **outcome == Settled::Done { state: State::Dead };
        let died = outcomes.iter().filter(is_dead).count();
        if let Some(target) = queue.spec.dead_letters.queue.as_ref().filter(|_| died > 0)
            && let Ok(target) = self.queue(target, SETTLE).await
        {
            self.inner.events.tell(&target, died);
        }
    }
}

/// What follows, by the queue it goes to, in the order of the queues' ids: in that order they are locked.
type Following<'f> = BTreeMap<i64, (std::sync::Arc<Queue>, Vec<(usize, &'f NewTask)>)>;

impl Postgres {
    async fn following<'f>(&self, follow_ups: &'f [FollowUp]) -> Result<Following<'f>> {
        let mut following = Following::new();
        for (place, FollowUp { queue, task }) in follow_ups.iter().enumerate() {
            let known = self.current_queue(queue, SETTLE).await?;
            if let Some(refusal) = batch::refusal(task, &known, SETTLE) {
                return Err(refusal);
            }
            // WHY: here, because the step has a connection already and must not need a second one.
            let priorities = std::iter::once(i16::from(task.priority));
            known.announce_priorities(&self.inner.server, priorities).await?;
            let entry = following.entry(known.id).or_insert_with(|| (known, Vec::new()));
            entry.1.push((place, task));
        }
        Ok(following)
    }

    /// Takes every lock that the step needs, in the order that all keep.
    async fn lock_step(
        &self,
        step: &Transaction<'_>,
        queue: i64,
        sequence: i64,
        following: &Following<'_>,
    ) -> Result<()> {
        let mut queues = Vec::new();
        let mut keys = Vec::new();
        for (id, (_, tasks)) in following {
            for (_, task) in tasks {
                queues.push(*id);
                keys.push(task.ordering_key.as_deref());
            }
        }
        let parameters: [Parameter<'_>; 4] = [
            (&queue, ID),
            (&sequence, Type::INT8),
            (&queues, Type::INT8_ARRAY),
            (&keys, Type::TEXT_ARRAY),
        ];
        let lock = &self.inner.server.statements.lock_step;
        self.query_in(step, lock, &parameters, SETTLE).await.map(drop)
    }

    async fn step(
        &self,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        let server = &self.inner.server;
        let queue = self.current_queue(name, SETTLE).await?;
        let following = self.following(follow_ups).await;
        let mut connection = server.connection(SETTLE).await?;
        let failed = |error| self.noted(server.failed(SETTLE, error));
        let client: &mut Client = &mut connection;
        let step = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let step = step.start().await.map_err(failed)?;
        // WHY: a stale token is an answer also where a follow-up could not be enqueued.
        let nothing = Following::new();
        let locked = following.as_ref().unwrap_or(&nothing);
        self.lock_step(&step, queue.id, fenced.sequence, locked).await?;
        let verdicts = std::iter::once(verdict);
        let (outcomes, woken) = self.settle_in(&step, queue.id, &[fenced], verdicts).await?;
        let settled = outcomes.first().copied();
        let settled = settled.ok_or_else(|| errors::corrupt(SETTLE, "no outcome of a settle"))?;
        if !matches!(settled, Settled::Done { .. }) {
            return Ok((settled, Vec::new()));
        }
        let following = following?;
        let mut enqueued = vec![None; follow_ups.len()];
        for (to, tasks) in following.values() {
            let new: Vec<&NewTask> = tasks.iter().map(|(_, task)| *task).collect();
            let alone = self.enqueue_part(&step, to, &new, Admission::Alone, SETTLE).await?;
            for ((place, _), outcome) in tasks.iter().zip(alone) {
                if let Some(slot) = enqueued.get_mut(*place) {
                    *slot = Some(outcome?);
                }
            }
        }
        step.commit().await.map_err(failed)?;
        self.inner.events.tell(&queue, woken);
        self.tell_dead_letters(&queue, &[settled]).await;
        following.values().for_each(|(to, tasks)| self.inner.events.tell(to, tasks.len()));
        let missing = || errors::corrupt(SETTLE, "fewer outcomes than tasks");
        let enqueued = enqueued.into_iter().map(|one| one.ok_or_else(missing));
        Ok((settled, enqueued.collect::<Result<_>>()?))
    }
}

#[async_trait]
impl Atomic for Postgres {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        let why = "the lease token is not one of this broker's";
        let fenced = Fenced::from_token(token);
        let fenced = fenced.ok_or_else(|| errors::unreadable(queue, SETTLE, why))?;
        errors::on(queue, self.step(queue, fenced, verdict, follow_ups).await)
    }
}
