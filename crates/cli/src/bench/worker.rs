//! The full life of typed JSON tasks, through a producer's pipeline and a worker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate::worker::Signals;
use tidegate::{Broker, Context, Producer, QueueName, Result, TypedTask, Worker, WorkerOptions};
use tokio::task::JoinSet;

use super::raw::broken;
use super::sample::{Latencies, Load, Quota, Sample, Stopwatch};

#[derive(Debug, Serialize, Deserialize, TypedTask)]
#[task(kind = "bench")]
struct Typed {
    /// Nanoseconds since the measurement began.
    sent_at: u64,
    text: String,
}

/// Bytes of a task's JSON beside its text, with a time of ten digits.
const JSON_BYTES: usize = 34;

/// Measures `load` on a queue that is empty: as many senders as clients, one worker for all.
pub(super) async fn measure(broker: &Broker, queue: &QueueName, load: Load) -> Result<Sample> {
    let epoch = Instant::now();
    let pickups: Arc<Mutex<Vec<u64>>> = Arc::default();
    let noted = pickups.clone();
    let handler = move |task: Typed, _context: Context| {
        let waited = (epoch.elapsed().as_nanos() as u64).saturating_sub(task.sent_at);
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(waited);
        std::future::ready(())
    };
    let options = WorkerOptions {
        concurrency: load.clients,
        signals: Signals::Ignore,
        ..WorkerOptions::default()
    };
    let worker = Worker::new(broker).queue(queue.as_str()).options(options).handle(handler);
    let control = worker.control();
    let stopwatch = Stopwatch::start();
    let working = tokio::spawn(worker.run());
    let producer = Producer::builder(broker).queue(queue.clone()).build();
    let enqueue = match load.pause {
        Duration::ZERO => send(&producer, load, epoch).await,
        pause => send_rarely(&producer, load, pause, epoch).await,
    };
    let sent = enqueue.as_ref().map_or(0, Vec::len) as u64;
    while control.metrics().completed < sent && !working.is_finished() {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let mut sample = stopwatch.stop(sent, Latencies::default());
    control.stop();
    working.await.map_err(|error| broken(error.to_string()))??;
    let pickup = std::mem::take(&mut *pickups.lock().unwrap_or_else(PoisonError::into_inner));
    sample.latencies = Latencies { enqueue: enqueue?, pickup };
    Ok(sample)
}

/// Sends one task after the other, each to a worker that has nothing to do.
async fn send_rarely(
    producer: &Producer,
    load: Load,
    pause: Duration,
    epoch: Instant,
) -> Result<Vec<u64>> {
    let text = "x".repeat(load.payload.saturating_sub(JSON_BYTES));
    let mut latencies = Vec::new();
    for _ in 0..load.tasks {
        tokio::time::sleep(pause).await;
        let sent_at = epoch.elapsed().as_nanos() as u64;
        producer.send(&Typed { sent_at, text: text.clone() }).await?;
        latencies.push(epoch.elapsed().as_nanos() as u64 - sent_at);
    }
    Ok(latencies)
}

async fn send(producer: &Producer, load: Load, epoch: Instant) -> Result<Vec<u64>> {
    let quota = Arc::new(Quota::new(load.tasks));
    let mut senders = JoinSet::new();
    for _ in 0..load.clients {
        senders.spawn(sender(producer.clone(), quota.clone(), load.payload, epoch));
    }
    let mut latencies = Vec::new();
    while let Some(done) = senders.join_next().await {
        latencies.extend(done.map_err(|error| broken(error.to_string()))??);
    }
    Ok(latencies)
}

async fn sender(
    producer: Producer,
    quota: Arc<Quota>,
    payload: usize,
    epoch: Instant,
) -> Result<Vec<u64>> {
    let text = "x".repeat(payload.saturating_sub(JSON_BYTES));
    let mut latencies = Vec::new();
    while quota.take(1) > 0 {
        let sent_at = epoch.elapsed().as_nanos() as u64;
        producer.submit(&Typed { sent_at, text: text.clone() }).await?.await?;
        latencies.push(epoch.elapsed().as_nanos() as u64 - sent_at);
    }
    Ok(latencies)
}
