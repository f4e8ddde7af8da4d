//! What a process works on that is going to be killed: three queues that differ in what they
//! promise, in segments so small that a short run rotates and cleans them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tidegate::ConnectOptions;
use tidegate_core::{Broker, Capacity, Error, Ordering, QueueName, QueueSpec, RetryPolicy};
use tidegate_engine::{Durability, Options};

use super::Failure;
use super::journal::Journal;

/// No order; delay, priority and dedup. Bounded, so that some sends are refused.
pub(crate) const PLAIN: &str = "plain";
/// Order by key.
pub(crate) const ORDERED: &str = "ordered";
/// No order; what dies moves to [`GRAVES`].
pub(crate) const MOVING: &str = "moving";
/// Where the dead of [`MOVING`] lie.
pub(crate) const GRAVES: &str = "graves";
/// The queues that are sent to.
pub(crate) const QUEUES: [&str; 3] = [PLAIN, ORDERED, MOVING];

/// How long a task is held unless a receive asks for another time.
pub(crate) const LEASE: Duration = Duration::from_millis(300);
/// How long a process waits for its server.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than the kills of a run: a task whose every delivery was cut off by a kill does not die.
pub(crate) const ATTEMPTS_MAX: u32 = 6;

/// The arguments of a process that is to be killed.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChildArgs {
    /// The data directory.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The URL of a server to work on instead of the engine in the data directory.
    #[arg(long)]
    pub(crate) broker: Option<String>,
    /// The file to write the history to; it must not exist.
    #[arg(long)]
    pub(crate) journal: PathBuf,
    /// Chooses what is done.
    #[arg(long)]
    pub(crate) seed: u64,
    /// How often the directory was opened before.
    #[arg(long)]
    pub(crate) round: u64,
    /// When acknowledged changes are on the disk.
    #[arg(long)]
    pub(crate) durability: DurabilityArg,
    /// Bytes of a segment of the log.
    #[arg(long)]
    pub(crate) segment_bytes: u32,
}

/// When an acknowledged change is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Before it is acknowledged.
    Always,
    /// At most 20 ms later.
    Interval,
    /// When the operating system likes.
    Never,
}

impl DurabilityArg {
    /// Its name on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Never => "never",
        }
    }

    /// The engine's option.
    pub(crate) const fn as_option(self) -> Durability {
        match self {
            Self::Always => Durability::Always,
            Self::Interval => Durability::Interval(Duration::from_millis(20)),
            Self::Never => Durability::Never,
        }
    }
}

/// An open engine and the journal of those who use it.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) journal: Arc<Journal>,
}

impl Stage {
    /// Begins a journal, opens the engine or reaches the server, and finds or makes the queues.
    pub(crate) async fn open(args: &ChildArgs) -> Result<Self, Failure> {
        if args.broker.is_some() {
            return Self::attach(args).await;
        }
        Self::open_with(args, Arc::new(Journal::create(&args.journal)?)).await
    }

    /// Begins a journal and opens the directory beside others or reaches the server, and finds or makes
    /// the queues.
    pub(crate) async fn attach(args: &ChildArgs) -> Result<Self, Failure> {
        let journal = Arc::new(Journal::create(&args.journal)?);
        let broker = match &args.broker {
            Some(url) => patiently(|| tidegate::connect(url)).await?,
            None => {
                let durability = Some(args.durability.as_option());
                let options = ConnectOptions { durability, ..ConnectOptions::default() };
                let url = format!("embedded:{}", args.data.display());
                tidegate::connect_with(&url, options).await?
            }
        };
        for spec in specs()? {
            patiently(|| broker.declare(&spec)).await?;
        }
        Ok(Self { broker, journal })
    }

    /// The same, with a journal that was begun.
    pub(crate) async fn open_with(
        args: &ChildArgs,
        journal: Arc<Journal>,
    ) -> Result<Self, Failure> {
        let (broker, found) = tidegate_engine::open_with_report(options(args)).await?;
        // WHY: a crash leaves a torn tail at most. What it takes for damage would cry wolf.
        if !found.damage.is_empty() {
            return Err(format!("find no damage after a crash: {:?}", found.damage).into());
        }
        for spec in specs()? {
            broker.declare(&spec).await?;
        }
        Ok(Self { broker, journal })
    }
}

/// Tries until a server that is being started again is there.
async fn patiently<T, F: Future<Output = tidegate_core::Result<T>>>(
    call: impl Fn() -> F,
) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        match call().await {
            Err(error) if error.is_retryable() && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return Ok(done?),
        }
    }
}

fn options(args: &ChildArgs) -> Options {
    Options {
        durability: args.durability.as_option(),
        segment_bytes: args.segment_bytes,
        payload_memory_bytes: 256 << 10,
        ..Options::new(&args.data)
    }
}

fn specs() -> Result<[QueueSpec; 3], Failure> {
    let base = |name: &str| -> Result<QueueSpec, Failure> {
        let retry = RetryPolicy { max_attempts: ATTEMPTS_MAX, ..RetryPolicy::default() };
        Ok(QueueSpec { lease: LEASE, retry, ..QueueSpec::new(name.parse()?) })
    };
    let plain = QueueSpec { capacity: Capacity::Bounded(300), ..base(PLAIN)? };
    let ordered = QueueSpec { ordering: Ordering::Key, ..base(ORDERED)? };
    let mut moving = base(MOVING)?;
    moving.dead_letters.queue = Some(GRAVES.parse()?);
    Ok([plain, ordered, moving])
}

/// The queue with a name of [`QUEUES`].
pub(crate) fn queue(name: &str) -> Result<QueueName, Error> {
    use tidegate_core::{ErrorKind, Operation};
    QueueName::new(name).map_err(|why| Error::new(ErrorKind::Invalid, Operation::Open, why))
}
