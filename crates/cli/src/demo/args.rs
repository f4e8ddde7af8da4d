//! The arguments of the demo and of its processes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Watch it survive a kill -9, with an account that balances
///
/// A producer sends 2,699 real flights to a durable queue in a fresh directory, and two workers work on
/// them, every aircraft's in order: three processes on one directory. In the middle the worker that
/// holds the queue's engine is killed with SIGKILL. Another process takes the engine over, the rest go
/// on, and a third worker joins. Some attempts fail on purpose, at a simulated dependency; cancelled
/// flights become dead letters; acknowledgements of the killed process are presented afterwards and
/// must be refused. At the end this process, which did none of the work, audits what happened from a
/// journal and from the queue itself.
///
/// Ends with 0 only if the account balances against the input.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tidegate demo
  tidegate demo --dir ./demo-data         keep everything there, to look at with
  tidegate dlq list flights --broker embedded:./demo-data/queue
  tidegate demo --seed 7 --json           other attempts fail; the account as JSON
  tidegate demo --broker memory:          in one process, without the kill")]
pub(crate) struct Demo {
    /// Work in this directory, which must be new or empty, and keep it [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Keep the temporary directory
    #[arg(long)]
    pub(super) keep: bool,
    /// Which attempts fail at the simulated dependency
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
}

/// One of the processes of the demo.
#[derive(Args, Clone, Debug)]
pub(crate) struct Child {
    #[arg(value_enum)]
    pub(super) role: Role,
    #[arg(long)]
    pub(super) dir: PathBuf,
    #[arg(long)]
    pub(super) seed: u64,
    /// Its number among the processes, from 1
    #[arg(long)]
    pub(super) process: u32,
}

/// What a process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Sends the flights.
    Producer,
    /// Works on them until its stdin ends.
    Worker,
}

impl Role {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Worker => "worker",
        }
    }
}
