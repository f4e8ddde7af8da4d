//! Dead rows under an old snapshot: they go, and what lives stays.

use std::time::Duration;

use tidegate_core::{NewTask, ReceiveOptions, SessionOptions};
use tidegate_postgres::tokio_postgres::IsolationLevel;

use super::stage::{queue, spec, stage, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_emptied_under_an_old_snapshot_and_lose_nothing() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let mut old = stage.client().await;
    let snapshot = old.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let snapshot = snapshot.start().await.unwrap();
    snapshot.query("SELECT pg_current_snapshot()", &[]).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let later = NewTask::new("k", "later").delay(Duration::from_secs(3_600));
    let later = broker.enqueue_one(&queue("mail"), later).await.unwrap();
    for _ in 0..20 {
        let tasks: Vec<NewTask> = (0..100).map(|_| NewTask::new("k", "x")).collect();
        broker.enqueue(&queue("mail"), &tasks).await.unwrap();
        for lease in rx.receive(&ReceiveOptions::up_to(100)).await.unwrap() {
            let _done = rx.complete(&lease).await.unwrap();
        }
    }
    let client = stage.client().await;
    let client = &client;
    // By hand, with a turn that is over at once; the upkeep does the same when 100,000 were sent.
    until("an empty slot", || async move {
        client.batch_execute("SELECT rotate(0)").await.unwrap();
        client.batch_execute("SELECT park(5000)").await.unwrap();
        client.batch_execute("SELECT rotate(1000000)").await.unwrap();
        let size = "SELECT pg_relation_size('tasks_0') + pg_relation_size('tasks_0_seq_idx')";
        let row = client.query_one(size, &[]).await.unwrap();
        row.get::<_, i64>(0) <= 8_192
    })
    .await;
    let found = broker.inspect().unwrap().get(&queue("mail"), later.id).await.unwrap();
    assert_eq!(found.unwrap().task.sequence, later.sequence);
    let stats = broker.inspect().unwrap().stats(&queue("mail")).await.unwrap();
    assert_eq!((stats.scheduled, stats.live()), (1, 1));
    snapshot.commit().await.unwrap();
}
