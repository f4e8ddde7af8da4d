//! The steps of `backlog`, each done in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tidegate_core::{
    Broker, Capacity, NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions, Result,
    SessionOptions, Unique, Verdict,
};
use tidegate_engine::{Durability, Options};

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 256;
/// Tasks that are sent at once.
const BATCH: usize = 256;
/// Tasks that are received and completed at once.
const WORK_BATCH: usize = 64;
/// Tasks of a measurement without a sync, and of one with syncs.
const UNSYNCED_TASKS: usize = 192_000;
const SYNCED_TASKS: usize = 38_400;
/// How many tasks are looked for.
const SEARCHES: usize = 20;
const HOUR: Duration = Duration::from_secs(3_600);
/// Bytes of payloads that are kept in memory: as good as none, so that the rest is what shows.
const PAYLOAD_MEMORY_BYTES: u64 = 1 << 20;

/// What a task has beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Nothing.
    Plain,
    /// An ordering key that ten tasks share.
    Key,
    /// A dedup key of its own, which holds for an hour.
    Dedup,
}

/// One step.
#[derive(Debug, Subcommand)]
pub(crate) enum Step {
    /// Fills a new directory
    Fill { dir: PathBuf, tasks: usize, shape: Shape },
    /// Opens it
    Open { dir: PathBuf },
    /// Sends, receives and completes with all of them waiting, without a sync and with one
    Work { dir: PathBuf },
    /// Looks for tasks by their ids
    Search { dir: PathBuf },
}

/// What a `fill` has seen.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Filled {
    pub(super) sent_per_second: f64,
    /// Bytes of memory for each task that waits.
    pub(super) memory_bytes: f64,
}

/// What `work` has seen without a sync, and with one before every answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Worked {
    pub(super) unsynced: Rates,
    pub(super) synced: Rates,
}

/// How fast tasks went through with all the others waiting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rates {
    pub(super) sent_per_second: f64,
    pub(super) leased_per_second: f64,
    pub(super) completed_per_second: f64,
    /// Of the three one after the other.
    pub(super) lives_per_second: f64,
    pub(super) cpu_us_per_task: f64,
}

impl Rates {
    /// Each figure's own median.
    pub(super) fn median(all: &[&Self]) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(|rates| of(rates)).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Self {
            sent_per_second: median(|rates| rates.sent_per_second),
            leased_per_second: median(|rates| rates.leased_per_second),
            completed_per_second: median(|rates| rates.completed_per_second),
            lives_per_second: median(|rates| rates.lives_per_second),
            cpu_us_per_task: median(|rates| rates.cpu_us_per_task),
        }
    }
}

/// Does one step and prints what it measured, for the process that has started it.
pub(crate) fn step(step: &Step) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        Ok(match step {
            Step::Fill { dir, tasks, shape } => told(&fill(dir, *tasks, *shape).await?),
            Step::Open { dir } => told(&open(dir).await?),
            Step::Work { dir } => told(&work(dir).await?),
            Step::Search { dir } => told(&search(dir).await?),
        })
    });
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err::<_, tidegate_core::Error>(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

fn told(seen: &impl Serialize) -> String {
    serde_json::to_string(seen).unwrap_or_else(|error| unreachable!("plain numbers: {error}"))
}

fn options(dir: &Path, durability: Durability) -> Options {
    Options { durability, payload_memory_bytes: PAYLOAD_MEMORY_BYTES, ..Options::new(dir) }
}

fn queue() -> QueueName {
    QueueName::new("backlog").unwrap_or_else(|_| unreachable!("a sound name"))
}

async fn fill(dir: &Path, tasks: usize, shape: Shape) -> Result<Filled> {
    let broker = tidegate_engine::open(options(dir, Durability::Never)).await?;
    let ordering = if shape == Shape::Key { Ordering::Key } else { Ordering::None };
    let spec = QueueSpec { capacity: Capacity::Unbounded, ordering, ..QueueSpec::new(queue()) };
    broker.declare(&spec).await?;
    let (before, started) = (anonymous_bytes(), Instant::now());
    for first in (0..tasks).step_by(BATCH) {
        let batch = first..(first + BATCH).min(tasks);
        send(&broker, batch.map(|number| new_task(number, shape)).collect()).await?;
    }
    let filled = Filled {
        sent_per_second: (tasks as f64 / started.elapsed().as_secs_f64()).round(),
        memory_bytes: rounded((anonymous_bytes() - before) as f64 / tasks as f64, 1),
    };
    broker.close().await?;
    Ok(filled)
}

fn new_task(number: usize, shape: Shape) -> NewTask {
    let task = NewTask::new("backlog", vec![7; PAYLOAD_BYTES]);
    match shape {
        Shape::Plain => task,
        Shape::Key => task.ordering_key(format!("customer-{:09}", number / 10)),
        Shape::Dedup => task.dedup(format!("order-{number:012}"), Unique::Window(HOUR)),
    }
}

async fn send(broker: &Broker, tasks: Vec<NewTask>) -> Result<()> {
    for outcome in broker.enqueue(&queue(), &tasks).await? {
        outcome?;
    }
    Ok(())
}

/// Milliseconds of an open.
async fn open(dir: &Path) -> Result<f64> {
    let started = Instant::now();
    let broker = tidegate_engine::open(options(dir, Durability::Never)).await?;
    let taken = started.elapsed();
    broker.close().await?;
    Ok(rounded(taken.as_secs_f64() * 1e3, 1))
}

/// Milliseconds of a search for one task by its id.
async fn search(dir: &Path) -> Result<f64> {
    let broker = tidegate_engine::open(options(dir, Durability::Never)).await?;
    let inspect = broker.inspect()?;
    let first = inspect.peek(&queue(), SEARCHES).await?;
    let started = Instant::now();
    for view in &first {
        inspect.get(&queue(), view.task.id).await?;
    }
    let each = started.elapsed().as_secs_f64() * 1e3 / first.len().max(1) as f64;
    broker.close().await?;
    Ok(rounded(each, 2))
}

async fn work(dir: &Path) -> Result<Worked> {
    Ok(Worked {
        unsynced: lives(dir, Durability::Never, UNSYNCED_TASKS).await?,
        synced: lives(dir, Durability::Always, SYNCED_TASKS).await?,
    })
}

/// Sends, receives and completes in batches, one step after the other, so that each has its rate.
async fn lives(dir: &Path, durability: Durability, tasks: usize) -> Result<Rates> {
    let broker = tidegate_engine::open(options(dir, durability)).await?;
    let receiver = broker.open(&queue(), &SessionOptions::default()).await?;
    // WHY: what was written before would be on its way to the disk meanwhile.
    rustix::fs::sync();
    let cpu = processor_seconds();
    let started = Instant::now();
    for _ in 0..tasks / WORK_BATCH {
        let batch = (0..WORK_BATCH).map(|number| new_task(number, Shape::Plain));
        send(&broker, batch.collect()).await?;
    }
    let sent = started.elapsed();
    let mut held = Vec::with_capacity(tasks);
    let started = Instant::now();
    while held.len() < tasks {
        let leases = receiver.receive(&ReceiveOptions::up_to(WORK_BATCH)).await?;
        held.extend(leases.into_iter().map(|lease| (lease.token, Verdict::Complete)));
    }
    let leased = started.elapsed();
    let started = Instant::now();
    for batch in held.chunks(WORK_BATCH) {
        receiver.settle(batch).await?;
    }
    let settled = started.elapsed();
    let cpu_us = (processor_seconds() - cpu) * 1e6 / tasks as f64;
    broker.close().await?;
    let rate = |time: Duration| (tasks as f64 / time.as_secs_f64()).round();
    Ok(Rates {
        sent_per_second: rate(sent),
        leased_per_second: rate(leased),
        completed_per_second: rate(settled),
        lives_per_second: rate(sent + leased + settled),
        cpu_us_per_task: rounded(cpu_us, 2),
    })
}

pub(super) fn rounded(value: f64, places: i32) -> f64 {
    (value * 10_f64.powi(places)).round() / 10_f64.powi(places)
}

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes of this process's memory that are no file's.
fn anonymous_bytes() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}
