//! PostgreSQL keeps the whole contract, on a real server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_conformance::harness::{Deviation, Harness, Stage};
use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_core::Broker;

/// Cases that run at one time. They wait more than they work.
const BESIDE_EACH_OTHER: usize = 24;

struct PostgresHarness {
    server: Option<PrivatePostgres>,
    stages: AtomicU64,
}

struct PostgresStage {
    schema: String,
    url: String,
    admin: String,
    broker: Mutex<Broker>,
}

fn main() -> ExitCode {
    let server = match PrivatePostgres::start() {
        Ok(server) => server,
        Err(why) => {
            eprintln!("PostgreSQL did not start: {why}");
            return ExitCode::FAILURE;
        }
    };
    let harness = PostgresHarness { server, stages: AtomicU64::new(0) };
    tidegate_conformance::suite::main_beside(harness, BESIDE_EACH_OTHER)
}

#[async_trait]
impl Harness for PostgresHarness {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let server = self.server.as_ref()?;
        let schema = format!("stage {}", self.stages.fetch_add(1, Ordering::Relaxed));
        let admin = server.url();
        let url = format!("{admin}?schema={}&connections=4", schema.replace(' ', "%20"));
        let broker = Mutex::new(tidegate_postgres::connect(&url).await.unwrap());
        Some(Box::new(PostgresStage { schema, url, admin, broker }))
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
        let again = tidegate_postgres::connect(&self.url).await.unwrap();
        *self.broker.lock().unwrap() = again.clone();
        Some(again)
    }
}
