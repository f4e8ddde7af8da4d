//! Transactions of callers.

use std::time::Duration;

use tidegate_core::limits::WAIT_MAX;
use tidegate_core::{
    Capacity, ErrorKind, NewTask, Ordering, QueueSpec, ReceiveOptions, SessionOptions, Settled,
    State, Unique,
};
use tidegate_postgres::Postgres;
use tidegate_postgres::tokio_postgres::IsolationLevel;

use super::stage::{queue, spec, stage};

async fn live(postgres: &Postgres) -> u64 {
    postgres.broker().inspect().unwrap().stats(&queue("mail")).await.unwrap().live()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_there_when_its_transaction_commits_and_wakes_who_waits() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("&poll=60s").await;
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let mut client = stage.client().await;
    let mut undone = client.transaction().await.unwrap();
    let sent =
        postgres.enqueue_in(&mut undone, &queue("mail"), &[NewTask::new("k", "never")]).await;
    assert!(sent.unwrap()[0].is_ok());
    undone.rollback().await.unwrap();
    assert_eq!(live(&postgres).await, 0);

    stage.until_listening().await;
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let waiting = tokio::spawn(async move {
        rx.receive(&ReceiveOptions::up_to(1).waiting(WAIT_MAX)).await.unwrap()
    });
    stage.until_waiting().await;
    let mut step = client.transaction().await.unwrap();
    let sent = postgres.enqueue_in(&mut step, &queue("mail"), &[NewTask::new("k", "now")]).await;
    assert!(sent.unwrap()[0].is_ok());
    step.commit().await.unwrap();
    // WHY: at the end of its wait it would look once more, told or not.
    let woken = tokio::time::timeout(WAIT_MAX / 2, waiting).await.expect("nobody was told");
    assert_eq!(&*woken.unwrap()[0].task.payload, b"now");
}

#[tokio::test]
async fn a_completion_commits_with_its_effect_or_not_at_all() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue_one(&queue("mail"), NewTask::new("k", "x")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let lease = rx.receive(&ReceiveOptions::up_to(1)).await.unwrap().remove(0);
    let mut client = stage.client().await;
    client.batch_execute("CREATE TABLE effects (n int)").await.unwrap();
    const DONE: Settled = Settled::Done { state: State::Done };
    let tokens = [lease.token.clone()];
    for commits in [false, true] {
        let mut step = client.transaction().await.unwrap();
        step.execute("INSERT INTO effects VALUES (1)", &[]).await.unwrap();
        assert_eq!(postgres.complete_in(&mut step, &tokens).await.unwrap(), [DONE]);
        match commits {
            true => step.commit().await.unwrap(),
            false => step.rollback().await.unwrap(),
        }
    }
    let effects = client.query("SELECT FROM effects", &[]).await.unwrap().len();
    assert_eq!((effects, live(&postgres).await), (1, 0));
    let mut step = client.transaction().await.unwrap();
    assert_eq!(postgres.complete_in(&mut step, &tokens).await.unwrap(), [Settled::AlreadyDone]);
}

#[tokio::test]
async fn nobody_waits_for_a_caller_to_keep_a_count() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    let bounded = QueueSpec { capacity: Capacity::Bounded(2), ..spec("mail") };
    broker.declare(&bounded).await.unwrap();
    let mut client = stage.client().await;
    let mut step = client.transaction().await.unwrap();
    let tasks = ["a", "b", "c"].map(|text| NewTask::new("k", text));
    let sent = postgres.enqueue_in(&mut step, &queue("mail"), &tasks).await.unwrap();
    let admitted: Vec<bool> = sent.iter().map(Result::is_ok).collect();
    assert_eq!(admitted, [true, true, false], "what is committed counts here too");
    // The other side of it: senders do not see what is not committed, and do not wait.
    broker.enqueue_one(&queue("mail"), NewTask::new("k", "beside")).await.unwrap();
    step.commit().await.unwrap();
    assert_eq!(live(&postgres).await, 3);
    let full = broker.enqueue_one(&queue("mail"), NewTask::new("k", "more")).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::QueueFull);
}

#[tokio::test]
async fn a_transaction_that_reads_from_one_snapshot_is_refused() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    postgres.broker().declare(&spec("mail")).await.unwrap();
    let mut client = stage.client().await;
    let step = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let mut step = step.start().await.unwrap();
    let sent = postgres.enqueue_in(&mut step, &queue("mail"), &[NewTask::new("k", "x")]).await;
    let refused = sent.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.to_string().contains("READ COMMITTED"), "{refused}");
}

/// The second sender of a key waits until the first one's transaction is over, so that the order of the
/// sequences is the order of the commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_senders_of_one_key_commit_in_the_order_of_their_sequences() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    broker.declare(&QueueSpec { ordering: Ordering::Key, ..spec("mail") }).await.unwrap();
    let mut client = stage.client().await;
    let mut step = client.transaction().await.unwrap();
    let keyed = |text: &'static str| NewTask::new("k", text).ordering_key("a");
    let sent = postgres.enqueue_in(&mut step, &queue("mail"), &[keyed("first")]).await.unwrap();
    let first = sent[0].as_ref().unwrap().sequence;
    let second = tokio::spawn({
        let broker = broker.clone();
        async move { broker.enqueue_one(&queue("mail"), keyed("second")).await.unwrap() }
    });
    // It is seen to wait for the lock of the lane.
    let watcher = stage.client().await;
    let waits =
        "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND application_name = $1";
    let name = format!("tidegate {}", stage.schema);
    let name = &name;
    let watcher = &watcher;
    super::stage::until("the second sender waits", || async move {
        watcher.query(waits, &[name]).await.unwrap().len() == 1
    })
    .await;
    assert!(!second.is_finished());
    step.commit().await.unwrap();
    assert!(second.await.unwrap().sequence > first);
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    for expected in ["first", "second"] {
        let options = ReceiveOptions::up_to(2).waiting(Duration::from_secs(10));
        let leases = rx.receive(&options).await.unwrap();
        assert_eq!(leases.len(), 1);
        assert_eq!(&*leases[0].task.payload, expected.as_bytes());
        let _done = rx.complete(&leases[0]).await.unwrap();
    }
}

/// A batch takes its dedup keys in their order, so it holds none that a transaction needs which it waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_of_the_same_dedup_keys_do_not_wait_for_each_other() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let unique = |key: &str| NewTask::new("k", "x").dedup(key, Unique::UntilDone);
    let mut client = stage.client().await;
    let mut step = client.transaction().await.unwrap();
    let sent = postgres.enqueue_in(&mut step, &queue("mail"), &[unique("a")]).await.unwrap();
    assert!(!sent[0].as_ref().unwrap().deduplicated);
    let backwards = [unique("b"), unique("a")];
    let other = tokio::spawn({
        let broker = broker.clone();
        async move { broker.enqueue(&queue("mail"), &backwards).await.unwrap() }
    });
    let watcher = &stage.client().await;
    let waits =
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = $1";
    let name = &format!("tidegate {}", stage.schema);
    super::stage::until("the other sender waits", || async move {
        watcher.query(waits, &[name]).await.unwrap().len() == 1
    })
    .await;
    let sent = postgres.enqueue_in(&mut step, &queue("mail"), &[unique("b")]).await.unwrap();
    assert!(!sent[0].as_ref().unwrap().deduplicated);
    step.commit().await.unwrap();
    let outcomes = other.await.unwrap();
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().deduplicated));
}

/// A transaction that began before others and commits after them is not passed over by claims that have
/// come further meanwhile.
#[tokio::test]
async fn a_task_of_a_long_transaction_is_handed_out_once_it_commits() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("&poll=50ms").await;
    let broker = postgres.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let mut client = stage.client().await;
    let mut long = client.transaction().await.unwrap();
    let sent = postgres.enqueue_in(&mut long, &queue("mail"), &[NewTask::new("k", "late")]).await;
    assert!(sent.unwrap()[0].is_ok());
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let options = ReceiveOptions::up_to(1).waiting(Duration::from_secs(5));
    // Until the claims have asked for the horizon several times: they do every 200 ms while they work.
    let clock = broker.clock().clone();
    let enough = clock.now().plus(Duration::from_millis(800));
    while clock.now() < enough {
        broker.enqueue_one(&queue("mail"), NewTask::new("k", "soon")).await.unwrap();
        let leases = rx.receive(&options).await.unwrap();
        assert_eq!(&*leases[0].task.payload, b"soon");
        let _done = rx.complete(&leases[0]).await.unwrap();
    }
    long.commit().await.unwrap();
    assert_eq!(&*rx.receive(&options).await.unwrap()[0].task.payload, b"late");
}
