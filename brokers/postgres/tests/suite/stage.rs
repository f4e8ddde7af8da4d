//! A server for all tests of this program, and a schema for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tidegate_conformance::services::pgbouncer::PrivatePgBouncer;
use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_core::{QueueName, QueueSpec};
use tidegate_postgres::tokio_postgres::{Client, NoTls};
use tidegate_postgres::{Config, Postgres};

/// A schema of its own on the server that all tests share.
pub(crate) struct TestStage {
    server: Arc<PrivatePostgres>,
    pub(crate) schema: String,
}

/// INVARIANT: held by the stages alone, so that the server ends with the last of them.
static SERVER: Mutex<Weak<PrivatePostgres>> = Mutex::new(Weak::new());

/// A stage, or `None`, with a word about it, where there is no PostgreSQL.
pub(crate) fn stage() -> Option<TestStage> {
    static STAGES: AtomicU64 = AtomicU64::new(0);
    let Some(server) = server() else {
        let is_required = std::env::var("CI").is_ok_and(|ci| ci == "true")
            || std::env::var("TIDEGATE_REQUIRE").is_ok_and(|names| names.contains("postgres"));
        assert!(!is_required, "PostgreSQL is required here and is not installed");
        eprintln!("not configured: there is no PostgreSQL");
        return None;
    };
    let schema = format!("test_{}", STAGES.fetch_add(1, Ordering::Relaxed));
    Some(TestStage { server, schema })
}

/// The server that runs, or a new one.
fn server() -> Option<Arc<PrivatePostgres>> {
    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    // WHY: a thread of its own, because a test has a runtime and starting brings one too.
    let start = || PrivatePostgres::start().unwrap().map(Arc::new);
    let started = std::thread::spawn(start).join().unwrap()?;
    *shared = Arc::downgrade(&started);
    Some(started)
}

impl TestStage {
    pub(crate) fn url(&self, options: &str) -> String {
        format!("{}?schema={}{options}", self.server.url(), self.schema)
    }

    /// Without a schema, as any other client has it.
    pub(crate) fn server_url(&self) -> String {
        self.server.url()
    }

    /// A pooler in front of the server, or `None`, with a word about it, where there is no PgBouncer.
    pub(crate) async fn pooler(&self) -> Option<PrivatePgBouncer> {
        let pooler = PrivatePgBouncer::start(&self.server).await.unwrap();
        if pooler.is_none() {
            eprintln!("not configured: there is no PgBouncer");
        }
        pooler
    }

    pub(crate) async fn open(&self, options: &str) -> Postgres {
        Postgres::open(Config::from_url(&self.url(options)).unwrap()).await.unwrap()
    }

    /// A client of the server's own, on the stage's schema.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) =
            tidegate_postgres::tokio_postgres::connect(&self.server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO {}", self.schema)).await.unwrap();
        client
    }

    /// Returns once a receive of this stage has looked and found nothing, and waits to be told.
    pub(crate) async fn until_waiting(&self) {
        let client = &self.client().await;
        let looked = "SELECT FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle'
                          AND query LIKE '%next_due%'";
        let name = &format!("tidegate {}", self.schema);
        let looked = || async move { !client.query(looked, &[name]).await.unwrap().is_empty() };
        until("a receive that waits", looked).await;
    }

    /// Returns once a broker of this stage is told of what others send.
    pub(crate) async fn until_listening(&self) {
        let client = &self.client().await;
        let listens = "SELECT FROM pg_stat_activity WHERE application_name = $1 AND query = 'LISTEN tidegate'";
        let name = &format!("tidegate {}", self.schema);
        let listens = || async move { !client.query(listens, &[name]).await.unwrap().is_empty() };
        until("a listener", listens).await;
    }

    /// Kills the connections of this stage's brokers, and tells how many that were.
    pub(crate) async fn kill_connections(&self) -> usize {
        let kill =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        let name = format!("tidegate {}", self.schema);
        self.client().await.query(kill, &[&name]).await.unwrap().len()
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn spec(name: &str) -> QueueSpec {
    QueueSpec::new(queue(name))
}

/// Tries until the condition holds, for at most a minute.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..3_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never seen: {what}");
}
