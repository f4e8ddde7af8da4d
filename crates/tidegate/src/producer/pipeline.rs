//! Sends that are not waited for one by one: what gathers while the batch before is being sent goes
//! together, in the order in which it was submitted.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tidegate_core::{Enqueued, Error, ErrorKind, NewTask, Operation, QueueName, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::room::same;
use super::{Sender, short_answer};

/// Most tasks in a pipeline without an outcome, unless set.
pub const IN_FLIGHT_DEFAULT: usize = 10_000;

/// Ends with the outcome of a submitted task. Dropping it does not take the task back.
#[derive(Debug)]
#[must_use = "a receipt tells whether the task is durable"]
pub struct Receipt {
    outcome: oneshot::Receiver<Result<Enqueued>>,
    queue: QueueName,
}

impl Future for Receipt {
    type Output = Result<Enqueued>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.outcome).poll(cx);
        outcome.map(|told| told.unwrap_or_else(|_| Err(gone(&self.queue))))
    }
}

/// Batchers, one a queue, and the bound over all of them.
#[derive(Debug)]
pub(super) struct Pipeline {
    room: Arc<Semaphore>,
    size: u32,
    batchers: Mutex<HashMap<QueueName, mpsc::UnboundedSender<Submitted>>>,
    unheard: Arc<Mutex<Option<Error>>>,
}

/// A task on its way, with the room it takes up.
#[derive(Debug)]
struct Submitted {
    task: NewTask,
    receipt: oneshot::Sender<Result<Enqueued>>,
    _room: OwnedSemaphorePermit,
}

impl Pipeline {
    pub(super) fn new(in_flight: usize) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let size = in_flight.clamp(1, most);
        Self {
            room: Arc::new(Semaphore::new(size)),
            size: size as u32,
            batchers: Mutex::default(),
            unheard: Arc::default(),
        }
    }

    pub(super) async fn submit(
        &self,
        sender: &Sender,
        queue: &QueueName,
        task: NewTask,
    ) -> Result<Receipt> {
        let room = self.room.clone().acquire_owned().await;
        let room = room.map_err(|_| gone(queue))?;
        let (receipt, outcome) = oneshot::channel();
        let submitted = Submitted { task, receipt, _room: room };
        self.pass_on(sender, queue, submitted)?;
        Ok(Receipt { outcome, queue: queue.clone() })
    }

    /// Waits until all room is free, which is when everything submitted before has its outcome;
    /// what is submitted later queues up behind.
    pub(super) async fn flush(&self) -> Result<()> {
        // The semaphore is never closed.
        let all = self.room.acquire_many(self.size).await;
        drop(all);
        lock(&self.unheard).take().map_or(Ok(()), Err)
    }

    fn pass_on(&self, sender: &Sender, queue: &QueueName, submitted: Submitted) -> Result<()> {
        let mut batchers = lock(&self.batchers);
        let submitted = match batchers.get(queue) {
            None => submitted,
            Some(batcher) => match batcher.send(submitted) {
                Ok(()) => return Ok(()),
                // WHY: its runtime was shut down; this one is another.
                Err(unsent) => unsent.0,
            },
        };
        let (batcher, submissions) = mpsc::unbounded_channel();
        batcher.send(submitted).map_err(|_| gone(queue))?;
        let batches =
            send_batches(sender.clone(), queue.clone(), submissions, self.unheard.clone());
        tokio::spawn(batches);
        batchers.insert(queue.clone(), batcher);
        Ok(())
    }
}

/// Sends what was submitted to one queue, a batch a turn, until the producer is dropped and all of
/// it has its outcome.
async fn send_batches(
    sender: Sender,
    queue: QueueName,
    mut submissions: mpsc::UnboundedReceiver<Submitted>,
    unheard: Arc<Mutex<Option<Error>>>,
) {
    let batch_max = sender.broker.capabilities().batch_max.max(1);
    let mut batch = Vec::new();
    while submissions.recv_many(&mut batch, batch_max).await > 0 {
        let (tasks, waiting): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|Submitted { task, receipt, _room }| (task, (receipt, _room)))
            .unzip();
        let answers = sender.enqueue(&queue, tasks).await;
        let mut answers = answers.map(Vec::into_iter);
        for (receipt, room) in waiting {
            let outcome = match &mut answers {
                Ok(answers) => answers.next().unwrap_or_else(|| Err(short_answer(&queue))),
                Err(error) => Err(same(error).on(&queue)),
            };
            if let Err(Err(error)) = receipt.send(outcome) {
                lock(&unheard).get_or_insert(error);
            }
            drop(room);
        }
    }
}

fn gone(queue: &QueueName) -> Error {
    let why = "the pipeline ended before it told the outcome; was its runtime shut down?";
    Error::new(ErrorKind::Closed, Operation::Enqueue, why).on(queue)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
