//! The stream of sends: requests come in, one receipt each goes out when its tasks are durable.
//!
//! Requests that have arrived together are enqueued together, a queue at a time: one step of the broker
//! instead of many.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt, stream};
use tidegate_core::access::Action;
use tidegate_core::{
    Access, Broker, Enqueued, Error, ErrorKind, NewTask, Operation, QueueName, Result, queueing,
};
use tonic::{Status, Streaming};

use super::Shared;
use super::arrivals::{Arrivals, Arrived};
use super::drain::Begun;
use super::room::Call;
use crate::proto;
use crate::wire::error::error_to;
use crate::wire::task::{enqueued_to, new_task_from};

const ENQUEUE: Operation = Operation::Enqueue;

/// The receipts of a stream of requests, the credit first.
pub(super) fn receipts(
    shared: Arc<Shared>,
    access: Access,
    call: Call,
    requests: Streaming<proto::EnqueueRequest>,
) -> impl Stream<Item = Result<proto::EnqueueResponse, Status>> + Send {
    let credit_bytes = u64::from(shared.limits.credit_bytes);
    let credit = proto::EnqueueResponse { credit_bytes, ..proto::EnqueueResponse::default() };
    let sends = Sends {
        draining: Box::pin(shared.drain.begun()),
        shared,
        access,
        requests: Arrivals::of(requests, beside, call.clone()),
        call,
        running: FuturesUnordered::new(),
        receipts: VecDeque::from([credit]),
    };
    stream::unfold(sends, |mut sends| async move {
        let receipt = sends.next().await?;
        Some((receipt, sends))
    })
}

/// What the tasks of a request take in memory beside their bytes.
fn beside(request: &proto::EnqueueRequest) -> usize {
    request.tasks.len() * size_of::<proto::NewTask>()
}

struct Sends {
    shared: Arc<Shared>,
    access: Access,
    requests: Arrivals<Streaming<proto::EnqueueRequest>, proto::EnqueueRequest>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Counts what is not answered.
    call: Call,
    receipts: VecDeque<proto::EnqueueResponse>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Requests to one queue that are enqueued together: no more tasks than the broker takes at once.
struct Batch {
    queue: QueueName,
    tasks: Vec<NewTask>,
    /// The requests' numbers, and how many of the tasks are theirs.
    requests: Vec<(u64, usize)>,
    bytes: usize,
}

/// What became of a batch.
struct Done {
    requests: Vec<(u64, Outcomes)>,
    bytes: usize,
    _begun: Begun,
}

/// What a request is answered.
type Outcomes = Result<Vec<Result<Enqueued>>, proto::Error>;

impl Sends {
    async fn next(&mut self) -> Option<Result<proto::EnqueueResponse, Status>> {
        loop {
            if let Some(receipt) = self.receipts.pop_front() {
                return Some(Ok(receipt));
            }
            let has_ended = self.requests.has_ended();
            if has_ended && self.running.is_empty() {
                return self.requests.broken().map(Err);
            }
            let credit_bytes = self.shared.limits.credit_bytes as usize;
            let room = credit_bytes.saturating_sub(self.call.unanswered());
            tokio::select! {
                // WHY: what was read is begun before more is read, so that sends keep their order.
                biased;
                Some(done) = self.running.next() => self.finish(done),
                () = &mut self.draining, if !has_ended => self.requests.end(),
                read = self.requests.next(room), if !has_ended => self.begin(read),
            }
        }
    }

    /// Begins what has arrived, a queue at a time.
    fn begin(&mut self, read: Vec<Arrived<proto::EnqueueRequest>>) {
        let mut batches: Vec<Batch> = Vec::new();
        for (request, bytes) in read {
            queueing::request_came();
            self.sort(request, bytes, &mut batches);
        }
        for batch in batches {
            let (shared, begun) = (self.shared.clone(), self.shared.drain.enter());
            self.running.push(Box::pin(async move {
                let bytes = batch.bytes;
                Done { requests: batch.enqueue(&shared.broker).await, bytes, _begun: begun }
            }));
        }
    }

    /// Puts a request with the others to its queue, or refuses it.
    fn sort(&mut self, request: proto::EnqueueRequest, bytes: usize, batches: &mut Vec<Batch>) {
        let id = request.id;
        match self.read(request) {
            Err(error) => {
                self.call.answer(bytes);
                self.refuse(id, &error);
            }
            Ok((queue, tasks)) => {
                let newest = batches.iter_mut().rfind(|batch| batch.queue == queue);
                // WHY: no more than the broker takes in one step. A longer batch would be enqueued in parts: an error
                // of one would be told to all, and what is read between two parts would overtake the later one.
                let most = self.shared.broker.capabilities().batch_max;
                match newest.filter(|batch| batch.tasks.len() + tasks.len() <= most) {
                    Some(batch) => batch.add(id, tasks, bytes),
                    None => {
                        let mut batch =
                            Batch { queue, tasks: Vec::new(), requests: Vec::new(), bytes: 0 };
                        batch.add(id, tasks, bytes);
                        batches.push(batch);
                    }
                }
            }
        }
    }

    fn read(&self, request: proto::EnqueueRequest) -> Result<(QueueName, Vec<NewTask>)> {
        let invalid = |why: String| Error::new(ErrorKind::Invalid, ENQUEUE, why);
        let proto::EnqueueRequest { id: _, queue, tasks } = request;
        let queue = QueueName::new(queue).map_err(invalid)?;
        self.access.require(Action::Send, &queue, ENQUEUE)?;
        let most = self.shared.broker.capabilities().batch_max;
        if tasks.len() > most {
            let why = format!("{} tasks are too many for one request, {most} fit", tasks.len());
            return Err(invalid(why).on(&queue));
        }
        let tasks: Result<Vec<_>> =
            tasks.into_iter().map(|task| new_task_from(task, ENQUEUE)).collect();
        tasks.map_err(|error| error.on(&queue)).map(|tasks| (queue, tasks))
    }

    fn refuse(&mut self, id: u64, error: &Error) {
        self.receipts.push_back(refusal(id, error_to(error)));
    }

    fn finish(&mut self, done: Done) {
        let Done { requests, bytes, _begun } = done;
        self.call.answer(bytes);
        self.receipts.extend(requests.into_iter().map(|(id, outcomes)| match outcomes {
            Ok(outcomes) => {
                let outcomes = outcomes.into_iter().map(enqueued_to).collect();
                proto::EnqueueResponse { id, outcomes, error: None, credit_bytes: 0 }
            }
            Err(error) => refusal(id, error),
        }));
    }
}

fn refusal(id: u64, error: proto::Error) -> proto::EnqueueResponse {
    proto::EnqueueResponse { id, error: Some(error), ..proto::EnqueueResponse::default() }
}

impl Batch {
    /// Enqueues it, and tells each request its part.
    async fn enqueue(self, broker: &Broker) -> Vec<(u64, Outcomes)> {
        let Self { queue, tasks, requests, bytes: _ } = self;
        match broker.enqueue(&queue, &tasks).await {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                let part = |(id, count)| (id, Ok(outcomes.by_ref().take(count).collect()));
                requests.into_iter().map(part).collect()
            }
            // WHY: nothing went in, so the requests can be told apart from the one to blame.
            Err(error) if error.kind() == ErrorKind::Invalid && requests.len() > 1 => {
                let (mut tasks, mut answers) = (tasks.as_slice(), Vec::new());
                for (id, count) in requests {
                    let (now, later) = tasks.split_at(count.min(tasks.len()));
                    tasks = later;
                    let outcomes = broker.enqueue(&queue, now).await;
                    answers.push((id, outcomes.map_err(|error| error_to(&error))));
                }
                answers
            }
            Err(error) => {
                let error = error_to(&error);
                requests.into_iter().map(|(id, _)| (id, Err(error.clone()))).collect()
            }
        }
    }

    fn add(&mut self, id: u64, tasks: Vec<NewTask>, bytes: usize) {
        self.requests.push((id, tasks.len()));
        self.tasks.extend(tasks);
        self.bytes += bytes;
    }
}
