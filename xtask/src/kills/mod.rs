//! `kill -9` of a working process, again and again, and what its history says then.
//!
//! A run is one data directory. A process sends, receives and settles on it and writes down what it
//! does; it is killed when its journal has grown to a length drawn by lot, and another one opens the
//! directory and goes on. The last two are not killed: they complete what is left. Then the history
//! of all of them is judged.

mod hands;
mod run;
mod shared;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;

pub(crate) use run::wait_for_lines;
pub(crate) use shared::last_words;

use hands::TakeOvers;

use crate::cargo::{Counts, root};
use crate::workload::{DurabilityArg, Rig, SEGMENT_BYTES, Tally};

/// How `kills` is run.
#[derive(Debug, Args)]
pub(crate) struct KillsArgs {
    /// Directories to work on, each with several kills
    #[arg(long, default_value_t = 200)]
    pub(crate) runs: u64,
    /// Chooses the kills and the work; the first run has this seed, the next the one after it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// When acknowledged changes are on the disk [default: each in turn]
    #[arg(long)]
    pub(crate) durability: Option<DurabilityArg>,
    /// Processes that work on a directory at the same time; whoever holds the engine is killed every
    /// other time, and anyone else otherwise
    #[arg(long, default_value_t = 1)]
    pub(crate) processes: usize,
    /// Runs at the same time
    #[arg(long, default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Where the directories are made; those with a finding stay
    #[arg(long, default_value = "target/kills")]
    pub(crate) dir: PathBuf,
}

/// What all runs showed.
#[derive(Debug, Default)]
struct Report {
    kills: u64,
    took_over: TakeOvers,
    tally: Tally,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, took_over, tally } = self;
        write!(f, "{took_over}{kills} kills; {tally}")
    }
}

/// Runs, prints what was seen, and fails if anything was wrong.
pub(crate) fn main(args: &KillsArgs) -> ExitCode {
    let report = run_all(args);
    print!("{report}");
    if report.tally.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does a few runs as one test each.
pub(crate) fn counted(runs: u64, processes: usize) -> Counts {
    let dir = root().join("target/kills");
    let args = KillsArgs { runs, seed: 1, durability: None, processes, jobs: 2, dir };
    let report = run_all(&args);
    print!("{report}");
    let failed = report.tally.unsound_runs();
    Counts { passed: runs - failed, failed, skipped: 0 }
}

fn run_all(args: &KillsArgs) -> Report {
    let (next, report) = (AtomicU64::new(0), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= args.runs {
                        return;
                    }
                    one(args, args.seed + number, &report);
                }
            });
        }
    });
    report.into_inner().unwrap_or_else(|all| all.into_inner())
}

fn one(args: &KillsArgs, seed: u64, report: &Mutex<Report>) {
    let durability = durability(args, seed);
    let what = format!("run with seed {seed} ({})", durability.as_str());
    let dir = args.dir.join(format!("run-{seed}-{}", durability.as_str()));
    let rig = Rig::new(&dir, seed, durability, SEGMENT_BYTES);
    let done = rig.map(|mut rig| {
        let (kills, took_over, worked) = match args.processes {
            0 | 1 => {
                let (kills, worked) = run::run(&mut rig, seed);
                (kills, Vec::new(), worked)
            }
            processes => shared::run(&mut rig, seed, processes),
        };
        (kills, took_over, worked.map(|()| rig.judged()), rig)
    });
    let mut report = report.lock().unwrap_or_else(|all| all.into_inner());
    match done {
        Ok((kills, took_over, judged, rig)) => {
            report.kills += kills;
            report.took_over.add(took_over);
            report.tally.add(&what, &rig, judged);
        }
        Err(why) => report.tally.add_broken(&what, &why),
    }
    if report.tally.runs.is_multiple_of(25) {
        let Report { kills, tally, .. } = &*report;
        eprintln!("{} runs, {kills} kills, {} unsound", tally.runs, tally.unsound_runs());
    }
}

fn durability(args: &KillsArgs, seed: u64) -> DurabilityArg {
    let in_turn = [DurabilityArg::Always, DurabilityArg::Interval, DurabilityArg::Never];
    let turn = in_turn.get((seed % 3) as usize).copied();
    args.durability.or(turn).unwrap_or(DurabilityArg::Always)
}
