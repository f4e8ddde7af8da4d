//! Sending tasks: one by one until they are durable, or many in a pipeline with receipts.

mod pipeline;
mod room;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::task::{Dedup, Headers};
use tidegate_core::{Broker, Enqueued, Error, ErrorKind, NewTask, Operation, QueueName, Result};

use crate::declare::{Missing, declare_missing};
use crate::typed::{TypedTask, encode};

pub use pipeline::{IN_FLIGHT_DEFAULT, Receipt};
pub use room::WhenFull;

use pipeline::Pipeline;

/// Sends tasks to queues of one broker. Cheap to clone; clones share the pipeline.
///
/// ```
/// use tidegate::{NewTask, Producer, QueueName, connect};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// let broker = connect("memory:").await?;
/// let producer = Producer::builder(&broker).declare_missing().build();
/// let queue = QueueName::new("mail").unwrap();
/// let outcomes = producer.enqueue(&queue, &[NewTask::new("mail.welcome", "7")]).await?;
/// assert!(outcomes[0].is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    sender: Sender,
    queue: Option<QueueName>,
    pipeline: Arc<Pipeline>,
}

/// How tasks get into a queue.
#[derive(Clone, Debug)]
struct Sender {
    broker: Broker,
    when_full: WhenFull,
    missing: Missing,
}

/// How a [`Producer`] is made.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProducerBuilder {
    sender: Sender,
    queue: Option<QueueName>,
    in_flight: usize,
}

/// What varies from one send to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// How long the task waits before its first delivery.
    pub delay: Duration,
    /// Higher goes first.
    pub priority: u8,
    /// Keeps a second task with the same key out.
    pub dedup: Option<Dedup>,
    /// The ordering key, instead of the type's own.
    pub key: Option<String>,
    /// Attributes beside those that typed tasks carry.
    pub headers: Headers,
    /// The queue, instead of the type's own.
    pub queue: Option<QueueName>,
}

impl Producer {
    /// A producer with the defaults: a full queue is an error, and so is a missing one.
    pub fn new(broker: &Broker) -> Self {
        Self::builder(broker).build()
    }

    /// A producer to be set up.
    pub fn builder(broker: &Broker) -> ProducerBuilder {
        let sender = Sender {
            broker: broker.clone(),
            when_full: WhenFull::default(),
            missing: Missing::default(),
        };
        ProducerBuilder { sender, queue: None, in_flight: IN_FLIGHT_DEFAULT }
    }

    /// Sends a task to the queue of its type and returns once it is durable.
    ///
    /// Dropping the future leaves open whether it was sent.
    pub async fn send<T: TypedTask>(&self, typed: &T) -> Result<Enqueued> {
        self.send_with(typed, SendOptions::default()).await
    }

    /// Sends a task as `options` say.
    pub async fn send_with<T: TypedTask>(
        &self,
        typed: &T,
        options: SendOptions,
    ) -> Result<Enqueued> {
        let (queue, task) = self.prepare(typed, options)?;
        let outcomes = self.sender.enqueue(&queue, vec![task]).await?;
        outcomes.into_iter().next().unwrap_or_else(|| Err(short_answer(&queue)))
    }

    /// Sends tasks to the queue of their type, with one outcome per task, in order. `Err` outside
    /// means that the outcome of at least one is unknown.
    pub async fn send_many<'a, T: TypedTask>(
        &self,
        typed: impl IntoIterator<Item = &'a T>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let queue = self.queue_of::<T>(None)?;
        let tasks: Result<Vec<NewTask>> = typed.into_iter().map(encode).collect();
        self.sender.enqueue(&queue, tasks?).await
    }

    /// Sends tasks as they are, with one outcome per task, in order. `Err` outside means that the
    /// outcome of at least one is unknown: sending again may double those without a dedup key.
    pub async fn enqueue(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        self.sender.enqueue(queue, tasks.to_vec()).await
    }

    /// Puts a task into the pipeline and returns its receipt at once, or as soon as there is room:
    /// so many tasks may be in flight as [`ProducerBuilder::in_flight`] says. What gathers while the
    /// batch before is being sent goes together.
    ///
    /// Dropping this future sends nothing. Dropping the receipt still sends the task; if that
    /// fails, [`Producer::flush`] tells.
    pub async fn submit<T: TypedTask>(&self, typed: &T) -> Result<Receipt> {
        self.submit_with(typed, SendOptions::default()).await
    }

    /// Puts a task into the pipeline as `options` say; see [`Producer::submit`].
    pub async fn submit_with<T: TypedTask>(
        &self,
        typed: &T,
        options: SendOptions,
    ) -> Result<Receipt> {
        let (queue, task) = self.prepare(typed, options)?;
        self.submit_task(&queue, task).await
    }

    /// Puts a task into the pipeline as it is; see [`Producer::submit`].
    pub async fn submit_task(&self, queue: &QueueName, task: NewTask) -> Result<Receipt> {
        self.pipeline.submit(&self.sender, queue, task).await
    }

    /// Waits until everything submitted before has its outcome. The error is the first one of a task
    /// whose receipt was dropped, since the last flush.
    pub async fn flush(&self) -> Result<()> {
        self.pipeline.flush().await
    }

    fn prepare<T: TypedTask>(
        &self,
        typed: &T,
        options: SendOptions,
    ) -> Result<(QueueName, NewTask)> {
        let SendOptions { delay, priority, dedup, key, headers, queue } = options;
        let queue = self.queue_of::<T>(queue)?;
        let mut task = encode(typed)?;
        task.delay = delay;
        task.priority = priority;
        task.dedup = dedup;
        task.ordering_key = key.or(task.ordering_key);
        task.headers.extend(headers);
        Ok((queue, task))
    }

    /// Where a `T` goes: where this send says, else where the type says, else where the producer
    /// does.
    fn queue_of<T: TypedTask>(&self, asked: Option<QueueName>) -> Result<QueueName> {
        if let Some(queue) = asked {
            return Ok(queue);
        }
        let queue: Cow<'_, QueueName> = match (T::QUEUE, &self.queue) {
            (Some(name), _) => Cow::Owned(QueueName::new(name).map_err(invalid)?),
            (None, Some(queue)) => Cow::Borrowed(queue),
            (None, None) => {
                let kind = T::KIND;
                return Err(invalid(format!(
                    "{kind} names no queue; give its type one, or the producer, or this send"
                )));
            }
        };
        Ok(queue.into_owned())
    }
}

impl ProducerBuilder {
    /// The queue of tasks whose type names none.
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.queue = Some(queue);
        self
    }

    /// What happens where a queue is full. Default: the send is rejected.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.sender.when_full = when_full;
        self
    }

    /// Declares a queue that is missing with the defaults, where that would be an error.
    pub fn declare_missing(mut self) -> Self {
        self.sender.missing = Missing::Declare;
        self
    }

    /// Most tasks in the pipeline without an outcome, at least 1; beyond, `submit` waits. Default:
    /// 10,000.
    pub fn in_flight(mut self, most: usize) -> Self {
        self.in_flight = most;
        self
    }

    /// The producer.
    pub fn build(self) -> Producer {
        let Self { sender, queue, in_flight } = self;
        Producer { sender, queue, pipeline: Arc::new(Pipeline::new(in_flight)) }
    }
}

impl Sender {
    /// Enqueues, declares the queue if it is missing, and waits for room, as the producer was told.
    async fn enqueue(
        &self,
        queue: &QueueName,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let outcomes = self.enqueue_or_declare(queue, &tasks).await?;
        self.wait_for_room(queue, tasks, outcomes).await
    }

    async fn enqueue_or_declare(
        &self,
        queue: &QueueName,
        tasks: &[NewTask],
    ) -> Result<Vec<Result<Enqueued>>> {
        match self.broker.enqueue(queue, tasks).await {
            Err(error)
                if error.kind() == ErrorKind::NotFound && self.missing == Missing::Declare =>
            {
                declare_missing(&self.broker, queue).await?;
                self.broker.enqueue(queue, tasks).await
            }
            answer => answer,
        }
    }
}

fn short_answer(queue: &QueueName) -> Error {
    let why = "the broker answered for fewer tasks than it was sent";
    Error::new(ErrorKind::Unexpected, Operation::Enqueue, why).on(queue)
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Enqueue, why).about("a typed task")
}
