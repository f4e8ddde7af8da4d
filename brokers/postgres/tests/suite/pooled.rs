//! What is prepared and what is not: straight, and through a pooler that gives each transaction another
//! process of the server.

use std::collections::BTreeSet;

use tidegate_core::{NewTask, ReceiveOptions, SessionOptions, Settled, State};
use tidegate_postgres::tokio_postgres::error::SqlState;
use tidegate_postgres::tokio_postgres::types::Type;
use tidegate_postgres::tokio_postgres::{Client, NoTls, connect};
use tidegate_postgres::{Config, Postgres};

use super::stage::{TestStage, queue, spec, stage};

/// How many statements are prepared where the call is made, in the place of how many tasks are ready.
const COUNT_PREPARED: &str = "CREATE OR REPLACE FUNCTION stats(p_queue bigint)
    RETURNS TABLE (ready bigint, scheduled bigint, leased bigint, dead bigint, oldest bigint, paused boolean)
    LANGUAGE sql AS $$ SELECT count(*), 0::bigint, 0::bigint, 0::bigint, NULL::bigint, false
                         FROM pg_prepared_statements $$";

async fn prepared(stage: &TestStage, postgres: &Postgres) -> u64 {
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    stage.client().await.batch_execute(COUNT_PREPARED).await.unwrap();
    let inspect = broker.inspect().unwrap();
    inspect.stats(&queue("mail")).await.unwrap();
    inspect.stats(&queue("mail")).await.unwrap().ready
}

async fn client(url: &str) -> Client {
    let (client, connection) = connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn statements_are_prepared_where_a_process_is_ones_own() {
    let Some(stage) = stage() else { return };
    let straight = stage.open("&connections=1").await;
    assert!(prepared(&stage, &straight).await > 0);
    let Some(pooler) = stage.pooler().await else { return };
    let url = format!("{}?schema={}&listen=off", pooler.url(), stage.schema);
    let pooled = Postgres::open(Config::from_url(&url).unwrap()).await.unwrap();
    assert_eq!(prepared(&stage, &pooled).await, 0);
}

#[tokio::test]
async fn a_newer_schema_is_no_error_of_what_was_prepared_before() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("&connections=1").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let client = stage.client().await;
    client.batch_execute("ALTER TABLE queues ALTER spec TYPE varchar").await.unwrap();
    broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
}

#[tokio::test]
async fn callers_share_their_transactions_through_a_pooler() {
    let Some(stage) = stage() else { return };
    let Some(pooler) = stage.pooler().await else { return };
    // What a client prepares itself is gone when another one has got the process.
    let (mut one, mut other) = (client(&pooler.url()).await, client(&pooler.url()).await);
    let statement = one.prepare("SELECT 1").await.unwrap();
    let taken = other.transaction().await.unwrap();
    taken.batch_execute("SELECT 1").await.unwrap();
    let mine = one.transaction().await.unwrap();
    let gone = mine.query(&statement, &[]).await.unwrap_err();
    assert_eq!(gone.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME), "{gone}");
    mine.rollback().await.unwrap();
    taken.rollback().await.unwrap();

    let url = format!("{}?schema={}&listen=off", pooler.url(), stage.schema);
    let postgres = Postgres::open(Config::from_url(&url).unwrap()).await.unwrap();
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    stage.client().await.batch_execute("CREATE TABLE effects (n int)").await.unwrap();
    let effect = format!("INSERT INTO {}.effects VALUES ($1)", stage.schema);
    // Each transaction begins while the other one has a process.
    for n in 0..10 {
        let mut first = one.transaction().await.unwrap();
        first.query_typed(&effect, &[(&n, Type::INT4)]).await.unwrap();
        let mut second = other.transaction().await.unwrap();
        for step in [&mut first, &mut second] {
            let sent = postgres.enqueue_in(step, &queue("mail"), &[NewTask::new("k", "x")]).await;
            assert!(sent.unwrap().iter().all(Result::is_ok));
        }
        second.rollback().await.unwrap();
        first.commit().await.unwrap();
        let leases = rx.receive(&ReceiveOptions::up_to(10)).await.unwrap();
        assert_eq!(leases.len(), 1);
        let mut done = other.transaction().await.unwrap();
        done.query_typed(&effect, &[(&n, Type::INT4)]).await.unwrap();
        let settled = postgres.complete_in(&mut done, &[leases[0].token.clone()]).await.unwrap();
        assert_eq!(settled, [Settled::Done { state: State::Done }]);
        done.commit().await.unwrap();
    }
    let client = stage.client().await;
    assert_eq!(client.query("SELECT FROM effects", &[]).await.unwrap().len(), 20);
    assert_eq!(client.query("SELECT FROM tasks", &[]).await.unwrap().len(), 0);
}

/// The bare functions do as the others while their settings are those of the connection.
#[tokio::test]
async fn connections_are_set_as_the_functions_are() {
    let Some(stage) = stage() else { return };
    let straight = stage.open("&connections=1").await;
    straight.broker().declare(&spec("mail")).await.unwrap();
    let client = stage.client().await;
    let functions = ["enqueue", "claim", "settle"];
    let set = "SELECT DISTINCT proname || ' ' || unnest(proconfig) FROM pg_proc
                WHERE pronamespace = current_schema()::regnamespace AND proname = ANY ($1)";
    let of_functions = client.query(set, &[&functions.as_slice()]).await.unwrap();
    let of_functions: BTreeSet<String> = of_functions.iter().map(|row| row.get(0)).collect();
    // Asked where the calls are made: as many of these as the connection is set to, in the place of what is ready.
    let count = "CREATE OR REPLACE FUNCTION stats(p_queue bigint)
        RETURNS TABLE (ready bigint, scheduled bigint, leased bigint, dead bigint, oldest bigint, paused boolean)
        LANGUAGE sql AS $$
            SELECT count(*) FILTER (WHERE current_setting(split_part(c, '=', 1)) = split_part(c, '=', 2)),
                   0::bigint, 0::bigint, 0::bigint, NULL::bigint, false
              FROM pg_proc, unnest(proconfig) AS c
             WHERE pronamespace = current_schema()::regnamespace AND proname IN ('enqueue', 'claim', 'settle') $$";
    client.batch_execute(count).await.unwrap();
    let stats = straight.broker().inspect().unwrap().stats(&queue("mail")).await.unwrap();
    assert_eq!(usize::try_from(stats.ready).unwrap(), of_functions.len(), "{of_functions:?}");
}

/// Whoever calls a bare function himself could have his names looked up anywhere.
#[tokio::test]
async fn bare_functions_do_nothing_under_another_search_path() {
    let Some(stage) = stage() else { return };
    stage.open("").await.broker().declare(&spec("mail")).await.unwrap();
    let client = stage.client().await;
    let schema = &stage.schema;
    let claim = format!(
        "SELECT FROM {schema}.claim_bare(1, 1, 1, 1, NULL, '{{}}', '{{}}', '{{}}', NULL, NULL, 1)"
    );
    client.batch_execute(&claim).await.unwrap();
    let settle = format!(
        "SELECT FROM {schema}.settle_bare(1, '{{1}}', '{{1}}', '{{0}}', '{{0}}', '{{NULL}}')"
    );
    let enqueue = format!(
        "SELECT FROM {schema}.enqueue_bare(1, 0::smallint, '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}',
                                           '{{}}', '{{}}')"
    );
    for path in [format!("public, {schema}"), format!("{schema}, public")] {
        client.batch_execute(&format!("SET search_path TO {path}")).await.unwrap();
        for call in [&claim, &settle, &enqueue] {
            let refused = client.batch_execute(call).await.unwrap_err();
            assert_eq!(
                refused.code(),
                Some(&SqlState::NULL_VALUE_NOT_ALLOWED),
                "{call}: {refused}"
            );
        }
    }
}
