//! `tidegate bench`: what a broker does, beside a bare log in the same run.

pub(crate) mod args;
mod bare_log;
pub mod baseline;
mod raw;
mod row;
pub mod sample;
mod wake;
mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use tempfile::TempDir;
use tidegate::{
    Broker, Capacity, ConnectOptions, Durability, EMBEDDED_PATH_DEFAULT, ErrorKind, QueueName,
    QueueSpec, connect_with,
};

use crate::app::App;
use crate::failure::Failure;
use crate::progress;

use args::{Bench, DurabilityArg};
use row::Row;
use sample::{Latencies, Load, Sample, median, percentile_us};

/// Tasks of a batch in the second row.
const BATCH: usize = 64;
/// Most tasks of the last row, and the rest between two of them.
const IDLE_TASKS: u64 = 200;
const IDLE_PAUSE: Duration = Duration::from_millis(3);

pub(crate) async fn run(app: &App, args: Bench) -> Result<(), Failure> {
    let temporary = TempDir::with_prefix("tidegate-bench-");
    let temporary = temporary.map_err(|error| {
        Failure::failed(format!("no temporary directory could be made: {error}"))
    })?;
    let urls = urls(app, temporary.path())?;
    let steps = urls.len() * Life::ALL.len() * args.rounds as usize * 2;
    let bar = progress::bar("measuring", Some(steps as u64));
    let mut rows = Vec::new();
    for url in &urls {
        rows.extend(measure_broker(url, &args, &bar, temporary.path()).await?);
    }
    bar.finish_and_clear();
    if app.output.json { app.output.json(&rows) } else { row::show(&rows) }
}

/// The brokers to measure; one in a temporary directory where none is named.
fn urls(app: &App, temporary: &Path) -> Result<Vec<String>, Failure> {
    match app.broker_flags() {
        [] => {
            let configured = app.settings()?.broker;
            let fresh = || format!("embedded:{}", temporary.join("queue").display());
            Ok(vec![configured.unwrap_or_else(fresh)])
        }
        urls => Ok(urls.to_vec()),
    }
}

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    ManyClients,
    Batches,
    OneInFlight,
    Worker,
    IdlePickUp,
}

impl Life {
    const ALL: [Self; 5] =
        [Self::ManyClients, Self::Batches, Self::OneInFlight, Self::Worker, Self::IdlePickUp];

    fn load(self, args: &Bench) -> Load {
        let (clients, batch) = match self {
            Self::ManyClients | Self::Worker => (args.concurrency, 1),
            Self::Batches => (1, BATCH),
            Self::OneInFlight | Self::IdlePickUp => (1, 1),
        };
        let (tasks, pause) = match self {
            Self::IdlePickUp => (args.tasks.min(IDLE_TASKS), IDLE_PAUSE),
            _ => (args.tasks, Duration::ZERO),
        };
        Load { tasks, payload: args.payload, clients, batch, pause }
    }
}

async fn measure_broker(
    url: &str,
    args: &Bench,
    bar: &ProgressBar,
    temporary: &Path,
) -> Result<Vec<Row>, Failure> {
    let target = Target::of(url, args.durability)?;
    let options = ConnectOptions { durability: target.wanted, ..ConnectOptions::default() };
    let broker = connect_with(url, options).await?;
    let queue =
        QueueName::new(format!("bench-{:08x}", fastrand::u32(..))).map_err(Failure::failed)?;
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue.clone()) };
    let measured = async {
        declare(&broker, spec).await?;
        let mut rows = Vec::new();
        for life in Life::ALL {
            rows.push(measure_row(&broker, &queue, &target, life, args, bar, temporary).await?);
        }
        Ok(rows)
    };
    let rows: Result<Vec<Row>, Failure> = measured.await;
    if let Ok(admin) = broker.admin() {
        // A queue that was never made cannot be deleted.
        let _ = admin.delete(&queue).await;
    }
    broker.close().await?;
    rows
}

/// A broker that cannot bound a queue gets one without; all of them get the same otherwise.
async fn declare(broker: &Broker, spec: QueueSpec) -> Result<(), Failure> {
    match broker.declare(&spec).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(error.into()),
        declared => Ok(declared?),
    }
}

async fn measure_row(
    broker: &Broker,
    queue: &QueueName,
    target: &Target,
    life: Life,
    args: &Bench,
    bar: &ProgressBar,
    temporary: &Path,
) -> Result<Row, Failure> {
    let load = life.load(args);
    let beside = target.directory.as_deref().unwrap_or(temporary);
    let (mut rates, mut cpus) = (Vec::new(), Vec::new());
    let (mut baselines, mut baseline_cpus) = (Vec::new(), Vec::new());
    let mut latencies = Latencies::default();
    for round in 1..=args.rounds {
        bar.set_message(format!("{} {life:?}, round {round}", target.label));
        let baseline = measure_baseline(beside, target.durability, life, load).await?;
        baselines.push(baseline.tasks_per_second);
        baseline_cpus.push(baseline.cpu_us_per_task);
        bar.inc(1);
        let sample = match life {
            Life::Worker => worker::measure(broker, queue, load).await?,
            Life::IdlePickUp => one_after_the_other(worker::measure(broker, queue, load).await?),
            _ => raw::measure(broker, queue, load).await?,
        };
        rates.push(sample.tasks_per_second);
        cpus.push(sample.cpu_us_per_task);
        latencies.extend(sample.latencies);
        bar.inc(1);
    }
    let own = (median(rates), median(cpus));
    let baseline = (median(baselines), median(baseline_cpus));
    Ok(Row::new(target, life, load, own, baseline, latencies))
}

/// The rate of pick-ups that follow each other at once, the rests between them left out.
fn one_after_the_other(mut sample: Sample) -> Sample {
    sample.tasks_per_second = 1e6 / percentile_us(&mut sample.latencies.pickup, 50.0);
    sample
}

/// Measures the bare log on the disk of `beside`.
async fn measure_baseline(
    beside: &Path,
    durability: Durability,
    life: Life,
    load: Load,
) -> Result<Sample, Failure> {
    let unusable = |error: std::io::Error| {
        Failure::failed(format!("the bare log in {} failed: {error}", beside.display()))
    };
    let dir = TempDir::with_prefix_in("bare-log-", beside).map_err(unusable)?;
    match life {
        Life::IdlePickUp => wake::measure(dir.path(), durability, load).map_err(unusable),
        _ => baseline::measure(dir.path(), durability, load).await.map_err(unusable),
    }
}

/// A broker as a benchmark sees it.
#[derive(Debug)]
struct Target {
    /// Its URL without a query.
    label: String,
    /// The directory of an embedded one.
    directory: Option<PathBuf>,
    /// What the flag asks for.
    wanted: Option<Durability>,
    /// What the baseline does.
    durability: Durability,
    /// What the row says.
    durability_name: &'static str,
}

impl Target {
    fn of(url: &str, flag: Option<DurabilityArg>) -> Result<Self, Failure> {
        let (label, query) = url.split_once('?').unwrap_or((url, ""));
        let Some(path) = label.strip_prefix("embedded:") else {
            if flag.is_some() {
                return Err(Failure::usage(format!(
                    "--durability is for embedded brokers, not {label}"
                )));
            }
            let (wanted, durability) = (None, Durability::Never);
            let label = label.rsplit_once('@').map_or(label, |(_, host)| host).to_owned();
            return Ok(Self { label, directory: None, wanted, durability, durability_name: "-" });
        };
        let path = if path.is_empty() { EMBEDDED_PATH_DEFAULT } else { path };
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("durability="));
        let durability = match (asked, flag) {
            (Some("interval"), _) => DurabilityArg::Interval,
            (Some("never"), _) => DurabilityArg::Never,
            (Some(_), _) => DurabilityArg::Always,
            (None, flag) => flag.unwrap_or(DurabilityArg::Always),
        };
        Ok(Self {
            label: label.to_owned(),
            directory: Some(path.into()),
            wanted: Some(durability.durability()),
            durability: durability.durability(),
            durability_name: durability.as_str(),
        })
    }
}
