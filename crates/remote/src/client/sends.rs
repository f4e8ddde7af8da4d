//! The stream of sends: requests go out as they come, their receipts come back in any order.

use std::sync::Arc;

use futures_util::StreamExt;
use tidegate_core::{Enqueued, Error, ErrorKind, NewTask, Operation, QueueName, Result};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::Streaming;

use super::line::{Calls, lost};
use super::pending::Pending;
use super::together::{Call, Joins, MESSAGE_BYTES, Outgoing, Together, is_refusal};
use crate::proto;
use crate::wire::error::{error_from, status_from};
use crate::wire::task::{bytes_of, enqueued_from, new_task_to};

const ENQUEUE: Operation = Operation::Enqueue;

/// An answer of its own; or none, for the request was refused together with others.
type Told = Option<Result<Vec<proto::Enqueued>, proto::Error>>;

/// The stream of sends of a line. Ends with it.
#[derive(Debug)]
pub(super) struct Sends {
    requests: mpsc::UnboundedSender<Call<proto::EnqueueRequest>>,
    pending: Arc<Pending<oneshot::Sender<Told>>>,
    /// Bytes that may be sent before more is answered.
    credit: Arc<Semaphore>,
    credit_bytes: u32,
}

impl Sends {
    /// Opens the stream and waits for its credit.
    pub(super) async fn start(mut calls: Calls, batch_max: usize) -> Result<Self> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let together = Arc::new(Together::default());
        let outgoing = Outgoing::new(outgoing, together.clone(), batch_max);
        let answers = calls.enqueue(outgoing).await;
        let mut answers = answers.map_err(|status| status_from(status, ENQUEUE))?.into_inner();
        let first = answers.message().await.map_err(|status| status_from(status, ENQUEUE))?;
        let credit = first.ok_or_else(|| lost(ENQUEUE))?.credit_bytes;
        let credit_bytes = u32::try_from(credit).unwrap_or(u32::MAX).max(1);
        let pending = Arc::new(Pending::new());
        let credit = Arc::new(Semaphore::new(credit_bytes as usize));
        tokio::spawn(hand_out(answers, pending.clone(), together, credit.clone()));
        Ok(Self { requests, pending, credit, credit_bytes })
    }

    /// Drops every request that waits for its answer.
    pub(super) fn end(&self) {
        self.pending.end();
        self.credit.close();
    }

    /// Enqueues tasks, in as many requests as they need.
    pub(super) async fn enqueue(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        let mut outcomes = Vec::new();
        for (part, bytes) in parts(tasks) {
            match self.request(queue, part, bytes).await {
                Ok(more) if outcomes.is_empty() => outcomes = more,
                Ok(more) => outcomes.extend(more),
                Err(error) if outcomes.is_empty() => return Err(error),
                // WHY: an earlier request went in, so the error is these tasks' alone.
                Err(error) => {
                    let again = || Error::new(error.kind(), ENQUEUE, error.message()).on(queue);
                    outcomes.extend(std::iter::repeat_with(|| Err(again())).take(part.len()));
                }
            }
        }
        Ok(outcomes)
    }

    /// Enqueues what fits one request.
    async fn request(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
        bytes: usize,
    ) -> Result<Vec<Result<Enqueued>>> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.credit_bytes);
        let permits = self.credit.acquire_many(permits);
        let _held = permits.await.map_err(|_| lost(ENQUEUE).on(queue))?;
        for alone in [false, true] {
            // WHY: one that is refused together with others need not have been the one to blame.
            let Some(answer) = self.told(queue, tasks, bytes, alone).await? else { continue };
            let outcomes = answer.map_err(error_from)?;
            if outcomes.len() != tasks.len() {
                let why = "the server answered for another number of tasks than it was sent";
                return Err(Error::new(ErrorKind::Unexpected, ENQUEUE, why).on(queue));
            }
            return outcomes.into_iter().map(|outcome| enqueued_from(outcome, ENQUEUE)).collect();
        }
        Err(lost(ENQUEUE).on(queue))
    }

    async fn told(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
        bytes: usize,
        alone: bool,
    ) -> Result<Told> {
        let (tell, told) = oneshot::channel();
        let id = self.pending.add(tell).ok_or_else(|| lost(ENQUEUE).on(queue))?;
        let (count, tasks) = (tasks.len(), tasks.iter().map(new_task_to).collect());
        let message = proto::EnqueueRequest { id, queue: queue.to_string(), tasks };
        // A stream that has ended has dropped `tell` too.
        let _ = self.requests.send(Call { message, count, bytes, alone });
        told.await.map_err(|_| lost(ENQUEUE).on(queue))
    }
}

impl Joins for proto::EnqueueRequest {
    fn number(&self) -> u64 {
        self.id
    }

    fn is_barrier(&self) -> bool {
        false
    }

    fn goes_with(&self, other: &Self) -> bool {
        self.queue == other.queue
    }

    fn join(&mut self, other: Self) {
        self.tasks.extend(other.tasks);
    }
}

/// Hands answers to those who wait for them, until the stream ends.
async fn hand_out(
    mut answers: Streaming<proto::EnqueueResponse>,
    pending: Arc<Pending<oneshot::Sender<Told>>>,
    together: Arc<Together>,
    credit: Arc<Semaphore>,
) {
    // Nobody may be waiting any more.
    let tell = |id, told| pending.take(id).map(|tell| tell.send(told));
    while let Some(Ok(answer)) = answers.next().await {
        let proto::EnqueueResponse { id, outcomes, error, credit_bytes: _ } = answer;
        let answer = error.map_or(Ok(outcomes), Err);
        let Some(carried) = together.take(id) else {
            tell(id, Some(answer));
            continue;
        };
        match answer {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (id, count) in carried {
                    tell(id, Some(Ok(outcomes.by_ref().take(count).collect())));
                }
            }
            Err(error) => {
                for (id, _) in carried {
                    tell(id, (!is_refusal(&error)).then(|| Err(error.clone())));
                }
            }
        }
    }
    pending.end();
    credit.close();
}

/// Splits tasks into runs that fit one request, each with its bytes.
fn parts(tasks: &[NewTask]) -> impl Iterator<Item = (&[NewTask], usize)> {
    let mut left = tasks;
    std::iter::from_fn(move || {
        let (mut count, mut sum) = (0, 0);
        for bytes in left.iter().map(bytes_of) {
            if count > 0 && sum + bytes > MESSAGE_BYTES {
                break;
            }
            (count, sum) = (count + 1, sum + bytes);
        }
        let (now, later) = left.split_at(count);
        left = later;
        (!now.is_empty()).then_some((now, sum))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(bytes_of_each: &[usize]) -> Vec<usize> {
        let task = |bytes: &usize| NewTask::new("k", vec![0; *bytes]);
        let tasks: Vec<NewTask> = bytes_of_each.iter().map(task).collect();
        parts(&tasks).map(|(tasks, _)| tasks.len()).collect()
    }

    #[test]
    fn tasks_are_split_where_a_request_would_be_too_long() {
        assert_eq!(counts(&[]), [] as [usize; 0]);
        assert_eq!(counts(&[1, 2, 3]), [3]);
        assert_eq!(counts(&[9 << 20]), [1]);
        assert_eq!(counts(&[3 << 20, 3 << 20, 1, 9 << 20, 1]), [1, 2, 1, 1]);
    }
}
