//! What a long queue costs the embedded engine: memory for each waiting task, with a key and with
//! a dedup entry; time to open and to search; and what a task costs while all of them wait.
//!
//! Each step is a process of its own, built with optimisations, so that one's memory is not
//! another's.

mod steps;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cargo;
use steps::{Filled, Rates, Worked, rounded};
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
    /// How often each is worked on, all of them in turn
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Writes what was measured to this file too; `bench plot` draws it
    #[arg(long)]
    save: Option<PathBuf>,
}

/// What one length of the queue costs.
#[derive(Debug, Serialize)]
struct Measured {
    #[serde(flatten)]
    filled: FilledAndOpened,
    /// Medians of the rounds.
    #[serde(flatten)]
    work: Worked,
    beside_shortest: Beside,
}

/// What it costs to fill a queue of one length, to open it and to search it.
#[derive(Debug, Serialize)]
struct FilledAndOpened {
    tasks: usize,
    key: Filled,
    dedup: Filled,
    plain: Filled,
    open_ms: Vec<f64>,
    search_ms: f64,
}

/// How a length does beside the shortest, round by round.
#[derive(Debug, Serialize)]
struct Beside {
    unsynced_cpu: Spread,
    synced_lives: Spread,
}

#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

/// A length whose directory is there to be worked on.
struct Length {
    dir: PathBuf,
    filled: FilledAndOpened,
    rounds: Vec<Worked>,
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
    let root = std::env::temp_dir().join(format!("tidegate-backlog-{}", std::process::id()));
    let measured = measure(&root, args);
    let _ = fs::remove_dir_all(&root);
    let measured = measured?;
    let Some(path) = &args.save else { return Ok(()) };
    let text = serde_json::to_string_pretty(&measured).map_err(|error| error.to_string())?;
    fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
}

fn measure(root: &Path, args: &BacklogArgs) -> Result<Vec<Measured>, String> {
    let mut lengths = Vec::new();
    for tasks in &args.tasks {
        lengths.push(fill_and_open(root, *tasks, args.opens)?);
    }
    for _ in 0..args.rounds.max(1) {
        for length in &mut lengths {
            length.rounds.push(run_step(&["work", &length.dir.display().to_string()])?);
        }
    }
    let shortest = lengths.first().map(|length| length.rounds.clone()).unwrap_or_default();
    println!("worked on, medians of {} rounds; beside the shortest:", shortest.len());
    Ok(lengths.into_iter().map(|length| length.measured(&shortest)).collect())
}

fn fill_and_open(root: &Path, tasks: usize, opens: usize) -> Result<Length, String> {
    let count = tasks.to_string();
    println!("{tasks} tasks wait:");
    let dir_of = |shape: &str| root.join(format!("{tasks}-{shape}"));
    let fill = |shape: &str| {
        let dir = dir_of(shape);
        let filled: Filled = run_step(&["fill", &dir.display().to_string(), &count, shape])?;
        let Filled { sent_per_second, memory_bytes } = &filled;
        println!(
            "  {shape:<7} {sent_per_second:>12} sent/s {memory_bytes:>8} bytes of memory each"
        );
        Ok::<_, String>(filled)
    };
    let key = fill("key")?;
    let _ = fs::remove_dir_all(dir_of("key"));
    let dedup = fill("dedup")?;
    let _ = fs::remove_dir_all(dir_of("dedup"));
    let plain = fill("plain")?;
    let dir = dir_of("plain");
    let path = dir.display().to_string();
    let mut open_ms = Vec::new();
    for _ in 0..opens {
        let taken: f64 = run_step(&["open", &path])?;
        println!("  open    {taken:>12} ms");
        open_ms.push(taken);
    }
    let search_ms: f64 = run_step(&["search", &path])?;
    println!("  search  {search_ms:>12} ms for a task by its id, from 4 bytes of memory each");
    let filled = FilledAndOpened { tasks, key, dedup, plain, open_ms, search_ms };
    Ok(Length { dir, filled, rounds: Vec::new() })
}

impl Length {
    fn measured(self, shortest: &[Worked]) -> Measured {
        let Self { dir: _, filled, rounds } = self;
        let beside = |of: fn(&Worked) -> f64| {
            Spread::of(rounds.iter().zip(shortest).map(|(this, first)| of(this) / of(first)))
        };
        let beside_shortest = Beside {
            unsynced_cpu: beside(|worked| worked.unsynced.cpu_us_per_task),
            synced_lives: beside(|worked| worked.synced.lives_per_second),
        };
        let all =
            |of: fn(&Worked) -> &Rates| Rates::median(&rounds.iter().map(of).collect::<Vec<_>>());
        let work = Worked { unsynced: all(|it| &it.unsynced), synced: all(|it| &it.synced) };
        println!("{} tasks wait:", filled.tasks);
        print_rates("unsynced", &work.unsynced);
        println!("           processor time {}", beside_shortest.unsynced_cpu);
        print_rates("synced", &work.synced);
        println!("           lives/s        {}", beside_shortest.synced_lives);
        Measured { filled, work, beside_shortest }
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.map(|value| rounded(value, 2)).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: at(values.len() / 2), least: at(0), most: at(last) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = self;
        write!(f, "x {median} ({least} to {most})")
    }
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
