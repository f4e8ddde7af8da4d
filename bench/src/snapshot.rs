//! `bench snapshot`: what an old snapshot does to a queue in PostgreSQL, ours beside a plain table that is
//! claimed with SKIP LOCKED, on one server.

use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use tempfile::TempDir;
use tidegate_cli::bench::sample::Load;
use tidegate_conformance::services::postgres::PrivatePostgres;
use tokio_postgres::{Client, NoTls};

use crate::durability::Durability;
use crate::life;
use crate::peer::{Peer, Result};
use crate::peers;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// How long the snapshot is held under load
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Seconds of one's turn before it is the other's
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    turn: u64,
    /// Clients that work at the same time
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// Tasks of a call
    #[arg(long, default_value_t = 10)]
    batch: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// When what was acknowledged is on the disk
    #[arg(long, default_value = "always")]
    durability: Durability,
}

const MINUTE: Duration = Duration::from_secs(60);
const DEAD: &str = "SELECT coalesce(sum(n_dead_tup) FILTER (WHERE relname = 'bench'), 0)::bigint,
           coalesce(sum(n_dead_tup) FILTER (WHERE schemaname = 'tidegate'), 0)::bigint,
           (pg_total_relation_size('bench') / 1024 / 1024)::bigint,
           (SELECT sum(pg_total_relation_size(oid)) / 1024 / 1024 FROM pg_class
             WHERE relnamespace = 'tidegate'::regnamespace AND relkind = 'r')::bigint
      FROM pg_stat_user_tables";

/// A minute, half of it each.
struct Row {
    minute: String,
    plain: u64,
    ours: u64,
    plain_dead: i64,
    plain_mib: i64,
    ours_dead: i64,
    ours_mib: i64,
}

pub(crate) async fn run(args: &SnapshotArgs) -> Result<()> {
    let load_average = std::fs::read_to_string("/proc/loadavg")?;
    let dir = TempDir::with_prefix("tidegate-snapshot-")?;
    let server = peers::postgres::serve(dir.path(), args.durability).await?;
    let url = format!("{}?connections={}", server.url(), args.concurrency);
    let ours = peers::tidegate::on(tidegate::connect(&url).await?, server.process()).await?;
    let plain = peers::postgres::on(server.clone(), args.concurrency).await?;
    let (watch, keeper) = (client(&server).await?, client(&server).await?);
    let mut rows = vec![minute("before".into(), args, &*plain, &*ours, &watch).await?];
    keeper
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM bench")
        .await?;
    for number in 1..=args.minutes {
        rows.push(minute(number.to_string(), args, &*plain, &*ours, &watch).await?);
    }
    keeper.batch_execute("COMMIT").await?;
    rows.push(minute("after".into(), args, &*plain, &*ours, &watch).await?);
    println!("{}", table(&rows));
    let setting = peers::postgres::setting(args.durability);
    println!("{setting}; load average when it began: {}", load_average.trim());
    Ok(())
}

async fn client(server: &PrivatePostgres) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A minute, in turns.
async fn minute(
    name: String,
    args: &SnapshotArgs,
    plain: &dyn Peer,
    ours: &dyn Peer,
    watch: &Client,
) -> Result<Row> {
    let turn = Duration::from_secs(args.turn);
    let (mut plain_did, mut ours_did) = (Done::default(), Done::default());
    while plain_did.time + ours_did.time < MINUTE {
        plain_did.work(plain, args, turn).await?;
        ours_did.work(ours, args, turn).await?;
    }
    let row = watch.query_one(DEAD, &[]).await?;
    let row = Row {
        minute: name,
        plain: plain_did.per_second(),
        ours: ours_did.per_second(),
        plain_dead: row.try_get(0)?,
        ours_dead: row.try_get(1)?,
        plain_mib: row.try_get(2)?,
        ours_mib: row.try_get(3)?,
    };
    eprintln!("minute {}: plain {} tasks/s, ours {}", row.minute, row.plain, row.ours);
    Ok(row)
}

#[derive(Default)]
struct Done {
    tasks: u64,
    time: Duration,
}

impl Done {
    async fn work(&mut self, peer: &dyn Peer, args: &SnapshotArgs, turn: Duration) -> Result<()> {
        let load = Load {
            tasks: u64::MAX,
            payload: args.payload,
            clients: args.concurrency,
            batch: args.batch,
            pause: Duration::ZERO,
        };
        let begun = Instant::now();
        while begun.elapsed() < turn {
            self.tasks += life::measure(peer, load).await?.sample.tasks;
        }
        self.time += begun.elapsed();
        Ok(())
    }

    fn per_second(&self) -> u64 {
        (self.tasks as f64 / self.time.as_secs_f64()) as u64
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "MINUTE",
        "PLAIN TASKS/S",
        "DEAD ROWS",
        "MIB",
        "TIDEGATE TASKS/S",
        "DEAD ROWS",
        "MIB",
    ]);
    for row in rows {
        table.add_row([
            row.minute.clone(),
            row.plain.to_string(),
            row.plain_dead.to_string(),
            row.plain_mib.to_string(),
            row.ours.to_string(),
            row.ours_dead.to_string(),
            row.ours_mib.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
