//! What a long queue costs the embedded engine: memory for each waiting task, with a key and with
//! a dedup entry; time to open and to search; and what a task costs while all of them wait.
//!
//! Each step is a process of its own, built with optimisations, so that one's memory is not
//! another's.

mod steps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cargo;
use steps::{Filled, Rates, Worked};
pub(crate) use steps::{Step, step};

/// How long a queue to make.
#[derive(Debug, Args)]
pub(crate) struct BacklogArgs {
    /// Ready tasks of 256 bytes; about 330 bytes of disk each
    #[arg(long, default_values_t = [1_000, 1_000_000])]
    tasks: Vec<usize>,
    /// How often each is opened
    #[arg(long, default_value_t = 3)]
    opens: usize,
    /// Writes what was measured to this file too; `bench plot` draws it
    #[arg(long)]
    save: Option<PathBuf>,
}

/// What one length of the queue costs.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    tasks: usize,
    key: Filled,
    dedup: Filled,
    plain: Filled,
    open_ms: Vec<f64>,
    search_ms: f64,
    #[serde(flatten)]
    work: Worked,
}

/// Measures and prints tables.
pub(crate) fn main(args: &BacklogArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &BacklogArgs) -> Result<(), String> {
    let mut all = Vec::new();
    for tasks in &args.tasks {
        let dir = std::env::temp_dir().join(format!("tidegate-backlog-{}", std::process::id()));
        let measured = measure(&dir, *tasks, args.opens);
        let _ = fs::remove_dir_all(&dir);
        all.push(measured?);
    }
    let Some(path) = &args.save else { return Ok(()) };
    let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

fn measure(dir: &Path, tasks: usize, opens: usize) -> Result<Measured, String> {
    let (path, count) = (dir.display().to_string(), tasks.to_string());
    println!("{tasks} tasks wait:");
    let fill = |shape| {
        let _ = fs::remove_dir_all(dir);
        let filled: Filled = run_step(&["fill", &path, &count, shape])?;
        let Filled { sent_per_second, memory_bytes } = &filled;
        println!(
            "  {shape:<7} {sent_per_second:>12} sent/s {memory_bytes:>8} bytes of memory each"
        );
        Ok::<_, String>(filled)
    };
    let (key, dedup, plain) = (fill("key")?, fill("dedup")?, fill("plain")?);
    let mut open_ms = Vec::new();
    for _ in 0..opens {
        let taken: f64 = run_step(&["open", &path])?;
        println!("  open    {taken:>12} ms");
        open_ms.push(taken);
    }
    let search_ms: f64 = run_step(&["search", &path])?;
    println!("  search  {search_ms:>12} ms for a task by its id, from 4 bytes of memory each");
    let work: Worked = run_step(&["work", &path])?;
    for (name, rates) in [("unsynced", &work.unsynced), ("synced", &work.synced)] {
        print_rates(name, rates);
    }
    Ok(Measured { tasks, key, dedup, plain, open_ms, search_ms, work })
}

fn print_rates(name: &str, rates: &Rates) {
    let Rates {
        sent_per_second,
        leased_per_second,
        completed_per_second,
        lives_per_second,
        cpu_us_per_task,
    } = rates;
    println!(
        "  {name:<8} {sent_per_second:>11} sent/s {leased_per_second:>9} leased/s \
         {completed_per_second:>9} completed/s {lives_per_second:>9} lives/s {cpu_us_per_task:>6} us \
         of processor time each"
    );
}

/// Runs a step in a process of its own and hands back what it has seen.
fn run_step<T: DeserializeOwned>(step: &[&str]) -> Result<T, String> {
    let built = ["run", "--release", "--quiet", "--package", "xtask", "--", "backlog-step"];
    let output = Command::new(cargo::cargo()).args(built).args(step).output();
    let output = output.map_err(|error| format!("cargo could not be run: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{}: {error}", step.join(" ")))
}
