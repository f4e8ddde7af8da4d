//! Large payloads: what a receive hands out is in memory all at once, so it ends after 16 MiB.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use tidegate_core::{
    NewTask, Ordering, QueueSpec, ReceiveOptions, Receiver, SessionOptions, Verdict,
};
use tidegate_postgres::tokio_postgres::{AsyncMessage, Client, NoTls, connect};

use super::stage::{TestStage, queue, spec, stage, until};

const MIB: usize = 1 << 20;

fn large(name: &str, ordering: Ordering) -> QueueSpec {
    QueueSpec { ordering, payload_bytes_max: 16 * MIB, ..spec(name) }
}

fn task(mib: usize) -> NewTask {
    NewTask::new("k", vec![7; mib * MIB - 1_000]).ordering_key("key")
}

/// Completes all there is; how many came with each receive, and how many others it took a lease of.
async fn parts(rx: &Receiver, client: &Client) -> (Vec<usize>, i64) {
    let (mut parts, mut others) = (Vec::new(), 0);
    loop {
        let leases = rx.receive(&ReceiveOptions::up_to(10).per_key(10)).await.unwrap();
        if leases.is_empty() {
            return (parts, others);
        }
        parts.push(leases.len());
        let held = "SELECT count(*) FROM tasks WHERE state = 2 OR deliveries > 0";
        let held: i64 = client.query_one(held, &[]).await.unwrap().get(0);
        others += held - i64::try_from(leases.len()).unwrap();
        let done = leases.into_iter().map(|lease| (lease.token, Verdict::Complete));
        rx.settle(&done.collect::<Vec<_>>()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_hands_out_large_tasks_in_parts() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let client = stage.client().await;
    for (name, ordering) in [("plain", Ordering::None), ("keyed", Ordering::Key)] {
        broker.declare(&large(name, ordering)).await.unwrap();
        for size in [9, 9, 6, 16, 1] {
            broker.enqueue_one(&queue(name), task(size)).await.unwrap();
        }
        let rx = broker.open(&queue(name), &SessionOptions::default()).await.unwrap();
        assert_eq!(parts(&rx, &client).await, (vec![2, 2, 1], 0), "{name}");
    }
}

/// A client that keeps what it is told.
async fn listener(stage: &TestStage) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) = connect(&stage.server_url(), NoTls).await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = told.clone();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notice) = message {
                keep.lock().unwrap().push(notice.payload().to_owned());
            }
        }
    });
    client.batch_execute("LISTEN tidegate").await.unwrap();
    (client, told)
}

/// The rest is locked for a moment, and who comes upon it then goes away with nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_told_of_what_is_left() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&large("plain", Ordering::None)).await.unwrap();
    let tasks: Vec<NewTask> = [16, 1, 1, 1].map(task).into();
    broker.enqueue(&queue("plain"), &tasks).await.unwrap();
    let (_client, told) = &listener(&stage).await;
    let rx = broker.open(&queue("plain"), &SessionOptions::default()).await.unwrap();
    assert_eq!(rx.receive(&ReceiveOptions::up_to(4)).await.unwrap().len(), 2);
    let two = format!(" 2 \"{}\"", stage.schema);
    let two = &two;
    until(
        "a notice",
        || async move { told.lock().unwrap().iter().any(|told| told.ends_with(two)) },
    )
    .await;
}
