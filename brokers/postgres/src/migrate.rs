//! Bringing the schema up to date: once, whoever comes first.

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use crate::rows::field;
use crate::server::Server;

/// One step of the schema. To carry it out by hand: in one transaction, make the schema, put it first in
/// the search path, run the steps in order, and note each one's number in `migrations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number, from 1.
    pub version: i32,
    /// What it is called.
    pub name: &'static str,
    /// What it does; it names no schema.
    pub sql: &'static str,
}

macro_rules! steps {
    ($($version:literal $name:literal)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../migrations/", $name, ".sql")),
        }),*]
    };
}

const STEPS: &[Migration] = steps! {
    1 "0001_tables"
    2 "0002_shared"
    3 "0003_enqueue"
    4 "0004_claim"
    5 "0005_settle"
    6 "0006_upkeep"
    7 "0007_views"
    8 "0008_bare"
};

/// All steps, in order. The first of them is preceded by
/// `CREATE TABLE migrations (version integer PRIMARY KEY, name text NOT NULL)`.
pub fn migrations() -> &'static [Migration] {
    STEPS
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (
    version integer PRIMARY KEY,
    name    text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp()
)";

/// Brings the schema of a server up to date, in one transaction under a lock.
pub(crate) async fn run(server: &Server) -> Result<()> {
    const OPEN: Operation = Operation::Open;
    let mut connection = server.connection(OPEN).await?;
    let client: &mut Client = &mut connection;
    let failed = |error| server.failed(OPEN, error);
    let look = client.transaction().await.map_err(failed)?;
    if version(server, &look).await? == Some(newest()) {
        return Ok(());
    }
    look.rollback().await.map_err(failed)?;
    if !server.config.migrates {
        let why = format!("the schema {} is not that of this program", server.statements.schema);
        let why = format!("{why}; bring it up to date, or leave `migrate=off` out");
        return Err(Error::new(ErrorKind::Format, OPEN, why).about(server.config.to_string()));
    }
    // WHY: a transaction of its own, whose first statement waits for the lock: what it knew of the schema
    // before would not be looked up again.
    let step = client.transaction().await.map_err(failed)?;
    bring_up(server, &step).await?;
    step.commit().await.map_err(failed)
}

async fn bring_up(server: &Server, step: &Transaction<'_>) -> Result<()> {
    let failed = |error| server.failed(Operation::Open, error);
    let schema = &server.statements.schema;
    let lock = "SELECT pg_advisory_xact_lock(hashtext('tidegate migrate'), hashtext($1))";
    step.query_typed(lock, &[(schema, Type::TEXT)]).await.map_err(failed)?;
    let from = version(server, step).await?;
    if from.is_none() {
        let exists = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
        let name = &server.config.schema;
        let rows = step.query_typed(exists, &[(name, Type::TEXT)]).await.map_err(failed)?;
        let exists = rows.first().map(|row| field(row, 0, Operation::Open)).transpose()?;
        if exists != Some(true) {
            step.batch_execute(&format!("CREATE SCHEMA {schema}")).await.map_err(failed)?;
        }
    }
    step.batch_execute(&format!("SET LOCAL search_path TO {schema}; {TABLE}"))
        .await
        .map_err(failed)?;
    for Migration { version, name, sql } in STEPS.iter().filter(|s| s.version > from.unwrap_or(0)) {
        tracing::info!(version, name, schema, "the schema is brought up to date");
        step.batch_execute(sql).await.map_err(failed)?;
        let note = "INSERT INTO migrations (version, name) VALUES ($1, $2)";
        let noted = step.query_typed(note, &[(version, Type::INT4), (name, Type::TEXT)]).await;
        noted.map_err(failed)?;
    }
    Ok(())
}

fn newest() -> i32 {
    STEPS.last().map_or(0, |step| step.version)
}

/// The version of the schema; `None` if there is none. One that is newer is refused.
async fn version(server: &Server, step: &Transaction<'_>) -> Result<Option<i32>> {
    const OPEN: Operation = Operation::Open;
    let failed = |error| server.failed(OPEN, error);
    let schema = &server.statements.schema;
    let exists =
        "SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                   WHERE n.nspname = $1 AND c.relname = 'migrations')";
    let name = &server.config.schema;
    let rows = step.query_typed(exists, &[(name, Type::TEXT)]).await.map_err(failed)?;
    if rows.first().map(|row| field(row, 0, OPEN)).transpose()? != Some(true) {
        return Ok(None);
    }
    let rows =
        step.query_typed(&format!("SELECT max(version) FROM {schema}.migrations"), &[]).await;
    let found = rows.map_err(failed)?;
    let found: Option<i32> = found.first().map(|row| field(row, 0, OPEN)).transpose()?.flatten();
    match found {
        Some(found) if found > newest() => {
            let newest = newest();
            let why = format!(
                "the schema {schema} is of version {found}, this program knows up to {newest}; use a \
                 newer program"
            );
            Err(Error::new(ErrorKind::Format, OPEN, why).about(server.config.to_string()))
        }
        found => Ok(found),
    }
}
