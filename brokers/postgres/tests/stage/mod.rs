//! A schema for each case, on one server, reached straight or through a pooler.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_conformance::harness::{Deviation, Harness, Stage};
use tidegate_conformance::services::pgbouncer::PrivatePgBouncer;
use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_core::Broker;

/// Cases that run at one time. They wait more than they work.
const BESIDE_EACH_OTHER: usize = 24;

/// How a case reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "each test uses one of them")]
pub(crate) enum Way {
    Straight,
    /// A pooler of its own, in transaction mode.
    PgBouncer,
}

struct PostgresHarness {
    way: Way,
    server: Option<PrivatePostgres>,
    stages: AtomicU64,
}

struct PostgresStage {
    schema: String,
    url: String,
    /// The server itself.
    admin: String,
    pooler: Option<tokio::sync::Mutex<PrivatePgBouncer>>,
    broker: Mutex<Broker>,
}

/// The whole of a test program.
pub(crate) fn main(way: Way) -> ExitCode {
    let server = match PrivatePostgres::start() {
        Ok(server) => server,
        Err(why) => {
            eprintln!("PostgreSQL did not start: {why}");
            return ExitCode::FAILURE;
        }
    };
    let harness = PostgresHarness { way, server, stages: AtomicU64::new(0) };
    tidegate_conformance::suite::main_beside(harness, BESIDE_EACH_OTHER)
}

#[async_trait]
impl Harness for PostgresHarness {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Straight => "postgres",
            Way::PgBouncer => "pgbouncer",
        }
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let server = self.server.as_ref()?;
        let schema = format!("stage {}", self.stages.fetch_add(1, Ordering::Relaxed));
        let options = format!("schema={}&connections=4", schema.replace(' ', "%20"));
        let admin = server.url();
        let (url, pooler) = match self.way {
            Way::Straight => (format!("{admin}?{options}"), None),
            Way::PgBouncer => {
                let pooler = PrivatePgBouncer::start(server).await.unwrap()?;
                (format!("{}?{options}&listen=off", pooler.url()), Some(pooler))
            }
        };
        let broker = Mutex::new(tidegate_postgres::connect(&url).await.unwrap());
        let pooler = pooler.map(tokio::sync::Mutex::new);
        Some(Box::new(PostgresStage { schema, url, admin, pooler, broker }))
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(80)
    }

    fn in_process(&self) -> bool {
        false
    }

    fn deviations(&self) -> &'static [Deviation] {
        &[]
    }
}

#[async_trait]
impl Stage for PostgresStage {
    fn broker(&self) -> Broker {
        self.broker.lock().unwrap().clone()
    }

    async fn let_time_pass(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn time_stands_still(&self) -> bool {
        false
    }

    /// Kills every connection of this stage in mid-life and opens the broker anew.
    async fn restart(&self) -> Option<Broker> {
        match &self.pooler {
            Some(pooler) => pooler.lock().await.restart().await.unwrap(),
            None => self.kill_connections().await,
        }
        let again = tidegate_postgres::connect(&self.url).await.unwrap();
        *self.broker.lock().unwrap() = again.clone();
        Some(again)
    }
}

impl PostgresStage {
    async fn kill_connections(&self) {
        let (client, connection) = tidegate_postgres::tokio_postgres::connect(
            &self.admin,
            tidegate_postgres::tokio_postgres::NoTls,
        )
        .await
        .unwrap();
        let connection = tokio::spawn(connection);
        let kill =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        client.query(kill, &[&format!("tidegate {}", self.schema)]).await.unwrap();
        connection.abort();
    }
}
