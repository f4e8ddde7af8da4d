//! What a long queue costs the embedded engine: memory for each waiting task, and time to open.
//!
//! Each step is a process of its own, built with optimisations, so that one's memory is not
//! another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::{Args, Subcommand};
use tidegate_core::{Bytes, Capacity, NewTask, QueueName, QueueSpec, Result};
use tidegate_engine::{Durability, Options};

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 256;
/// Tasks that are sent at once.
const BATCH: usize = 256;
/// Bytes of payloads that are kept in memory: as good as none, so that the rest is what shows.
const PAYLOAD_MEMORY_BYTES: u64 = 1 << 20;

/// How long a queue to make.
#[derive(Debug, Args)]
pub(crate) struct BacklogArgs {
    /// Ready tasks of 256 bytes, without a key; about 330 bytes of disk each
    #[arg(long, default_values_t = [1_000_000])]
    tasks: Vec<usize>,
    /// How often each is opened
    #[arg(long, default_value_t = 3)]
    opens: usize,
}

/// One step.
#[derive(Debug, Subcommand)]
pub(crate) enum Step {
    /// Fills a new directory
    Fill { dir: PathBuf, tasks: usize },
    /// Opens it
    Open { dir: PathBuf },
}

/// Measures and prints a table.
pub(crate) fn main(args: &BacklogArgs) -> ExitCode {
    println!("{:>12} {:>14} {:>14} {:>10}", "tasks", "sent/s", "bytes/task", "open ms");
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
    let filled = run(&["fill", &dir.display().to_string(), &tasks.to_string()])?;
    for _ in 0..opens {
        let opened = run(&["open", &dir.display().to_string()])?;
        println!("{tasks:>12} {filled} {opened}");
    }
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
            Step::Fill { dir, tasks } => fill(dir, *tasks).await,
            Step::Open { dir } => open(dir).await,
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

fn options(dir: &Path) -> Options {
    Options {
        durability: Durability::Never,
        payload_memory_bytes: PAYLOAD_MEMORY_BYTES,
        ..Options::new(dir)
    }
}

async fn fill(dir: &Path, tasks: usize) -> Result<()> {
    let broker = tidegate_engine::open(options(dir)).await?;
    let queue = QueueName::new("backlog").unwrap_or_else(|_| unreachable!("a sound name"));
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue.clone()) };
    broker.declare(&spec).await?;
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let (before, started) = (anonymous_bytes(), Instant::now());
    for first in (0..tasks).step_by(BATCH) {
        let count = BATCH.min(tasks - first);
        let new: Vec<_> = (0..count).map(|_| NewTask::new("backlog", payload.clone())).collect();
        for outcome in broker.enqueue(&queue, &new).await? {
            outcome?;
        }
    }
    let rate = tasks as f64 / started.elapsed().as_secs_f64();
    let each = (anonymous_bytes() - before) as f64 / tasks as f64;
    print!("{rate:>14.0} {each:>14.1}");
    broker.close().await
}

async fn open(dir: &Path) -> Result<()> {
    let started = Instant::now();
    let broker = tidegate_engine::open(options(dir)).await?;
    print!("{:>10.0}", started.elapsed().as_secs_f64() * 1e3);
    broker.close().await
}

/// Bytes of this process's memory that are no file's.
fn anonymous_bytes() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}
