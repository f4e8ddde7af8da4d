//! The embedded engine in a simulation: clients, clock, threads and disk run from one seed on one
//! thread, and the machine loses its power again and again. docs/internals/simulation.md says what
//! is simulated, what is checked and what is not seen.

mod admin;
mod book;
mod checks;
mod consumer;
mod drain;
mod executor;
mod log_output;
mod producer;
mod report;
mod run;
mod scenario;
mod stage;
mod trace;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;

use report::Report;
use run::Run;
use trace::Keep;

/// Every so many seeds one is run twice and its two traces are compared.
const TWICE_EVERY: u64 = 64;

/// How `simulate` is run.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Seeds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Runs this seed alone and prints its trace
    #[arg(long, conflicts_with_all = ["seeds", "start"])]
    seed: Option<u64>,
    /// Ends at the first seed that shows something
    #[arg(long)]
    first: bool,
    /// Threads, with one simulation each at a time [default: as many as there are cores]
    #[arg(long)]
    jobs: Option<usize>,
}

/// Runs, prints what was seen, and fails if anything was wrong.
pub(crate) fn main(args: &SimulateArgs) -> ExitCode {
    let report = match args.seed {
        Some(seed) => {
            let mut report = Report::default();
            report.add(&run::run(seed, Keep::Print).0);
            report
        }
        None => run_all(args),
    };
    print!("{report}");
    if report.unsound().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(args: &SimulateArgs) -> Report {
    let cores = || std::thread::available_parallelism().map_or(2, Into::into);
    let (next, jobs) = (AtomicU64::new(0), args.jobs.unwrap_or_else(cores));
    let work = || {
        let mut report = Report::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= args.seeds {
                return report;
            }
            let run = run_one(args.start + number);
            if args.first && !run.violations.is_empty() {
                next.store(args.seeds, Ordering::Relaxed);
            }
            report.add(&run);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let reports = threads.into_iter().filter_map(|thread| thread.join().ok());
        reports.fold(Report::default(), Report::plus)
    })
}

/// One seed; some of them twice, for a run that cannot be replayed proves nothing.
fn run_one(seed: u64) -> Run {
    if !seed.is_multiple_of(TWICE_EVERY) {
        return run::run(seed, Keep::Nothing).0;
    }
    let (mut run, first) = run::run(seed, Keep::Lines);
    let (_, second) = run::run(seed, Keep::Lines);
    let differs = trace::difference(&first.take(), &second.take());
    run.violations.extend(differs.map(|how| format!("the second run of the seed differs: {how}")));
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_twice_gives_the_same_trace() {
        for seed in (1..20).map(|n| n * TWICE_EVERY) {
            assert_eq!(run_one(seed).violations, Vec::<String>::new(), "seed {seed}");
        }
    }
}
