//! Which queues are counted, and from when on.

use tidegate_core::{
    Capacity, ErrorKind, NewTask, QueueSpec, ReceiveOptions, SessionOptions, Settled, State,
};
use tidegate_postgres::tokio_postgres::Client;

use super::stage::{TestStage, queue, spec, stage, until};

fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| NewTask::new("k", "x")).collect()
}

/// What is counted, and what is there.
async fn counted(stage: &TestStage) -> (i64, i64) {
    let both = "SELECT live(id), (SELECT count(*) FROM tasks WHERE state <> 3) FROM queues";
    let row = stage.client().await.query_one(both, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

async fn pid(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

/// While the bound is given, one caller has sent and one has completed, and neither has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_given_later_counts_who_was_under_way() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    let unbounded = QueueSpec { capacity: Capacity::Unbounded, ..spec("mail") };
    broker.declare(&unbounded).await.unwrap();
    broker.enqueue(&queue("mail"), &tasks(5)).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let leases = rx.receive(&ReceiveOptions::up_to(2)).await.unwrap();
    let (mut one, mut two) = (stage.client().await, stage.client().await);
    let changes = "SELECT FROM changes";
    assert_eq!(one.query(changes, &[]).await.unwrap().len(), 0, "nothing asks for the count");

    let (sender, settler) = (pid(&one).await, pid(&two).await);
    let mut sending = one.transaction().await.unwrap();
    let sent = postgres.enqueue_in(&mut sending, &queue("mail"), &tasks(2)).await.unwrap();
    assert!(sent.iter().all(Result::is_ok));
    let mut settling = two.transaction().await.unwrap();
    let done = postgres.complete_in(&mut settling, &[leases[0].token.clone()]).await.unwrap();
    assert_eq!(done, [Settled::Done { state: State::Done }]);
    let bounded = QueueSpec { capacity: Capacity::Bounded(8), revision: 1, ..unbounded };
    let giver = broker.clone();
    let giving = tokio::spawn(async move { giver.update(&bounded).await.unwrap() });
    let (client, giving_now) = (&stage.client().await, &giving);
    let name = &format!("tidegate {}", stage.schema);
    let waits = |held_by: Vec<i32>| async move {
        let waits = "SELECT FROM pg_stat_activity
                      WHERE application_name = $1 AND pg_blocking_pids(pid) @> $2 AND pg_blocking_pids(pid) <@ $2";
        giving_now.is_finished()
            || !client.query(waits, &[name, &held_by]).await.unwrap().is_empty()
    };
    until("a bound that waits for both", || waits(vec![sender, settler])).await;
    sending.commit().await.unwrap();
    until("a bound that waits for who settles", || waits(vec![settler])).await;
    settling.commit().await.unwrap();
    giving.await.unwrap();
    assert_eq!(counted(&stage).await, (6, 6));

    let sent = broker.enqueue(&queue("mail"), &tasks(3)).await.unwrap();
    let refused: Vec<ErrorKind> =
        sent.iter().filter_map(|sent| sent.as_ref().err()).map(|error| error.kind()).collect();
    assert_eq!(refused, [ErrorKind::QueueFull]);
    let _done = rx.complete(&leases[1]).await.unwrap();
    assert_eq!(counted(&stage).await, (7, 7));
}
