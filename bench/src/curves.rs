//! `bench engine`: the full life of a task on the embedded engine, from one client to many, beside
//! the bare log in the same rounds.

use std::fs;
use std::path::Path;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidegate_cli::bench::baseline;
use tidegate_cli::bench::sample::{Latencies, Load, median, percentile_us, rounded};

use crate::durability::Durability;
use crate::life;
use crate::peer::Result;
use crate::peers;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct CurvesArgs {
    /// Tasks of a measurement, unless it takes more than 1.5 s
    #[arg(long, default_value_t = 200_000)]
    tasks: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// Clients that work at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64, 256])]
    concurrency: Vec<usize>,
    /// Tasks of a call
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    batch: Vec<usize>,
    /// When what was acknowledged is on the disk
    #[arg(long, value_delimiter = ',', default_values = ["always", "interval", "never"])]
    durability: Vec<Durability>,
    /// How often each is measured; the median is shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Writes the rows to this file too; `bench plot` draws them
    #[arg(long)]
    save: Option<std::path::PathBuf>,
}

/// What was found at one setting.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) durability: String,
    pub(crate) clients: usize,
    pub(crate) batch: usize,
    pub(crate) tasks_per_second: f64,
    pub(crate) bare_log_tasks_per_second: f64,
    pub(crate) enqueue_p50_us: f64,
    pub(crate) enqueue_p99_us: f64,
    pub(crate) enqueue_p999_us: f64,
    pub(crate) pickup_p50_us: f64,
    pub(crate) pickup_p99_us: f64,
    pub(crate) pickup_p999_us: f64,
    pub(crate) cpu_us_per_task: f64,
    pub(crate) bare_log_cpu_us_per_task: f64,
    pub(crate) written_bytes_per_task: f64,
}

pub(crate) async fn run(args: &CurvesArgs) -> Result<()> {
    let mut points = Vec::new();
    for durability in &args.durability {
        for batch in &args.batch {
            for clients in &args.concurrency {
                let load = Load {
                    tasks: args.tasks,
                    payload: args.payload,
                    clients: *clients,
                    batch: *batch,
                    pause: Default::default(),
                };
                points.push(measure(*durability, load, args.rounds).await?);
            }
        }
    }
    println!("{}", table(&points));
    if let Some(path) = &args.save {
        save(path, &points)?;
    }
    Ok(())
}

/// Writes what was found, for `plot` and for the next one to compare with.
pub(crate) fn save<T: Serialize>(path: &Path, points: &[T]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(path, serde_json::to_string_pretty(points)? + "\n")?)
}

async fn measure(durability: Durability, load: Load, rounds: usize) -> Result<Point> {
    let (mut rates, mut cpus, mut written) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_rates, mut bare_cpus) = (Vec::new(), Vec::new());
    let mut latencies = Latencies::default();
    let engine = &peers::ALL.first().ok_or("there is no engine")?;
    for _ in 0..rounds {
        let dir = TempDir::with_prefix("tidegate-bench-")?;
        let bare = baseline::measure(dir.path(), durability.of_engine(), load).await?;
        bare_rates.push(bare.tasks_per_second);
        bare_cpus.push(bare.cpu_us_per_task);
        let peer = (engine.start)(dir.path(), durability, load.clients).await?;
        // WHY: the first tasks fill a new directory's files with zeros, which is done once.
        life::measure(&*peer, load).await?;
        let before = written_bytes()?;
        let found = life::measure(&*peer, load).await?.sample;
        let bytes = written_bytes()? - before;
        rates.push(found.tasks_per_second);
        cpus.push(found.cpu_us_per_task);
        written.push(bytes as f64 / found.tasks.max(1) as f64);
        latencies.extend(found.latencies);
    }
    let Latencies { enqueue, pickup } = &mut latencies;
    Ok(Point {
        durability: durability.as_str().to_owned(),
        clients: load.clients,
        batch: load.batch,
        tasks_per_second: median(rates).round(),
        bare_log_tasks_per_second: median(bare_rates).round(),
        enqueue_p50_us: rounded(percentile_us(enqueue, 50.0), 1),
        enqueue_p99_us: rounded(percentile_us(enqueue, 99.0), 1),
        enqueue_p999_us: rounded(percentile_us(enqueue, 99.9), 1),
        pickup_p50_us: rounded(percentile_us(pickup, 50.0), 1),
        pickup_p99_us: rounded(percentile_us(pickup, 99.0), 1),
        pickup_p999_us: rounded(percentile_us(pickup, 99.9), 1),
        cpu_us_per_task: rounded(median(cpus), 2),
        bare_log_cpu_us_per_task: rounded(median(bare_cpus), 2),
        written_bytes_per_task: median(written).round(),
    })
}

/// Bytes that this process has handed to the kernel to write.
fn written_bytes() -> Result<u64> {
    let counters = fs::read_to_string("/proc/self/io")?;
    let line = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.ok_or("the kernel does not count what is written")?.parse()?)
}

fn table(points: &[Point]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "SYNC",
        "CLIENTS",
        "BATCH",
        "TASKS/S",
        "BY BARE LOG",
        "ENQUEUE P50/P99/P99.9 US",
        "PICKUP P50/P99/P99.9 US",
        "CPU US / BARE",
        "WRITTEN BYTES",
    ]);
    for point in points {
        let ratio = point.tasks_per_second / point.bare_log_tasks_per_second;
        table.add_row([
            point.durability.clone(),
            point.clients.to_string(),
            point.batch.to_string(),
            point.tasks_per_second.to_string(),
            format!("{ratio:.2}"),
            format!(
                "{:.0} / {:.0} / {:.0}",
                point.enqueue_p50_us, point.enqueue_p99_us, point.enqueue_p999_us
            ),
            format!(
                "{:.0} / {:.0} / {:.0}",
                point.pickup_p50_us, point.pickup_p99_us, point.pickup_p999_us
            ),
            format!("{:.2} / {:.2}", point.cpu_us_per_task, point.bare_log_cpu_us_per_task),
            point.written_bytes_per_task.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
