//! The adapter of PostgreSQL, its functions called by the bare client, and a table claimed with SKIP LOCKED.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use deadpool_postgres::Pool;
use tidegate::{TaskId, limits};
use tidegate_conformance::services::postgres::PrivatePostgres;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::Contest;
use crate::durability::Durability;
use crate::peer::{Client, Peer, Result};
use crate::peers;

const ENQUEUE: &str = "SELECT outcomes, ids, seqs \
    FROM same.enqueue_bare($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const CLAIM: &str = "SELECT seq, deliveries, uncounted, priority, id, kind, key, headers, last_error, moved, \
    enqueued_at, payload, fence, until, lease, place FROM same.claim_bare($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const HORIZON: &str = "SELECT priorities, lows, open FROM same.horizon($1, $2, $3, $4)";
const COMPLETE: &str = "SELECT same.complete_bare($1, $2, $3)";
/// For more tasks than `SMALL`, and for those that another claim has come upon.
const SETTLE: &str = "SELECT outcomes FROM same.settle_bare($1, $2, $3, $4, $5, $6)";
/// Most completions that the adapter makes together with others.
const SMALL: usize = 64;
/// What the adapter's connections are set to.
const SETTINGS: &str = "-c search_path=same -c jit=off -c enable_seqscan=off -c enable_bitmapscan=off \
    -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan";
/// As often as the adapter does.
const HORIZON_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn start(dir: &Path, durability: Durability, clients: usize) -> Result<Contest> {
    let server = peers::postgres::serve(dir, durability).await?;
    let connections = clients.min(peers::postgres::CONNECTIONS_MAX);
    // WHY: queues of their own, so that none finds what another has left.
    let url = |schema: &str| {
        format!("{}?schema={schema}&connections={connections}&sslmode=disable", server.url())
    };
    let adapter = tidegate::connect(&url("adapter")).await?;
    let adapter = peers::tidegate::on(adapter, server.process()).await?;
    let made = tidegate::connect(&url("same")).await?;
    peers::tidegate::on(made.clone(), server.process()).await?;
    made.close().await?;
    Ok(Contest {
        setting: peers::postgres::setting(durability),
        adapter,
        same_calls: Box::new(SameCalls::new(server.clone(), clients).await?),
        minimum: peers::postgres::on(server, clients).await?,
    })
}

/// The functions on a queue that the adapter has made.
struct SameCalls {
    server: Arc<PrivatePostgres>,
    pool: Pool,
    queue: i64,
    reached: Arc<Mutex<Reached>>,
}

/// Where claims begin, as the adapter keeps it.
#[derive(Clone, Debug)]
struct Reached {
    timers: Option<SystemTime>,
    priorities: Vec<i16>,
    lows: Vec<String>,
    open: Vec<String>,
    asked_at: Instant,
}

impl SameCalls {
    async fn new(server: Arc<PrivatePostgres>, clients: usize) -> Result<Self> {
        let pool = peers::postgres::connect(&server, clients, SETTINGS)?;
        let id = pool.get().await?.query_one("SELECT id FROM same.queues", &[]).await?;
        let reached = Reached {
            timers: None,
            priorities: Vec::new(),
            lows: Vec::new(),
            open: Vec::new(),
            asked_at: Instant::now(),
        };
        Ok(Self { server, pool, queue: id.try_get(0)?, reached: Arc::new(Mutex::new(reached)) })
    }
}

#[async_trait]
impl Peer for SameCalls {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let (pool, queue, reached) = (self.pool.clone(), self.queue, self.reached.clone());
        Ok(Box::new(SameCallsClient { pool, queue, reached, held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        self.server.process()
    }
}

struct SameCallsClient {
    pool: Pool,
    queue: i64,
    reached: Arc<Mutex<Reached>>,
    /// Number and fence of each.
    held: Vec<(i64, i64)>,
}

type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

impl SameCallsClient {
    async fn query(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        let connection = self.pool.get().await?;
        let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let statement = connection.prepare_typed_cached(statement, &types).await?;
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        Ok(connection.query(&statement, &values).await?)
    }

    fn reached(&self) -> Reached {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the adapter asks now and then, so that claims do not walk over what is gone.
    async fn ask_horizon(&self) -> Result<()> {
        let reached = {
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            if reached.asked_at.elapsed() < HORIZON_EVERY {
                return Ok(());
            }
            reached.asked_at = Instant::now();
            reached.clone()
        };
        let parameters: [Parameter<'_>; 4] = [
            (&self.queue, Type::INT8),
            (&reached.priorities, Type::INT2_ARRAY),
            (&reached.lows, Type::TEXT_ARRAY),
            (&reached.open, Type::TEXT_ARRAY),
        ];
        let rows = self.query(HORIZON, &parameters).await?;
        let row = rows.first().ok_or("no horizon")?;
        let (priorities, lows, open) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        (reached.priorities, reached.lows, reached.open) = (priorities, lows, open);
        Ok(())
    }
}

#[async_trait]
impl Client for SameCallsClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let ids: Vec<Uuid> =
            payloads.iter().map(|_| Uuid::from_bytes(*TaskId::new().as_bytes())).collect();
        let (kinds, none) = (vec!["bench"; ids.len()], vec![None::<&str>; ids.len()]);
        let (delays, priorities) = (vec![0_i64; ids.len()], vec![0_i16; ids.len()]);
        let windows = vec![None::<i64>; ids.len()];
        let parameters: [Parameter<'_>; 11] = [
            (&self.queue, Type::INT8),
            (&0_i16, Type::INT2),
            (&ids, Type::UUID_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
            (&payloads, Type::BYTEA_ARRAY),
            (&none, Type::TEXT_ARRAY),
            (&delays, Type::INT8_ARRAY),
            (&priorities, Type::INT2_ARRAY),
            (&none, Type::TEXT_ARRAY),
            (&none, Type::TEXT_ARRAY),
            (&windows, Type::INT8_ARRAY),
        ];
        let rows = self.query(ENQUEUE, &parameters).await?;
        let row = rows.first().ok_or("no answer to a send")?;
        if row.try_get::<_, Vec<i16>>(0)? == vec![0; payloads.len()] {
            Ok(())
        } else {
            Err("a send was not carried out".into())
        }
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let reached = self.reached();
        let (most, none) = (most as i32, None::<i64>);
        let (attempt, bytes) = (None::<&[u8]>, limits::RECEIVE_BYTES_MAX as i64);
        let parameters: [Parameter<'_>; 11] = [
            (&self.queue, Type::INT8),
            (&1_i64, Type::INT8),
            (&most, Type::INT4),
            (&1_i32, Type::INT4),
            (&none, Type::INT8),
            (&reached.priorities, Type::INT2_ARRAY),
            (&reached.lows, Type::TEXT_ARRAY),
            (&reached.open, Type::TEXT_ARRAY),
            (&reached.timers, Type::TIMESTAMPTZ),
            (&attempt, Type::BYTEA),
            (&bytes, Type::INT8),
        ];
        let rows = self.query(CLAIM, &parameters).await?;
        let (about, tasks) = rows.split_first().ok_or("there is no such queue")?;
        if about.try_get::<_, i64>(0)? == 1 {
            let time: SystemTime = about.try_get(13)?;
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            reached.timers = time.checked_sub(Duration::from_secs(1));
        }
        let mut payloads = Vec::with_capacity(tasks.len());
        for row in tasks {
            self.held.push((row.try_get(0)?, row.try_get(12)?));
            payloads.push(row.try_get(11)?);
        }
        if !payloads.is_empty() {
            self.ask_horizon().await?;
        }
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        let (sequences, fences): (Vec<i64>, Vec<i64>) = self.held.drain(..).unzip();
        if sequences.len() > SMALL {
            return self.settle((sequences, fences)).await;
        }
        let parameters: [Parameter<'_>; 3] = [
            (&self.queue, Type::INT8),
            (&sequences, Type::INT8_ARRAY),
            (&fences, Type::INT8_ARRAY),
        ];
        let rows = self.query(COMPLETE, &parameters).await?;
        let row = rows.first().ok_or("no answer to a completion")?;
        let Some(done) = row.try_get::<_, Option<Vec<i64>>>(0)? else { return Ok(()) };
        let left = sequences.into_iter().zip(fences).filter(|(_, fence)| !done.contains(fence));
        self.settle(left.unzip()).await
    }
}

impl SameCallsClient {
    async fn settle(&self, (sequences, fences): (Vec<i64>, Vec<i64>)) -> Result<()> {
        let (verdicts, afters) = (vec![0_i16; fences.len()], vec![0_i64; fences.len()]);
        let texts = vec![None::<&str>; fences.len()];
        let parameters: [Parameter<'_>; 6] = [
            (&self.queue, Type::INT8),
            (&sequences, Type::INT8_ARRAY),
            (&fences, Type::INT8_ARRAY),
            (&verdicts, Type::INT2_ARRAY),
            (&afters, Type::INT8_ARRAY),
            (&texts, Type::TEXT_ARRAY),
        ];
        let rows = self.query(SETTLE, &parameters).await?;
        let row = rows.first().ok_or("no answer to a settle")?;
        if row.try_get::<_, Vec<i16>>(0)? == vec![0; fences.len()] {
            Ok(())
        } else {
            Err("a completion was not carried out".into())
        }
    }
}
