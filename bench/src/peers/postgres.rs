//! PostgreSQL: a table, claimed with SKIP LOCKED, rows deleted when their task is done.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::{Manager, Pool};
use tidegate_conformance::services::postgres::{PrivatePostgres, USER};
use tokio_postgres::NoTls;

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};

pub(crate) const KIND: Kind = Kind {
    name: "postgresql skip locked",
    program: Some("postgres"),
    setting: |durability| Some(setting(durability)),
    start: |dir, durability, clients| Box::pin(start(dir, durability, clients)),
};

/// Connections, each with a process of the server; more of them make it slower on few cores.
pub(crate) const CONNECTIONS_MAX: usize = 32;

const TABLE: &str = "CREATE TABLE bench (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload bytea NOT NULL,
    leased_until timestamptz NOT NULL DEFAULT '-infinity'
)";
const SEND: &str = "INSERT INTO bench (payload) SELECT * FROM unnest($1::bytea[])";
/// WHY: materialized, because a plan that runs the inner part again takes more than it was asked for.
const RECEIVE: &str = "WITH picked AS MATERIALIZED (
        SELECT id FROM bench WHERE leased_until < now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    UPDATE bench SET leased_until = now() + interval '30 seconds' FROM picked WHERE bench.id = picked.id
    RETURNING bench.id, payload";
const COMPLETE: &str = "DELETE FROM bench WHERE id = ANY($1)";

struct Postgres {
    server: Arc<PrivatePostgres>,
    pool: Pool,
}

/// What PostgreSQL is set to.
pub(crate) fn setting(durability: Durability) -> &'static str {
    match durability {
        Durability::Always => "synchronous_commit on",
        Durability::Interval => "synchronous_commit off",
        Durability::Never => "fsync off",
    }
}

async fn start(dir: &Path, durability: Durability, clients: usize) -> Result<Box<dyn Peer>> {
    on(serve(dir, durability).await?, clients).await
}

/// A server of one's own.
pub(crate) async fn serve(dir: &Path, durability: Durability) -> Result<Arc<PrivatePostgres>> {
    let (commit, fsync) = match durability {
        Durability::Always => ("on", "on"),
        Durability::Interval => ("off", "on"),
        Durability::Never => ("off", "off"),
    };
    let settings = [("synchronous_commit", commit), ("fsync", fsync)];
    Ok(Arc::new(PrivatePostgres::start_in(dir, &settings).await?))
}

/// Connections for so many clients.
/// `settings`: of the connections, as the server's command line has them.
pub(crate) fn connect(server: &PrivatePostgres, clients: usize, settings: &str) -> Result<Pool> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.port()).user(USER).dbname(USER).options(settings);
    let size = clients.min(CONNECTIONS_MAX);
    Ok(Pool::builder(Manager::new(config, NoTls)).max_size(size).build()?)
}

/// A table on a server.
pub(crate) async fn on(server: Arc<PrivatePostgres>, clients: usize) -> Result<Box<dyn Peer>> {
    let pool = connect(&server, clients, "")?;
    pool.get().await?.batch_execute(TABLE).await?;
    Ok(Box::new(Postgres { server, pool }))
}

#[async_trait]
impl Peer for Postgres {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        Ok(Box::new(PostgresClient { pool: self.pool.clone(), held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        self.server.process()
    }
}

struct PostgresClient {
    pool: Pool,
    held: Vec<i64>,
}

#[async_trait]
impl Client for PostgresClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let connection = self.pool.get().await?;
        let send = connection.prepare_cached(SEND).await?;
        connection.execute(&send, &[&payloads]).await?;
        Ok(())
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let connection = self.pool.get().await?;
        let receive = connection.prepare_cached(RECEIVE).await?;
        let rows = connection.query(&receive, &[&(most as i64)]).await?;
        self.held = rows.iter().map(|row| row.get(0)).collect();
        Ok(rows.iter().map(|row| row.get(1)).collect())
    }

    async fn complete(&mut self) -> Result<()> {
        let connection = self.pool.get().await?;
        let complete = connection.prepare_cached(COMPLETE).await?;
        connection.execute(&complete, &[&self.held]).await?;
        Ok(())
    }
}
