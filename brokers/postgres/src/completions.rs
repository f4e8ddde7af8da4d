//! Completing tasks, together with what others complete at the same time.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_core::gather::{Gathered, Room, Size, gathered};
use tidegate_core::{Operation, Ordering, Result, Settled, State, Verdict};
use tokio_postgres::types::Type;

use crate::driver::{ID, Postgres};
use crate::errors::corrupt;
use crate::gather::{ROOM, is_small, patience, things};
use crate::queues::Queue;
use crate::rows::field;
use crate::server::Parameter;
use crate::session::{Verdicts, numbers, outcomes};
use crate::token::Fenced;

const SETTLE: Operation = Operation::Settle;
const DONE: Settled = Settled::Done { state: State::Done };

/// Completions of tasks of a queue without order. Other verdicts, and those of an ordered queue, may have to wait for who
/// holds a key.
#[derive(Clone)]
pub(crate) struct Completions {
    postgres: Postgres,
    queue: Arc<Queue>,
}

impl Gathered for Completions {
    type Wanted = Vec<Fenced>;
    /// `None` for one of whose tasks something else than this call may know: it is to be asked for alone.
    type Own = Vec<Option<Settled>>;
    const ROOM: Room = ROOM;

    fn doing(&self) -> Operation {
        SETTLE
    }

    fn size(tokens: &Self::Wanted) -> Size {
        things(tokens.len())
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.postgres.spawn_gathered(work);
    }

    fn patience(&self) -> impl Future<Output = ()> + Send {
        patience()
    }

    async fn call(&self, all: &[Self::Wanted]) -> Result<Vec<Self::Own>> {
        let server = &self.postgres.inner.server;
        let tokens: Vec<Fenced> = all.iter().flatten().copied().collect();
        let (sequences, fences) = numbers(self.queue.id, &tokens);
        let parameters: [Parameter<'_>; 3] =
            [(&self.queue.id, ID), (&sequences, Type::INT8_ARRAY), (&fences, Type::INT8_ARRAY)];
        let rows = server.call_frequent(SETTLE, &server.statements.complete, &parameters).await;
        let rows = rows.map_err(|error| self.postgres.noted(error))?;
        let row = rows.first().ok_or_else(|| corrupt(SETTLE, "no answer to completions"))?;
        let finished: Option<Vec<i64>> = field(row, 0, SETTLE)?;
        let mut finished = finished.map(HashSet::<i64>::from_iter);
        // WHY: taken out, because of one that is twice among them the second is not done by this.
        let mut is_done = |token: &Fenced| {
            finished.as_mut().is_none_or(|fences| fences.remove(&token.fence)).then_some(DONE)
        };
        Ok(all.iter().map(|own| own.iter().map(&mut is_done).collect()).collect())
    }
}

impl Postgres {
    /// Carries out verdicts on tasks of a queue.
    pub(crate) async fn settle<'v>(
        &self,
        queue: &Arc<Queue>,
        tokens: Vec<Fenced>,
        verdicts: impl Iterator<Item = &'v Verdict> + Clone + Send,
    ) -> Result<Vec<Settled>> {
        let are_plain = queue.spec.ordering == Ordering::None
            && verdicts.clone().all(|verdict| *verdict == Verdict::Complete);
        if !are_plain || tokens.is_empty() || !is_small(tokens.len(), 0) {
            return self.settle_alone(queue, &tokens, verdicts).await;
        }
        let how = Completions { postgres: self.clone(), queue: queue.clone() };
        let done = gathered(&how, &queue.completions, tokens.clone()).await?;
        let is_left = |(token, done): (&Fenced, &Option<Settled>)| done.is_none().then_some(*token);
        let left: Vec<Fenced> = tokens.iter().zip(&done).filter_map(is_left).collect();
        if left.is_empty() {
            return Ok(done.into_iter().flatten().collect());
        }
        let verdicts = left.iter().map(|_| &Verdict::Complete);
        let mut rest = self.settle_alone(queue, &left, verdicts).await?.into_iter();
        Ok(done.into_iter().filter_map(|done| done.or_else(|| rest.next())).collect())
    }

    async fn settle_alone<'v>(
        &self,
        queue: &Queue,
        tokens: &[Fenced],
        verdicts: impl Iterator<Item = &'v Verdict>,
    ) -> Result<Vec<Settled>> {
        let server = &self.inner.server;
        let (sequences, fences) = numbers(queue.id, tokens);
        let arrays = Verdicts::new(verdicts);
        let parameters = arrays.parameters(&queue.id, &sequences, &fences);
        let rows = server.call_frequent(SETTLE, &server.statements.settle, &parameters).await;
        let (outcomes, woken) = outcomes(&rows.map_err(|error| self.noted(error))?)?;
        self.inner.events.tell(queue, woken);
        self.tell_dead_letters(queue, &outcomes).await;
        Ok(outcomes)
    }
}
