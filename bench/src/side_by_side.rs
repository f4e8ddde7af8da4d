//! `bench peers`: every queue at the same durability, in turn within each round.

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use tempfile::TempDir;
use tidegate_cli::bench::sample::{Latencies, Load, median, percentile_us, rounded};

use crate::durability::Durability;
use crate::life;
use crate::peer::{Kind, Result};
use crate::peers;
use tidegate_conformance::services::find_program;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// Tasks of a measurement, unless it takes more than 1.5 s
    #[arg(long, default_value_t = 400_000)]
    tasks: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// Clients that work at the same time, each in a row of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 256])]
    concurrency: Vec<usize>,
    /// Tasks of a call
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// When what was acknowledged is on the disk
    #[arg(long, value_delimiter = ',', default_values = ["always", "interval", "never"])]
    durability: Vec<Durability>,
    /// How often each is measured; the median is shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only queues whose name has this in it; the others are held against the first of them
    #[arg(long)]
    only: Vec<String>,
    /// Prints an array of rows instead of a table
    #[arg(long)]
    json: bool,
}

/// A row of results. `ratio` is what the first row did in the same rounds, by what this one did.
#[derive(Debug, Serialize)]
struct Row {
    queue: &'static str,
    setting: &'static str,
    durability: &'static str,
    payload_bytes: usize,
    concurrency: usize,
    batch: usize,
    tasks_per_second: f64,
    ratio: f64,
    enqueue_p50_us: f64,
    enqueue_p99_us: f64,
    pickup_p50_us: f64,
    pickup_p99_us: f64,
    client_cpu_us_per_task: f64,
    server_cpu_us_per_task: f64,
}

pub(crate) async fn run(args: &PeersArgs) -> Result<()> {
    let mut rows = Vec::new();
    for durability in &args.durability {
        for clients in &args.concurrency {
            rows.extend(cell(args, *durability, *clients).await?);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}", table(&rows));
    }
    Ok(())
}

/// What one queue did in all rounds.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    client_cpus: Vec<f64>,
    server_cpus: Vec<f64>,
    latencies: Latencies,
}

/// All queues at one durability and concurrency.
async fn cell(args: &PeersArgs, durability: Durability, clients: usize) -> Result<Vec<Row>> {
    let kinds: Vec<(&Kind, &'static str)> = peers::ALL
        .iter()
        .filter(|kind| is_wanted(kind, &args.only))
        .filter_map(|kind| Some((kind, (kind.setting)(durability)?)))
        .collect();
    let mut measured: Vec<Rounds> = kinds.iter().map(|_| Rounds::default()).collect();
    let load = Load {
        tasks: args.tasks,
        payload: args.payload,
        clients,
        batch: args.batch,
        pause: Default::default(),
    };
    for _ in 0..args.rounds {
        for ((kind, _), rounds) in kinds.iter().zip(&mut measured) {
            let dir = TempDir::with_prefix("tidegate-peers-")?;
            let peer = (kind.start)(dir.path(), durability, clients).await;
            let peer = peer.map_err(|error| format!("{}: {error}", kind.name))?;
            // WHY: a tenth of it first, or a fresh server's first files and buffers are a part of it.
            let warm_up = Load { tasks: load.tasks / 10, ..load };
            let found = async {
                life::measure(&*peer, warm_up).await?;
                life::measure(&*peer, load).await
            };
            let found = found.await.map_err(|error| format!("{}: {error}", kind.name))?;
            rounds.rates.push(found.sample.tasks_per_second);
            rounds.client_cpus.push(found.sample.cpu_us_per_task);
            rounds.server_cpus.push(found.server_us_per_task);
            rounds.latencies.extend(found.sample.latencies);
        }
    }
    let own = measured.first().map_or(f64::NAN, |own| median(own.rates.clone()));
    let rows = kinds.into_iter().zip(measured).map(|((kind, setting), rounds)| {
        let Rounds { rates, client_cpus, server_cpus, mut latencies } = rounds;
        let rate = median(rates);
        let Latencies { enqueue, pickup } = &mut latencies;
        Row {
            queue: kind.name,
            setting,
            durability: durability.as_str(),
            payload_bytes: load.payload,
            concurrency: clients,
            batch: load.batch,
            tasks_per_second: rate.round(),
            ratio: rounded(own / rate, 2),
            enqueue_p50_us: percentile_us(enqueue, 50.0).round(),
            enqueue_p99_us: percentile_us(enqueue, 99.0).round(),
            pickup_p50_us: percentile_us(pickup, 50.0).round(),
            pickup_p99_us: percentile_us(pickup, 99.0).round(),
            client_cpu_us_per_task: rounded(median(client_cpus), 1),
            server_cpu_us_per_task: rounded(median(server_cpus), 1),
        }
    });
    Ok(rows.collect())
}

/// Whether a queue is to be measured; one whose program is missing is named.
fn is_wanted(kind: &Kind, only: &[String]) -> bool {
    let is_named = only.is_empty() || only.iter().any(|part| kind.name.contains(&**part));
    if !is_named {
        return false;
    }
    let missing = kind.program.filter(|program| find_program(program).is_none());
    if let Some(program) = missing {
        eprintln!("{} is left out: there is no {program}", kind.name);
    }
    missing.is_none()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "QUEUE",
        "SETTING",
        "CLIENTS",
        "BATCH",
        "TASKS/S",
        "THE FIRST IS",
        "ENQUEUE P50/P99 US",
        "PICKUP P50/P99 US",
        "CPU US CLIENT/SERVER",
    ]);
    for row in rows {
        table.add_row([
            row.queue.to_owned(),
            row.setting.to_owned(),
            row.concurrency.to_string(),
            row.batch.to_string(),
            row.tasks_per_second.to_string(),
            format!("{} x", row.ratio),
            format!("{} / {}", row.enqueue_p50_us, row.enqueue_p99_us),
            format!("{} / {}", row.pickup_p50_us, row.pickup_p99_us),
            format!("{} / {}", row.client_cpu_us_per_task, row.server_cpu_us_per_task),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
