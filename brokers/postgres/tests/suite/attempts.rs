//! Receives that have a name: two at once, and the end of what is known of them.

use std::collections::HashSet;

use tidegate_core::{AttemptId, NewTask, ReceiveOptions, SessionOptions};

use super::stage::{queue, spec, stage};

fn attempt(limit: usize, id: &str) -> ReceiveOptions {
    ReceiveOptions::up_to(limit).named(AttemptId::new(id).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receives_of_one_name_at_once_are_one_receive() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    for round in 0..20 {
        let tasks: Vec<NewTask> = (0..40).map(|_| NewTask::new("k", "x")).collect();
        broker.enqueue(&queue("mail"), &tasks).await.unwrap();
        let options = attempt(10, &format!("a zero \0 and {round}"));
        let same = || rx.receive(&options);
        let four = tokio::join!(same(), same(), same(), same());
        let four = [four.0, four.1, four.2, four.3].map(Result::unwrap);
        let tokens: HashSet<_> = four.iter().flatten().map(|lease| lease.token.clone()).collect();
        assert_eq!((four.iter().flatten().count(), tokens.len()), (40, 10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_is_forgotten_after_five_minutes_and_with_its_queue() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue_one(&queue("mail"), NewTask::new("k", "x")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let client = stage.client().await;
    let sooner = async |seconds: u32| {
        let by = format!("UPDATE attempts SET until = until - interval '{seconds} s'");
        client.batch_execute(&by).await.unwrap();
        rx.receive(&attempt(1, "a")).await.unwrap().len()
    };
    assert_eq!(sooner(0).await, 1);
    assert_eq!(sooner(270).await, 1);
    // It was made again a moment ago, and is known for five minutes from then.
    assert_eq!(sooner(301).await, 0);
    let known = async || -> i64 {
        client.query_one("SELECT count(*) FROM attempts", &[]).await.unwrap().get(0)
    };
    assert_eq!(known().await, 1);
    client.batch_execute("SELECT upkeep(true)").await.unwrap();
    assert_eq!(known().await, 0);
    broker.enqueue_one(&queue("mail"), NewTask::new("k", "y")).await.unwrap();
    assert_eq!((rx.receive(&attempt(1, "b")).await.unwrap().len(), known().await), (1, 1));
    broker.admin().unwrap().delete(&queue("mail")).await.unwrap();
    assert_eq!(known().await, 0);
}
