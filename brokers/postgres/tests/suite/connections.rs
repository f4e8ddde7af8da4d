//! Connections that are lost, and what errors say.

use std::time::Duration;

use tidegate_core::limits::WAIT_MAX;
use tidegate_core::{ErrorKind, NewTask, ReceiveOptions, SessionOptions};

use super::stage::{queue, spec, stage, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_nothing_and_the_next_call_works() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("&connections=4&poll=100ms").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let mut sent = 0;
    for _ in 0..10 {
        assert!(stage.kill_connections().await > 0);
        // A killed connection is seen at the next call or before it.
        let broker = &broker;
        until("a call that works", || async move {
            match broker.enqueue_one(&queue("mail"), NewTask::new("k", "x")).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    assert!(error.is_retryable());
                    false
                }
            }
        })
        .await;
        sent += 1;
    }
    let mut received = 0;
    let options = ReceiveOptions::up_to(10).waiting(Duration::from_millis(300));
    while received < sent {
        for lease in rx.receive(&options).await.unwrap() {
            let _done = rx.complete(&lease).await.unwrap();
            received += 1;
        }
    }
    // A send whose answer was lost may have been carried out: never fewer, and at most one more a kill.
    assert!(received >= sent, "{received} of {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_receive_is_told_again_after_its_listener_was_killed() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("&poll=60s").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let other = stage.open("&listen=off").await.broker();
    stage.until_listening().await;
    stage.kill_connections().await;
    stage.until_listening().await;
    let rx = loop {
        if let Ok(rx) = broker.open(&queue("mail"), &SessionOptions::default()).await {
            break rx;
        }
    };
    let options = ReceiveOptions::up_to(1).waiting(WAIT_MAX);
    let waiting = tokio::spawn(async move { rx.receive(&options).await });
    stage.until_waiting().await;
    while other.enqueue_one(&queue("mail"), NewTask::new("k", "x")).await.is_err() {}
    let woken = tokio::time::timeout(WAIT_MAX / 2, waiting).await.expect("nobody was told");
    assert_eq!(woken.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn errors_name_the_server_and_never_the_password() {
    let refused = "postgres://ann:hunter2@127.0.0.1:1/shop?connect_timeout=2s";
    let error = tidegate_postgres::connect(refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("127.0.0.1:1/shop"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");

    let Some(stage) = stage() else { return };
    let missing = stage.url("").replace("/postgres?", "/nowhere?");
    let error = tidegate_postgres::connect(&missing).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let Some(stage) = stage() else { return };
    let error = tidegate_postgres::connect(&stage.url("&sslmode=require")).await.unwrap_err();
    assert!(!error.to_string().is_empty());
    tidegate_postgres::connect(&stage.url("&sslmode=prefer")).await.unwrap();
    tidegate_postgres::connect(&stage.url("&sslmode=disable")).await.unwrap();
}
