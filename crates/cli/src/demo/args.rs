//! The arguments of the demo and of the process that it kills.

use std::path::PathBuf;

use clap::Args;

/// Watch it survive a kill -9, with an account that balances
///
/// Sends 2,699 real flights to a durable queue in a fresh directory and works on them, every
/// aircraft's in order, in a process that is killed with SIGKILL in the middle. A second process goes
/// on from the same directory. Some attempts fail on purpose, at a simulated dependency; cancelled
/// flights become dead letters; an acknowledgement from before the kill is presented afterwards and
/// must be refused. At the end this process, which did none of the work, audits what happened
/// from a journal and from the queue itself.
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

/// The process that sends and works, and that the demo kills.
#[derive(Args, Debug)]
pub(crate) struct Child {
    #[arg(long)]
    pub(super) dir: PathBuf,
    #[arg(long)]
    pub(super) seed: u64,
    #[arg(long)]
    pub(super) run: u32,
}
