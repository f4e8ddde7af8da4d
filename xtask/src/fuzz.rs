//! `fuzz`: runs the fuzz targets for a while each, from the inputs that are committed.

use std::fs;
use std::process::{Command, ExitCode, Stdio};

use clap::Args;

use crate::cargo::{self, Counts};
use crate::needs::{self, FOR_FUZZING};

/// How long, and what.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
}

/// The targets, with the longest input that makes sense for each.
const TARGETS: [(&str, usize); 8] = [
    ("frame", 4_096),
    ("recovery", 1_024),
    ("commands", 600),
    ("service", 800),
    ("connection", 800),
    ("canonical", 2_048),
    ("json", 16_384),
    ("query", 4_096),
];

pub(crate) fn main(args: &FuzzArgs) -> ExitCode {
    if !needs::provide(FOR_FUZZING).is_empty() {
        return ExitCode::FAILURE;
    }
    let Counts { passed, failed, .. } = counted(args.seconds, args.target.as_deref(), &[]);
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the targets, all or one, for so many seconds each; `build` says how cargo-fuzz builds them.
pub(crate) fn counted(seconds: u64, only: Option<&str>, build: &[&str]) -> Counts {
    let targets = TARGETS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    targets.fold(Counts::default(), |counts, (name, longest)| {
        let ran = run(name, *longest, seconds, build);
        match &ran {
            Ok(executions) => println!("fuzz {name:<10} {executions:>12} executions, no finding"),
            Err(why) => eprintln!("fuzz {name}: {why}"),
        }
        counts.plus(Counts::one(ran.is_ok()))
    })
}

/// Runs one target and tells how many inputs it was given.
fn run(name: &str, longest: usize, seconds: u64, build: &[&str]) -> Result<u64, String> {
    let root = cargo::root();
    // WHY: new inputs go to the first folder, so that a run changes nothing that is committed.
    let (found, known) = (root.join("target/fuzz").join(name), root.join("fuzz/corpus").join(name));
    fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    let mut fuzz = Command::new(cargo::cargo());
    // WHY: no sanitizer. The project has no unsafe code, and stable Rust builds it without one.
    fuzz.args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir", "fuzz"]).args(build).arg(name);
    fuzz.args([&found, &known]).arg("--");
    fuzz.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={longest}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let ran = fuzz.current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("cargo could not be run: {error}"))?;
    let told = String::from_utf8_lossy(&ran.stderr);
    if !ran.status.success() {
        let last: Vec<&str> = told.lines().rev().take(40).collect();
        return Err(last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    let count = told.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    count.and_then(|count| count.trim().parse().ok()).ok_or_else(|| "no count was told".into())
}
