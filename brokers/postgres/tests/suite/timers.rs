//! Tasks that become due, where a claim need not look for them each time.

use std::time::Duration;

use tidegate_core::{NewTask, ReceiveOptions, SessionOptions};

use super::stage::{queue, spec, stage, until};

const HOUR: Duration = Duration::from_secs(3_600);
const DUE: &str = "UPDATE tasks SET until = clock_timestamp() WHERE until IS NOT NULL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_handed_out_at_once_where_nothing_else_is() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let client = stage.client().await;
    let one = ReceiveOptions::up_to(1);
    for _ in 0..50 {
        broker.enqueue_one(&queue("mail"), NewTask::new("k", "x").delay(HOUR)).await.unwrap();
        assert_eq!(rx.receive(&one).await.unwrap().len(), 0);
        client.batch_execute(DUE).await.unwrap();
        // However short a time ago another claim has looked.
        let leases = rx.receive(&one).await.unwrap();
        assert_eq!(leases.len(), 1);
        let _done = rx.complete(&leases[0]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_not_kept_back_by_tasks_that_are_ready() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let urgent = NewTask::new("urgent", "x").priority(9).delay(HOUR);
    broker.enqueue_one(&queue("mail"), urgent).await.unwrap();
    // The first claim looks.
    assert_eq!(rx.receive(&ReceiveOptions::up_to(1)).await.unwrap().len(), 0);
    let client = stage.client().await;
    // The upkeep would find it too.
    client.batch_execute("SELECT pg_advisory_lock(lock_space() + 3, 0)").await.unwrap();
    client.batch_execute(DUE).await.unwrap();
    until("a task that is due, before others", || async {
        let plain = [NewTask::new("plain", "x"), NewTask::new("plain", "y")];
        broker.enqueue(&queue("mail"), &plain).await.unwrap();
        let leases = rx.receive(&ReceiveOptions::up_to(1)).await.unwrap();
        leases[0].task.kind.as_str() == "urgent"
    })
    .await;
}
