//! The stream of sends: requests go out as they come, their receipts come back in any order.

use std::sync::Arc;

use futures_util::StreamExt;
use prost::Message;
use tidegate_core::{Enqueued, Error, ErrorKind, NewTask, Operation, QueueName, Result};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::line::{Calls, lost};
use super::pending::Pending;
use crate::proto;
use crate::wire::error::{error_from, status_from};
use crate::wire::task::{enqueued_from, new_task_to};

const ENQUEUE: Operation = Operation::Enqueue;

/// Most bytes of tasks in one request, unless one task alone has more.
const REQUEST_TASK_BYTES: usize = 4 << 20;

type Answer = Result<Vec<proto::Enqueued>>;

/// The stream of sends of a line. Ends with it.
#[derive(Debug)]
pub(super) struct Sends {
    requests: mpsc::UnboundedSender<proto::EnqueueRequest>,
    pending: Arc<Pending<oneshot::Sender<Answer>>>,
    /// Bytes that may be sent before more is answered.
    credit: Arc<Semaphore>,
    credit_bytes: u32,
}

impl Sends {
    /// Opens the stream and waits for its credit.
    pub(super) async fn start(mut calls: Calls) -> Result<Self> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let answers = calls.enqueue(UnboundedReceiverStream::new(outgoing)).await;
        let mut answers = answers.map_err(|status| status_from(status, ENQUEUE))?.into_inner();
        let first = answers.message().await.map_err(|status| status_from(status, ENQUEUE))?;
        let credit = first.ok_or_else(|| lost(ENQUEUE))?.credit_bytes;
        let credit_bytes = u32::try_from(credit).unwrap_or(u32::MAX).max(1);
        let pending = Arc::new(Pending::new());
        let credit = Arc::new(Semaphore::new(credit_bytes as usize));
        tokio::spawn(hand_out(answers, pending.clone(), credit.clone()));
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
        let mut left = requests_of(queue, tasks);
        let Some((first, bytes)) = left.next() else { return Ok(Vec::new()) };
        let mut outcomes = self.request(queue, first, bytes).await?;
        for (request, bytes) in left {
            let count = request.tasks.len();
            match self.request(queue, request, bytes).await {
                Ok(more) => outcomes.extend(more),
                // WHY: an earlier request went in, so the error is these tasks' alone.
                Err(error) => {
                    let again = || Error::new(error.kind(), ENQUEUE, error.message()).on(queue);
                    outcomes.extend(std::iter::repeat_with(|| Err(again())).take(count));
                }
            }
        }
        Ok(outcomes)
    }

    async fn request(
        &self,
        queue: &QueueName,
        mut request: proto::EnqueueRequest,
        bytes: usize,
    ) -> Result<Vec<Result<Enqueued>>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permits = self.credit.acquire_many(bytes.min(self.credit_bytes));
        let _held = permits.await.map_err(|_| lost(ENQUEUE).on(queue))?;
        let (tell, told) = oneshot::channel();
        let number = self.pending.add(tell).ok_or_else(|| lost(ENQUEUE).on(queue))?;
        request.id = number;
        let count = request.tasks.len();
        // A stream that has ended has dropped `tell` too.
        let _ = self.requests.send(request);
        let outcomes = told.await.map_err(|_| lost(ENQUEUE).on(queue))??;
        if outcomes.len() != count {
            let why = "the server answered for another number of tasks than it was sent";
            return Err(Error::new(ErrorKind::Unexpected, ENQUEUE, why).on(queue));
        }
        outcomes.into_iter().map(|outcome| enqueued_from(outcome, ENQUEUE)).collect()
    }
}

/// Hands answers to those who wait for them, until the stream ends.
async fn hand_out(
    mut answers: Streaming<proto::EnqueueResponse>,
    pending: Arc<Pending<oneshot::Sender<Answer>>>,
    credit: Arc<Semaphore>,
) {
    while let Some(Ok(answer)) = answers.next().await {
        let proto::EnqueueResponse { id, outcomes, error, credit_bytes: _ } = answer;
        if let Some(tell) = pending.take(id) {
            // Nobody may be waiting any more.
            let _ = tell.send(error.map_or(Ok(outcomes), |error| Err(error_from(error))));
        }
    }
    pending.end();
    credit.close();
}

/// Splits tasks into requests that a server takes, each with the bytes of its tasks.
fn requests_of(
    queue: &QueueName,
    tasks: &[NewTask],
) -> impl Iterator<Item = (proto::EnqueueRequest, usize)> {
    let with_bytes = |task: &NewTask| {
        let task = new_task_to(task);
        let bytes = task.encoded_len();
        (task, bytes)
    };
    let mut left = tasks.iter().map(with_bytes).peekable();
    std::iter::from_fn(move || {
        let (mut fitting, mut sum) = (Vec::new(), 0);
        while let Some((task, bytes)) =
            left.next_if(|(_, bytes)| sum + bytes <= REQUEST_TASK_BYTES || fitting.is_empty())
        {
            fitting.push(task);
            sum += bytes;
        }
        let request = proto::EnqueueRequest { id: 0, queue: queue.to_string(), tasks: fitting };
        (!request.tasks.is_empty()).then_some((request, sum))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(bytes_of_each: &[usize]) -> Vec<usize> {
        let task = |bytes: &usize| NewTask::new("k", vec![0; *bytes]);
        let tasks: Vec<NewTask> = bytes_of_each.iter().map(task).collect();
        let queue = QueueName::new("q").unwrap();
        requests_of(&queue, &tasks).map(|(request, _)| request.tasks.len()).collect()
    }

    #[test]
    fn tasks_are_split_where_a_request_would_be_too_long() {
        assert_eq!(counts(&[]), [] as [usize; 0]);
        assert_eq!(counts(&[1, 2, 3]), [3]);
        assert_eq!(counts(&[9 << 20]), [1]);
        assert_eq!(counts(&[3 << 20, 3 << 20, 1, 9 << 20, 1]), [1, 2, 1, 1]);
    }
}
