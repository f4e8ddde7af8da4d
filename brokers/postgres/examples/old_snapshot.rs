//! What an old snapshot does to a queue: this broker beside a plain table that is claimed with SKIP LOCKED,
//! on one private server, in turns of ten seconds, while another transaction keeps a snapshot from before.
//!
//! `cargo run --release --package tidegate-postgres --example old_snapshot -- [TURNS]`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_core::{NewTask, QueueName, QueueSpec, ReceiveOptions, SessionOptions, Verdict};
use tidegate_postgres::tokio_postgres::{Client, IsolationLevel, NoTls};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const TURN: Duration = Duration::from_secs(10);
const TURNS_DEFAULT: usize = 6;
const CLIENTS: usize = 4;
const BATCH: usize = 10;
const PAYLOAD_BYTES: usize = 256;

const TABLE: &str = "CREATE TABLE plain (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload bytea NOT NULL,
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
)";
const SEND: &str = "INSERT INTO plain (payload) SELECT * FROM unnest($1::bytea[])";
const CLAIM: &str = "UPDATE plain SET leased_until = now() + interval '30 seconds'
    WHERE id IN (SELECT id FROM plain WHERE leased_until < now()
                 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING id, payload";
const COMPLETE: &str = "DELETE FROM plain WHERE id = ANY ($1)";
const DEAD: &str = "SELECT coalesce(sum(n_dead_tup) FILTER (WHERE relname = 'plain'), 0)::bigint,
           coalesce(sum(n_dead_tup) FILTER (WHERE schemaname = 'tidegate'), 0)::bigint,
           (pg_total_relation_size('plain') / 1024 / 1024)::bigint,
           (SELECT sum(pg_total_relation_size(oid)) / 1024 / 1024 FROM pg_class
             WHERE relnamespace = 'tidegate'::regnamespace AND relkind = 'r')::bigint
      FROM pg_stat_user_tables";

#[tokio::main]
async fn main() -> Result<()> {
    let turns = std::env::args().nth(1).map_or(Ok(TURNS_DEFAULT), |turns| turns.parse())?;
    let started = std::thread::spawn(PrivatePostgres::start).join().map_err(|_| "no server")?;
    let server = started?.ok_or("there is no PostgreSQL on this machine")?;
    let url = server.url();
    let broker = tidegate_postgres::connect(&format!("{url}?connections=8")).await?;
    let queue = QueueName::new("mail")?;
    broker.declare(&QueueSpec::new(queue.clone())).await?;
    let watch = client(&url).await?;
    watch.batch_execute(TABLE).await?;

    println!("without an old snapshot:");
    round(&url, &broker, &queue, &watch).await?;
    let mut keeper = client(&url).await?;
    let old =
        keeper.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    old.query("SELECT pg_current_snapshot()", &[]).await?;
    println!("with one:");
    for _ in 0..turns {
        round(&url, &broker, &queue, &watch).await?;
    }
    old.commit().await?;
    Ok(())
}

/// A turn of each.
async fn round(
    url: &str,
    broker: &tidegate_core::Broker,
    queue: &QueueName,
    watch: &Client,
) -> Result<()> {
    let plain = turn(|_, done, stop| plain(url.to_owned(), done, stop)).await?;
    let ours = turn(|_, done, stop| ours(broker.clone(), queue.clone(), done, stop)).await?;
    let row = watch.query_one(DEAD, &[]).await?;
    println!(
        "plain {plain:>6} tasks/s, {:>8} dead, {:>5} MiB | tidegate {ours:>6} tasks/s, {:>8} dead, {:>5} MiB",
        row.get::<_, i64>(0),
        row.get::<_, i64>(2),
        row.get::<_, i64>(1),
        row.get::<_, i64>(3),
    );
    Ok(())
}

/// Tasks a second over their whole life.
async fn turn<F>(start: impl Fn(usize, Arc<AtomicU64>, Arc<AtomicBool>) -> F) -> Result<u64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> =
        (0..CLIENTS).map(|n| tokio::spawn(start(n, done.clone(), stop.clone()))).collect();
    tokio::time::sleep(TURN).await;
    stop.store(true, Ordering::Release);
    for client in clients {
        client.await??;
    }
    Ok(done.load(Ordering::Acquire) / TURN.as_secs())
}

async fn client(url: &str) -> Result<Client> {
    let (client, connection) = tidegate_postgres::tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn plain(url: String, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<()> {
    let client = client(&url).await?;
    let (send, claim) = (client.prepare(SEND).await?, client.prepare(CLAIM).await?);
    let complete = client.prepare(COMPLETE).await?;
    let payloads = vec![vec![7_u8; PAYLOAD_BYTES]; BATCH];
    while !stop.load(Ordering::Acquire) {
        client.execute(&send, &[&payloads]).await?;
        let rows = client.query(&claim, &[&(BATCH as i64)]).await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        client.execute(&complete, &[&ids]).await?;
        done.fetch_add(ids.len() as u64, Ordering::AcqRel);
    }
    Ok(())
}

async fn ours(
    broker: tidegate_core::Broker,
    queue: QueueName,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<()> {
    let rx = broker.open(&queue, &SessionOptions::default()).await?;
    while !stop.load(Ordering::Acquire) {
        let tasks: Vec<NewTask> =
            (0..BATCH).map(|_| NewTask::new("k", vec![7; PAYLOAD_BYTES])).collect();
        broker.enqueue(&queue, &tasks).await?;
        let leases = rx.receive(&ReceiveOptions::up_to(BATCH)).await?;
        let verdicts: Vec<_> =
            leases.into_iter().map(|lease| (lease.token, Verdict::Complete)).collect();
        let settled = rx.settle(&verdicts).await?;
        done.fetch_add(settled.len() as u64, Ordering::AcqRel);
    }
    Ok(())
}
