//! How many tasks a second a worker with a typed no-op handler does on the memory broker, beside a
//! bare loop of receive and settle on the same broker in the same run; and both again on a broker
//! that costs next to nothing, which leaves what the worker itself costs.
//!
//! `cargo run --release -p tidegate --example throughput -- [tasks] [concurrency] [rounds]`

mod instant;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate::worker::Signals;
use tidegate::{
    Broker, Capacity, Consumer, Context, NewTask, Producer, QueueName, QueueSpec, Result,
    TypedTask, Verdict, Worker, WorkerOptions, connect, typed,
};

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "bench.nothing", queue = "bench")]
struct Nothing {
    user: u64,
    text: String,
}

async fn nothing(task: Nothing, _context: Context) {
    std::hint::black_box(task.user + task.text.len() as u64);
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let tasks = numbers.next().unwrap_or(300_000);
    let concurrency = numbers.next().unwrap_or(1_000);
    let rounds = numbers.next().unwrap_or(3);
    for _ in 0..rounds {
        let on_memory_bare = bare(&filled(tasks).await?, tasks, concurrency).await?;
        let on_memory = worker(&filled(tasks).await?, tasks, concurrency).await?;
        let instant_bare = bare(&instant::broker(tasks), tasks, concurrency).await?;
        let instant = worker(&instant::broker(tasks), tasks, concurrency).await?;
        let pipeline = pipeline(tasks).await?;
        println!(
            "memory: bare {on_memory_bare:>9.0}/s  worker {on_memory:>9.0}/s  ratio {:.2}   instant: bare \
             {instant_bare:>9.0}/s  worker {instant:>9.0}/s   pipelined sends {pipeline:>9.0}/s",
            on_memory / on_memory_bare
        );
    }
    Ok(())
}

fn queue() -> QueueName {
    "bench".parse().expect("a queue name")
}

fn some(user: usize) -> Nothing {
    Nothing { user: user as u64, text: "x".repeat(200) }
}

async fn empty() -> Result<Broker> {
    let broker = connect("memory:").await?;
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue()) };
    broker.declare(&spec).await?;
    Ok(broker)
}

async fn filled(tasks: usize) -> Result<Broker> {
    let broker = empty().await?;
    let tasks: Result<Vec<NewTask>> = (0..tasks).map(|n| typed::encode(&some(n))).collect();
    for outcome in broker.enqueue(&queue(), &tasks?).await? {
        outcome?;
    }
    Ok(broker)
}

fn rate(tasks: usize, elapsed: Duration) -> f64 {
    tasks as f64 / elapsed.as_secs_f64()
}

async fn bare(broker: &Broker, tasks: usize, batch: usize) -> Result<f64> {
    let consumer = Consumer::open(broker, &queue()).await?;
    let started = Instant::now();
    let mut done = 0;
    while done < tasks {
        let leases = consumer.receive(batch, Duration::ZERO).await?;
        let verdict = |lease: &tidegate::Lease| (lease.token.clone(), Verdict::Complete);
        let verdicts: Vec<_> = leases.iter().map(verdict).collect();
        done += consumer.settle(&verdicts).await?.len();
    }
    Ok(rate(tasks, started.elapsed()))
}

async fn worker(broker: &Broker, tasks: usize, concurrency: usize) -> Result<f64> {
    let options =
        WorkerOptions { concurrency, signals: Signals::Ignore, ..WorkerOptions::default() };
    let started = Instant::now();
    let done = Worker::new(broker).options(options).handle(nothing).run_until_empty().await?;
    assert_eq!(done.completed, tasks as u64);
    Ok(rate(tasks, started.elapsed()))
}

async fn pipeline(tasks: usize) -> Result<f64> {
    let broker = empty().await?;
    let producer = Producer::new(&broker);
    let started = Instant::now();
    for n in 0..tasks {
        drop(producer.submit(&some(n)).await?);
    }
    producer.flush().await?;
    Ok(rate(tasks, started.elapsed()))
}
