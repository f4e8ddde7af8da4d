//! Receiving and settling by hand, for those who poll.

use std::time::Duration;

use tidegate_core::{
    Broker, Held, Lease, LeaseToken, QueueName, ReceiveOptions, Receiver, Result, SessionOptions,
    Settled, Verdict,
};

/// A place at a queue whose owner receives, settles and extends by hand. Nothing is renewed for it:
/// what it holds longer than the lease goes to somebody else. Cheap to clone; clones are the same
/// place.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Consumer, Held, NewTask, Producer, QueueName, connect};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tidegate::Result<()> {
/// let broker = connect("memory:").await?;
/// let queue = QueueName::new("mail").unwrap();
/// let producer = Producer::builder(&broker).declare_missing().build();
/// producer.enqueue(&queue, &[NewTask::new("mail.welcome", "7")]).await?;
///
/// let consumer = Consumer::open(&broker, &queue).await?;
/// for lease in consumer.receive(10, Duration::from_secs(1)).await? {
///     println!("{}", lease.task.kind);
///     let settled = consumer.complete(&lease).await?;
///     println!("{settled:?}");
/// }
/// consumer.close(Held::Release).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Consumer {
    receiver: Receiver,
}

impl Consumer {
    /// Opens a place at a queue that exists.
    pub async fn open(broker: &Broker, queue: &QueueName) -> Result<Self> {
        let receiver = broker.open(queue, &SessionOptions::default()).await?;
        Ok(Self { receiver })
    }

    /// The queue it receives from.
    pub fn queue(&self) -> &QueueName {
        self.receiver.queue()
    }

    /// Receives up to `limit` tasks and waits up to `wait` (at most a minute) for the first. May
    /// return none.
    ///
    /// Dropping the future may strand a lease until it ends: stop calling instead.
    pub async fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Lease>> {
        self.receive_with(&ReceiveOptions::up_to(limit).waiting(wait)).await
    }

    /// Receives as `options` say.
    pub async fn receive_with(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        self.receiver.receive(options).await
    }

    /// The work is done.
    pub async fn complete(&self, lease: &Lease) -> Result<Settled> {
        self.receiver.complete(lease).await
    }

    /// The attempt failed; the task comes back after this long, or dies if it was its last.
    pub async fn retry(
        &self,
        lease: &Lease,
        after: Duration,
        error: impl Into<String>,
    ) -> Result<Settled> {
        let verdict = Verdict::Retry { after, error: Some(error.into()) };
        self.receiver.settle_one(&lease.token, verdict).await
    }

    /// Nothing was tried; the task comes back after this long.
    pub async fn release(&self, lease: &Lease, after: Duration) -> Result<Settled> {
        self.receiver.settle_one(&lease.token, Verdict::Release { after }).await
    }

    /// Trying again is of no use.
    pub async fn dead_letter(&self, lease: &Lease, reason: impl Into<String>) -> Result<Settled> {
        let verdict = Verdict::DeadLetter { reason: reason.into() };
        self.receiver.settle_one(&lease.token, verdict).await
    }

    /// Carries out many verdicts, one outcome each, in order. If one is refused, none is carried
    /// out.
    pub async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        self.receiver.settle(verdicts).await
    }

    /// Holds the task this long from now.
    pub async fn extend(&self, lease: &Lease, length: Duration) -> Result<Settled> {
        self.receiver.extend_one(&lease.token, length).await
    }

    /// Gives the place up. `held` says what becomes of the tasks it still holds. Every later call is
    /// `Closed`.
    pub async fn close(&self, held: Held) -> Result<()> {
        self.receiver.close(held).await
    }
}
