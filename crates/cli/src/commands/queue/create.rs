//! `tidegate queue create`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate::{
    Broker, Capacity, ErrorKind, Ordering, Partitions, QueueName, QueueSpec, QueueStats, Router,
};

use super::super::queue_name;
use super::show::summary;
use crate::app::App;
use crate::config::Settings;
use crate::failure::Failure;
use crate::{units, views};

/// Make a queue
///
/// What no flag says comes from the configuration, else it is the default. A queue that is there
/// already with the same settings is left as it is; with others it is an error.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tidegate queue create mail
  tidegate queue create flights --ordering key --partitions 16
  tidegate queue create imports --capacity unbounded --lease 10m --dlq imports.dead")]
pub(crate) struct Create {
    /// The queue: letters, digits, '_', '-' and '.'
    #[arg(value_parser = queue_name)]
    queue: QueueName,
    /// Keep the order of tasks with the same key [default: none is kept]
    #[arg(long)]
    ordering: Option<OrderingArg>,
    /// How a key becomes a partition [default: hash]
    #[arg(long)]
    router: Option<RouterArg>,
    /// How many partitions it has, 1 to 1,024 [default: 1]
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Most tasks that are not done or dead, or `unbounded` [default: 10000]
    #[arg(long, value_name = "N|unbounded", value_parser = capacity)]
    capacity: Option<Capacity>,
    /// How long a worker holds a task unless it renews [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    lease: Option<Duration>,
    /// Attempts before a task is dead [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// A queue that dead tasks are moved to; made if it is missing [default: they stay]
    #[arg(long, value_name = "QUEUE", value_parser = queue_name)]
    dlq: Option<QueueName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderingArg {
    /// No order is kept
    None,
    /// Tasks with one key are handed out in order
    Key,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RouterArg {
    /// FNV-1a of the key, as Go's hash/fnv
    Hash,
    /// A new partition moves about 1/n of the keys
    Consistent,
    /// In turn, whatever the key
    RoundRobin,
}

fn capacity(text: &str) -> Result<Capacity, String> {
    match (text, text.replace([',', '_'], "").parse()) {
        ("unbounded", _) => Ok(Capacity::Unbounded),
        (_, Ok(most @ 1..)) => Ok(Capacity::Bounded(most)),
        _ => Err("write a number from 1, or `unbounded`".into()),
    }
}

pub(crate) async fn run(
    app: &App,
    settings: &Settings,
    broker: &Broker,
    args: Create,
) -> Result<(), Failure> {
    let spec = args.spec(settings)?;
    broker.declare(&spec).await.map_err(|error| {
        let differs = error.kind() == ErrorKind::Conflict;
        let failure = Failure::from(error);
        let help = format!("`tidegate queue show {}` shows how it was made", spec.name);
        if differs { failure.with_help(help) } else { failure }
    })?;
    let text = format!("\"{}\" is there: {}", spec.name, summary(&spec));
    app.output.answer(&views::Queue::new(&spec, &stats(broker, &spec).await?), text)
}

async fn stats(broker: &Broker, spec: &QueueSpec) -> Result<QueueStats, Failure> {
    match broker.inspect() {
        Ok(inspect) => Ok(inspect.stats(&spec.name).await?),
        Err(_) => Ok(QueueStats::default()),
    }
}

impl Create {
    fn spec(self, settings: &Settings) -> Result<QueueSpec, Failure> {
        let Self { queue, ordering, router, partitions, capacity, lease, max_attempts, dlq } = self;
        let mut spec = settings.spec(queue);
        spec.ordering = match ordering {
            Some(OrderingArg::Key) => Ordering::Key,
            Some(OrderingArg::None) | None => Ordering::None,
        };
        spec.router = match router {
            Some(RouterArg::Hash) | None => Router::Hash,
            Some(RouterArg::Consistent) => Router::Consistent,
            Some(RouterArg::RoundRobin) => Router::RoundRobin,
        };
        let partitions = partitions.map(Partitions::new).transpose();
        let partitions =
            partitions.map_err(|why| Failure::usage(format!("--partitions: {why}")))?;
        spec.partitions = partitions.unwrap_or(Partitions::ONE);
        spec.capacity = capacity.unwrap_or(spec.capacity);
        spec.lease = lease.unwrap_or(spec.lease);
        spec.retry.max_attempts = max_attempts.unwrap_or(spec.retry.max_attempts);
        spec.dead_letters.queue = dlq.or(spec.dead_letters.queue);
        Ok(spec)
    }
}
