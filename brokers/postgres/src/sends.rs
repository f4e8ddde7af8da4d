//! Sending tasks, alone or together with what others send at the same time.

use tidegate_core::gather::{Gathered, Room, Size, gathered};
use tidegate_core::{Enqueued, NewTask, Operation, QueueName, Result};

use crate::batch::{self, Admission, Answer, Batch};
use crate::driver::{Postgres, new_tasks};
use crate::errors::corrupt;
use crate::gather::{ROOM, is_small, patience, things};
use crate::queues::Queue;

const ENQUEUE: Operation = Operation::Enqueue;

/// Sends of plain tasks to a queue. One with a key waits for whoever holds the key, so it goes alone.
#[derive(Clone)]
pub(crate) struct Sends {
    postgres: Postgres,
    queue: QueueName,
}

impl Gathered for Sends {
    type Wanted = Vec<NewTask>;
    type Own = Vec<Result<Enqueued>>;
    const ROOM: Room = ROOM;

    fn doing(&self) -> Operation {
        ENQUEUE
    }

    fn size(tasks: &Self::Wanted) -> Size {
        things(tasks.len())
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.postgres.spawn_gathered(work);
    }

    fn patience(&self) -> impl Future<Output = ()> + Send {
        patience()
    }

    async fn call(&self, all: &[Self::Wanted]) -> Result<Vec<Self::Own>> {
        let tasks: Vec<&NewTask> = all.iter().flatten().collect();
        let mut outcomes = self.postgres.enqueue_call(&self.queue, &tasks).await?.into_iter();
        Ok(all.iter().map(|own| outcomes.by_ref().take(own.len()).collect()).collect())
    }
}

impl Postgres {
    /// Sends tasks of which none is to be refused here.
    pub(crate) async fn send(
        &self,
        queue: &Queue,
        tasks: &[&NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let bytes = tasks.iter().map(|task| task.payload.len()).sum();
        let is_plain = |task: &&NewTask| task.dedup.is_none() && task.ordering_key.is_none();
        if !tasks.is_empty() && is_small(tasks.len(), bytes) && tasks.iter().all(is_plain) {
            let how = Sends { postgres: self.clone(), queue: queue.name.clone() };
            let tasks = tasks.iter().copied().cloned().collect();
            return gathered(&how, &queue.sends, tasks).await;
        }
        let mut outcomes = Vec::with_capacity(tasks.len());
        for call in batch::in_calls(tasks) {
            outcomes.extend(self.enqueue_call(&queue.name, &call).await?);
        }
        Ok(outcomes)
    }

    async fn enqueue_call(
        &self,
        name: &QueueName,
        tasks: &[&NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let outcomes = self.try_to_enqueue(name, tasks).await;
        outcomes.map_err(|error| self.noted(error))
    }

    async fn try_to_enqueue(
        &self,
        name: &QueueName,
        tasks: &[&NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let server = &self.inner.server;
        let batch = Batch::new(tasks.iter().copied());
        let mut queue = self.queue(name, ENQUEUE).await?;
        let mut admission = Admission::Beside;
        loop {
            queue.announce_priorities(server, batch.priorities()).await?;
            let how = admission as i16;
            let parameters = batch.parameters(&queue.id, &how);
            let rows =
                server.call_frequent(ENQUEUE, &server.statements.enqueue, &parameters).await?;
            match batch::answer(&rows, &batch, &queue, ENQUEUE)? {
                Answer::Missing => queue = self.current_queue(name, ENQUEUE).await?,
                Answer::Alone => admission = Admission::Alone,
                Answer::Outcomes(outcomes) if outcomes.len() == tasks.len() => {
                    self.inner.events.tell(&queue, new_tasks(&outcomes));
                    return Ok(outcomes);
                }
                Answer::Outcomes(_) => return Err(corrupt(ENQUEUE, "fewer outcomes than tasks")),
            }
        }
    }
}
