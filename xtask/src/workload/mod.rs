//! Work on an embedded engine whose every operation is written down: what the processes do that
//! are killed, whose disk is cut off, and that tidy up afterwards; and the history that they leave.

mod child;
mod clock;
mod consumer;
mod journal;
mod producer;
mod rig;
mod script;
mod stage;
mod tally;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use clock::now_us;
pub(crate) use rig::{Rig, SEGMENT_BYTES, Sharer};
pub(crate) use stage::{ChildArgs, DurabilityArg};
pub(crate) use tally::Tally;

/// Why a process cannot go on.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a process of a run does. Not for people.
#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// Sends, receives and settles from several sides at once, until it is killed
    Load(ChildArgs),
    /// Does the same beside others, through whichever of them holds the engine
    Share(ChildArgs),
    /// Does always the same, one step after the other, and ends
    Script(ChildArgs),
    /// Opens the directory and ends without a close
    Open(ChildArgs),
    /// Completes what is left and closes
    Drain(ChildArgs),
}

impl Child {
    /// Its name on the command line.
    const LOAD: &'static str = "load";
    const SHARE: &'static str = "share";
    const SCRIPT: &'static str = "script";
    const OPEN: &'static str = "open";
    const DRAIN: &'static str = "drain";
}

/// Does what a process of a run does.
pub(crate) fn child(child: &Child) -> ExitCode {
    let done = match child {
        Child::Load(args) => child::load(args),
        Child::Share(args) => child::share(args),
        Child::Script(args) => script::run(args),
        Child::Open(args) => script::open(args),
        Child::Drain(args) => child::drain(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}
