//! Power cuts on real file systems under load, and what clients find afterwards.
//!
//! ext4 and XFS on a file, mounted; a process works there and keeps its journal elsewhere. The
//! ioctl `FS_IOC_SHUTDOWN` cuts the file system off between two of its requests: what it has not
//! given to the disk by then is gone. The process is killed, the file system mounted again, which
//! replays its journal, and the next process opens what is there.

mod cell;
mod peers;
mod phase;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tidegate_conformance::history::Judgement;

use crate::cargo::Counts;
use crate::volume::{self, Cut, FileSystem};
pub(crate) use peers::SenderArgs;
pub(crate) use peers::sender;
use phase::Phase;

/// Cuts on each file system, hard and with its journal flushed, in the tests.
const CUTS_IN_TESTS: u64 = 6;

/// How `powercut` is run.
#[derive(Debug, Args)]
pub(crate) struct PowercutArgs {
    /// Cuts on each file system, hard and with its journal flushed
    #[arg(long, default_value_t = 100)]
    cuts: u64,
    /// Cuts other brokers instead, and this one with every durability
    #[arg(long)]
    peers: bool,
    /// Of these, only those whose names contain this
    #[arg(long, requires = "peers")]
    only: Option<String>,
    /// Seconds of sending before each cut of a peer
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Chooses the cuts and the work
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the files of the file systems lie
    #[arg(long, default_value = "target/powercut")]
    dir: PathBuf,
}

/// Cuts, prints a table, and fails if anything was wrong.
pub(crate) fn main(args: &PowercutArgs) -> ExitCode {
    if let Some(missing) = volume::missing() {
        eprintln!("skipped, nothing was cut: {missing}");
        return ExitCode::FAILURE;
    }
    let dir = std::fs::create_dir_all(&args.dir).and_then(|()| args.dir.canonicalize());
    let done = dir.map_err(|error| format!("{}: {error}", args.dir.display())).and_then(|dir| {
        if args.peers {
            peers::run(&dir, args.only.as_deref(), args.cuts, args.seconds).map(|()| true)
        } else {
            engine(args, &dir)
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// A few cuts on each file system as tests.
pub(crate) fn counted() -> Counts {
    let dir = crate::cargo::root().join("target/powercut");
    let (peers, only, seconds, seed) = (false, None, 0.0, 1);
    let args = PowercutArgs { cuts: CUTS_IN_TESTS, peers, only, seconds, seed, dir };
    let dir = std::fs::create_dir_all(&args.dir).and_then(|()| args.dir.canonicalize());
    let done = dir.map_err(|error| error.to_string()).and_then(|dir| engine(&args, &dir));
    Counts::one(done.inspect_err(|why| eprintln!("{why}")).unwrap_or(false))
}

fn engine(args: &PowercutArgs, dir: &std::path::Path) -> Result<bool, String> {
    let mut is_sound = true;
    let mut rows = Vec::new();
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        for how in [Cut::Hard, Cut::JournalFlushed] {
            let shown = cell::run(dir, file_system, how, args.cuts, args.seed)?;
            println!("\n{file_system}, {how}: {} cuts; {}", shown.cuts, shown.tally);
            is_sound &= shown.tally.is_sound();
            rows.push((file_system, how, shown));
        }
    }
    println!(
        "| file system | cut | cuts | {} | lost | all findings |",
        PHASES.map(|p| p.to_string()).join(" | ")
    );
    println!("|{}", "---|".repeat(5 + PHASES.len()));
    for (file_system, how, shown) in &rows {
        let phase =
            |phase: Phase| shown.phases.get(&phase).copied().unwrap_or_default().to_string();
        println!(
            "| {file_system} | {how} | {} | {} | {} | {} |",
            shown.cuts,
            PHASES.map(phase).join(" | "),
            shown.tally.count(Judgement::Lost) + shown.tally.count(Judgement::DlqLost),
            shown.tally.findings(),
        );
    }
    Ok(is_sound)
}

const PHASES: [Phase; 6] =
    [Phase::Opening, Phase::Rotation, Phase::Cleaning, Phase::Spare, Phase::Append, Phase::Between];
