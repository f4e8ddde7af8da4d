//! The arguments of the benchmark.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate::{DURABILITY_INTERVAL_DEFAULT, Durability};

/// Measure a broker beside a bare log that writes the same records
///
/// Five rows per broker, the first four the full life of a task (enqueue, receive, complete): many
/// clients one task at a time; one client 64 tasks at a time; one client with one task in flight; and
/// typed JSON tasks through a producer and a worker. The fifth is a worker with nothing to do that is
/// sent a task now and then: its tasks/s are what its pick-ups would allow, one after the other.
///
/// The baseline of each row is measured in the same run, in turns with it: a bare log in a
/// preallocated file, one committer, that syncs once for all that waits and keeps the same bytes, and
/// knows nothing else; for the idle worker, one sync of a small write and two wakes of a thread. Every
/// row is the median of several rounds. The queue it works on is made for
/// it and deleted afterwards.
#[derive(Args, Debug)]
#[command(after_help = "Columns:
  enqueue  from the call until the tasks are acknowledged
  pickup   from the call of the send until the task is in a worker's hands
  cpu      processor time of this process per task, its clients included
  ratio    tasks/s divided by the bare log's

Examples:
  tidegate bench                                    in a temporary directory
  tidegate bench --broker embedded:/var/lib/queue   on the disk that counts
  tidegate bench --durability never --json
  tidegate bench --broker memory: --broker embedded:./x --tasks 50000")]
pub(crate) struct Bench {
    /// Most tasks in one measurement; it also ends after a second and a half
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) tasks: u64,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = payload)]
    pub(super) payload: usize,
    /// Clients of the first row, and tasks at work in the last
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clients)]
    pub(super) concurrency: usize,
    /// When an embedded broker has an acknowledged change on the disk [default: always]
    #[arg(long)]
    pub(super) durability: Option<DurabilityArg>,
    /// Rounds; every number is the median of so many
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(super) rounds: u32,
}

/// When an acknowledged change is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DurabilityArg {
    /// Before it is acknowledged
    Always,
    /// At most 50 ms later
    Interval,
    /// When the operating system likes
    Never,
}

impl DurabilityArg {
    pub(super) fn durability(self) -> Durability {
        match self {
            Self::Always => Durability::Always,
            Self::Interval => Durability::Interval(DURABILITY_INTERVAL_DEFAULT),
            Self::Never => Durability::Never,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Never => "never",
        }
    }
}

/// The smallest payload: it carries the time at which it was sent.
pub(super) const PAYLOAD_BYTES_MIN: usize = 8;
/// How long one measurement takes at most.
pub(super) const MEASUREMENT: Duration = Duration::from_millis(1_500);

fn payload(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(crate::units::size(text)?).unwrap_or(usize::MAX);
    let most = tidegate::limits::PAYLOAD_BYTES_DEFAULT;
    let fits = (PAYLOAD_BYTES_MIN..=most).contains(&bytes);
    if fits { Ok(bytes) } else { Err(format!("a payload has {PAYLOAD_BYTES_MIN} to {most} bytes")) }
}

fn clients(text: &str) -> Result<usize, String> {
    let clients: usize = text.parse().map_err(|_| "write a number".to_owned())?;
    let fits = (1..=10_000).contains(&clients);
    if fits { Ok(clients) } else { Err("1 to 10,000 clients are possible".into()) }
}
