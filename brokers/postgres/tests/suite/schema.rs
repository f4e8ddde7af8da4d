//! The schema: made once, by hand or by whoever comes first, and refused when it is not known.

use tidegate_core::ErrorKind;
use tidegate_postgres::migrations;

use super::stage::{spec, stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_come_first_make_one_schema() {
    let Some(stage) = stage() else { return };
    let url = stage.url("&connections=1&listen=off");
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { tidegate_postgres::connect(&url).await })
        })
        .collect();
    for one in opening {
        one.await.unwrap().unwrap();
    }
    let done = stage.client().await.query("SELECT FROM migrations", &[]).await.unwrap();
    assert_eq!(done.len(), migrations().len());
}

#[tokio::test]
async fn the_steps_can_be_carried_out_by_hand() {
    let Some(stage) = stage() else { return };
    let refused = tidegate_postgres::connect(&stage.url("&migrate=off")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Format, "{refused}");
    let client = stage.client().await;
    let schema = &stage.schema;
    let table = "CREATE TABLE migrations (version integer PRIMARY KEY, name text NOT NULL)";
    client.batch_execute(&format!("CREATE SCHEMA {schema}; {table}")).await.unwrap();
    for step in migrations() {
        client.batch_execute(step.sql).await.unwrap();
        let note = "INSERT INTO migrations (version, name) VALUES ($1, $2)";
        client.execute(note, &[&step.version, &step.name]).await.unwrap();
    }
    let broker = tidegate_postgres::connect(&stage.url("&migrate=off")).await.unwrap();
    broker.declare(&spec("mail")).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(stage) = stage() else { return };
    tidegate_postgres::connect(&stage.url("")).await.unwrap();
    let client = stage.client().await;
    client
        .batch_execute("INSERT INTO migrations (version, name) VALUES (999, 'new')")
        .await
        .unwrap();
    let refused = tidegate_postgres::connect(&stage.url("")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Format);
    assert!(refused.to_string().contains("999"), "{refused}");
}
