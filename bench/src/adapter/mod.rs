//! `bench adapter`: what an adapter costs beside its bare client.

mod postgres;
mod redis;

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use tempfile::TempDir;
use tidegate_cli::bench::sample::{Load, median, rounded};

use crate::durability::Durability;
use crate::life;
use crate::peer::{Peer, Result};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct AdapterArgs {
    /// The server
    server: Server,
    /// Tasks of a call, in rows of their own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    batch: Vec<usize>,
    /// Clients that work at the same time, in rows of their own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    concurrency: Vec<usize>,
    /// When what was acknowledged is on the disk
    #[arg(long, value_delimiter = ',', default_values = ["always", "never"])]
    durability: Vec<Durability>,
    /// Tasks of a measurement, unless it takes more than 1.5 s
    #[arg(long, default_value_t = 1_000_000)]
    tasks: u64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// How often each is measured; the medians are shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Prints an array of rows instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Server {
    Redis,
    Postgres,
}

/// The three that are measured, on one server.
struct Contest {
    /// How the server is set.
    setting: &'static str,
    adapter: Box<dyn Peer>,
    /// The calls that the adapter makes, with the same arguments, made by its client alone.
    same_calls: Box<dyn Peer>,
    /// The least that a queue on this server needs, as its manual has it.
    minimum: Box<dyn Peer>,
}

/// Tasks a second.
#[derive(Debug, Serialize)]
struct Row {
    setting: &'static str,
    payload_bytes: usize,
    concurrency: usize,
    batch: usize,
    adapter: f64,
    same_calls: f64,
    minimum: f64,
    by_same_calls: f64,
    by_minimum: f64,
    /// Processor time for each task: of the adapter's process, and of its server.
    client_us: f64,
    server_us: f64,
    minimum_server_us: f64,
}

pub(crate) async fn run(args: &AdapterArgs) -> Result<()> {
    let load_average = std::fs::read_to_string("/proc/loadavg")?;
    let mut rows = Vec::new();
    for durability in &args.durability {
        for clients in &args.concurrency {
            for batch in &args.batch {
                rows.push(row(args, *durability, *clients, *batch).await?);
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}", table(&rows));
        println!("load average when it began: {}", load_average.trim());
    }
    Ok(())
}

/// What one of the three did in all rounds.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    client_us: Vec<f64>,
    server_us: Vec<f64>,
}

impl Rounds {
    async fn measure(&mut self, peer: &dyn Peer, load: Load) -> Result<()> {
        let found = life::measure(peer, load).await?;
        self.rates.push(found.sample.tasks_per_second);
        self.client_us.push(found.sample.cpu_us_per_task);
        self.server_us.push(found.server_us_per_task);
        Ok(())
    }
}

async fn row(
    args: &AdapterArgs,
    durability: Durability,
    clients: usize,
    batch: usize,
) -> Result<Row> {
    let dir = TempDir::with_prefix("tidegate-adapter-")?;
    let contest = match args.server {
        Server::Redis => redis::start(dir.path(), durability).await?,
        Server::Postgres => postgres::start(dir.path(), durability, clients).await?,
    };
    let load = Load {
        tasks: args.tasks,
        payload: args.payload,
        clients,
        batch,
        pause: Default::default(),
    };
    let (mut adapter, mut same, mut minimum) = <(Rounds, Rounds, Rounds)>::default();
    for _ in 0..args.rounds {
        adapter.measure(&*contest.adapter, load).await?;
        same.measure(&*contest.same_calls, load).await?;
        minimum.measure(&*contest.minimum, load).await?;
    }
    let rate = median(adapter.rates);
    let (same, least) = (median(same.rates), median(minimum.rates));
    Ok(Row {
        setting: contest.setting,
        payload_bytes: load.payload,
        concurrency: clients,
        batch,
        adapter: rate.round(),
        same_calls: same.round(),
        minimum: least.round(),
        by_same_calls: rounded(rate / same, 2),
        by_minimum: rounded(rate / least, 2),
        client_us: rounded(median(adapter.client_us), 1),
        server_us: rounded(median(adapter.server_us), 1),
        minimum_server_us: rounded(median(minimum.server_us), 1),
    })
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "SETTING",
        "CLIENTS",
        "BATCH",
        "ADAPTER TASKS/S",
        "SAME CALLS",
        "MINIMUM",
        "BY SAME CALLS",
        "BY MINIMUM",
        "CPU US CLIENT/SERVER",
        "MINIMUM'S SERVER",
    ]);
    for row in rows {
        table.add_row([
            row.setting.to_owned(),
            row.concurrency.to_string(),
            row.batch.to_string(),
            row.adapter.to_string(),
            row.same_calls.to_string(),
            row.minimum.to_string(),
            row.by_same_calls.to_string(),
            row.by_minimum.to_string(),
            format!("{} / {}", row.client_us, row.server_us),
            row.minimum_server_us.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
