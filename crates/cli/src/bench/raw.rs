//! The full life of a task on a broker, by its plain calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::{
    Broker, Error, ErrorKind, Held, NewTask, Operation, QueueName, ReceiveOptions, Receiver,
    Result, SessionOptions, Settled, Verdict,
};
use tokio::task::JoinSet;

use super::sample::{Latencies, Load, Quota, Sample, Stopwatch};

/// How long a client waits for a task that it knows is there.
const PATIENCE: Duration = Duration::from_secs(1);
/// The kind of the tasks.
const KIND: &str = "bench";

/// Measures `load` on a queue that is empty.
pub(super) async fn measure(broker: &Broker, queue: &QueueName, load: Load) -> Result<Sample> {
    let quota = Arc::new(Quota::new(load.tasks));
    let epoch = Instant::now();
    let mut clients = JoinSet::new();
    let receiver = broker.open(queue, &SessionOptions::default()).await?;
    let stopwatch = Stopwatch::start();
    for _ in 0..load.clients {
        let client = Client {
            broker: broker.clone(),
            queue: queue.clone(),
            receiver: receiver.clone(),
            epoch,
            payload: vec![b'x'; load.payload],
            latencies: Latencies::default(),
            done: 0,
        };
        clients.spawn(client.work(quota.clone(), load.batch));
    }
    let (mut tasks, mut latencies) = (0, Latencies::default());
    while let Some(done) = clients.join_next().await {
        let client = done.map_err(|error| broken(error.to_string()))??;
        tasks += client.done;
        latencies.extend(client.latencies);
    }
    let sample = stopwatch.stop(tasks, latencies);
    receiver.close(Held::Release).await?;
    Ok(sample)
}

struct Client {
    broker: Broker,
    queue: QueueName,
    receiver: Receiver,
    epoch: Instant,
    payload: Vec<u8>,
    latencies: Latencies,
    done: u64,
}

impl Client {
    async fn work(mut self, quota: Arc<Quota>, batch: usize) -> Result<Self> {
        loop {
            let tasks = quota.take(batch);
            if tasks == 0 {
                return Ok(self);
            }
            self.live(tasks).await?;
            self.done += tasks as u64;
        }
    }

    /// Sends so many tasks, and receives and completes as many, whoever sent them.
    async fn live(&mut self, tasks: usize) -> Result<()> {
        let sent_at = self.now();
        if let Some(stamp) = self.payload.first_chunk_mut() {
            *stamp = sent_at.to_le_bytes();
        }
        let new: Vec<NewTask> =
            (0..tasks).map(|_| NewTask::new(KIND, self.payload.clone())).collect();
        for outcome in self.broker.enqueue(&self.queue, &new).await? {
            outcome?;
        }
        self.latencies.enqueue.push(self.now() - sent_at);
        let mut left = tasks;
        while left > 0 {
            left -= self.complete(left).await?;
        }
        Ok(())
    }

    async fn complete(&mut self, most: usize) -> Result<usize> {
        let options = ReceiveOptions::up_to(most).waiting(PATIENCE);
        let leases = self.receiver.receive(&options).await?;
        let now = self.now();
        for lease in &leases {
            let stamp = lease.task.payload.first_chunk().copied().map(u64::from_le_bytes);
            self.latencies.pickup.extend(stamp.map(|sent_at| now.saturating_sub(sent_at)));
        }
        let verdicts: Vec<_> =
            leases.into_iter().map(|lease| (lease.token, Verdict::Complete)).collect();
        if verdicts.is_empty() {
            return Ok(0);
        }
        let settled = self.receiver.settle(&verdicts).await?;
        match settled.iter().find(|settled| !matches!(settled, Settled::Done { .. })) {
            None => Ok(settled.len()),
            Some(other) => Err(broken(format!("a completion was answered with {other:?}"))),
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// Something the benchmark cannot explain.
pub(super) fn broken(why: String) -> Error {
    Error::new(ErrorKind::Unexpected, Operation::Settle, why).about("the benchmark's queue")
}
