//! What a long queue costs the embedded engine: memory for each waiting task, with a key and with
//! a dedup entry; time to open and to search; and what a task costs while all of them wait.
//!
//! Each step is a process of its own, built with optimisations, so that one's memory is not
//! another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use rustix::time::{ClockId, clock_gettime};
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
/// How many tasks are looked for.
const SEARCHES: usize = 20;
const HOUR: Duration = Duration::from_secs(3_600);
/// Bytes of payloads that are kept in memory: as good as none, so that the rest is what shows.
const PAYLOAD_MEMORY_BYTES: u64 = 1 << 20;

/// How long a queue to make.
#[derive(Debug, Args)]
pub(crate) struct BacklogArgs {
    /// Ready tasks of 256 bytes; about 330 bytes of disk each
    #[arg(long, default_values_t = [1_000, 1_000_000])]
    tasks: Vec<usize>,
    /// How often each is opened
    #[arg(long, default_value_t = 3)]
    opens: usize,
}

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

/// Measures and prints tables.
pub(crate) fn main(args: &BacklogArgs) -> ExitCode {
    for tasks in &args.tasks {
        let dir = std::env::temp_dir().join(format!("tidegate-backlog-{}", std::process::id()));
        let measured = measure(&dir, *tasks, args.opens);
        let _ = fs::remove_dir_all(&dir);
        if let Err(why) = measured {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(dir: &Path, tasks: usize, opens: usize) -> std::result::Result<(), String> {
    let (path, count) = (dir.display().to_string(), tasks.to_string());
    println!("{tasks} tasks wait:");
    for shape in ["key", "dedup", "plain"] {
        let _ = fs::remove_dir_all(dir);
        println!("  {shape:<7} {}", run(&["fill", &path, &count, shape])?);
    }
    for _ in 0..opens {
        println!("  open    {}", run(&["open", &path])?);
    }
    println!("  search  {}", run(&["search", &path])?);
    println!("{}", run(&["work", &path])?);
    Ok(())
}

/// Runs a step in a process of its own and hands back what it printed.
fn run(step: &[&str]) -> std::result::Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = ["run", "--release", "--quiet", "--package", "xtask", "--", "backlog-step"];
    let output = Command::new(cargo).args(built).args(step).output();
    let output = output.map_err(|error| format!("cargo could not be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Does one step and prints what it measured.
pub(crate) fn step(step: &Step) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match step {
            Step::Fill { dir, tasks, shape } => fill(dir, *tasks, *shape).await,
            Step::Open { dir } => open(dir).await,
            Step::Work { dir } => work(dir).await,
            Step::Search { dir } => search(dir).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(dir: &Path, durability: Durability) -> Options {
    Options { durability, payload_memory_bytes: PAYLOAD_MEMORY_BYTES, ..Options::new(dir) }
}

fn queue() -> QueueName {
    QueueName::new("backlog").unwrap_or_else(|_| unreachable!("a sound name"))
}

async fn fill(dir: &Path, tasks: usize, shape: Shape) -> Result<()> {
    let broker = tidegate_engine::open(options(dir, Durability::Never)).await?;
    let ordering = if shape == Shape::Key { Ordering::Key } else { Ordering::None };
    let spec = QueueSpec { capacity: Capacity::Unbounded, ordering, ..QueueSpec::new(queue()) };
    broker.declare(&spec).await?;
    let (before, started) = (anonymous_bytes(), Instant::now());
    for first in (0..tasks).step_by(BATCH) {
        let batch = first..(first + BATCH).min(tasks);
        send(&broker, batch.map(|number| new_task(number, shape)).collect()).await?;
    }
    let rate = tasks as f64 / started.elapsed().as_secs_f64();
    let each = (anonymous_bytes() - before) as f64 / tasks as f64;
    print!("{rate:>12.0} sent/s {each:>8.1} bytes of memory each");
    broker.close().await
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

async fn open(dir: &Path) -> Result<()> {
    let started = Instant::now();
    let broker = tidegate_engine::open(options(dir, Durability::Never)).await?;
    print!("{:>12.0} ms", started.elapsed().as_secs_f64() * 1e3);
    broker.close().await
}

async fn search(dir: &Path) -> Result<()> {
    let broker = tidegate_engine::open(options(dir, Durability::Never)).await?;
    let inspect = broker.inspect()?;
    let first = inspect.peek(&queue(), SEARCHES).await?;
    let started = Instant::now();
    for view in &first {
        inspect.get(&queue(), view.task.id).await?;
    }
    let each = started.elapsed().as_secs_f64() * 1e3 / first.len().max(1) as f64;
    print!("{each:>12.2} ms for a task by its id, from 4 bytes of memory each");
    broker.close().await
}

/// Sends, receives and completes in batches, one step after the other, so that each has its rate.
async fn work(dir: &Path) -> Result<()> {
    for (durability, tasks) in [(Durability::Never, 192_000), (Durability::Always, 19_200)] {
        let broker = tidegate_engine::open(options(dir, durability)).await?;
        let receiver = broker.open(&queue(), &SessionOptions::default()).await?;
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
        let rate = |time: Duration| tasks as f64 / time.as_secs_f64();
        let whole = rate(sent + leased + settled);
        print!(
            "  {:<8} {:>11.0} sent/s {:>9.0} leased/s {:>9.0} completed/s {whole:>9.0} lives/s \
             {cpu_us:>6.2} us of processor time each",
            if durability == Durability::Never { "unsynced" } else { "synced" },
            rate(sent),
            rate(leased),
            rate(settled),
        );
        if durability == Durability::Never {
            println!();
        }
        broker.close().await?;
    }
    Ok(())
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
