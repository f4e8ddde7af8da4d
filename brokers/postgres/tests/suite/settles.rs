//! Batches in which not all is as it nearly always is.

use tidegate_core::{
    Lost, NewTask, ReceiveOptions, SessionOptions, Settled, State, Unique, Verdict,
};

use super::stage::{queue, spec, stage};

const DONE: Settled = Settled::Done { state: State::Done };

#[tokio::test]
async fn a_batch_of_completions_tells_each_of_its_tokens_apart() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let task = |n: usize| NewTask::new("k", "x").dedup(format!("{n}"), Unique::UntilDone);
    let tasks: Vec<NewTask> = (0..5).map(task).collect();
    broker.enqueue(&queue("mail"), &tasks).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let first = rx.receive(&ReceiveOptions::up_to(5)).await.unwrap();
    let token = |n: usize| first[n].token.clone();
    // 0 is handed out again, 1 is done, 2 has come back and nobody has it.
    let release = |n: usize| (token(n), Verdict::Release { after: std::time::Duration::ZERO });
    rx.settle(&[release(0)]).await.unwrap();
    let again = rx.receive(&ReceiveOptions::up_to(1)).await.unwrap();
    rx.settle(&[(token(1), Verdict::Complete), release(2)]).await.unwrap();
    let client = stage.client().await;
    client.batch_execute("TRUNCATE settled").await.unwrap();
    rx.settle(&[(token(3), Verdict::Complete)]).await.unwrap();
    let complete = |n: usize| (token(n), Verdict::Complete);
    let batch = [complete(4), complete(3), complete(2), complete(1), complete(0), complete(4)];
    let outcomes = rx.settle(&batch).await.unwrap();
    let lost = Settled::Lost;
    let not_found = lost(Lost::NotFound);
    let expected = [
        DONE,
        Settled::AlreadyDone,
        not_found,
        not_found,
        lost(Lost::Superseded),
        Settled::AlreadyDone,
    ];
    assert_eq!(outcomes, expected);
    // What is left: 0, which the second receive holds, and 2; and the keys of the others are free.
    assert_eq!(rx.complete(&again[0]).await.unwrap(), DONE);
    let live: i64 = client.query_one("SELECT live(id) FROM queues", &[]).await.unwrap().get(0);
    let keys = client.query("SELECT FROM dedup", &[]).await.unwrap().len();
    assert_eq!((live, keys), (1, 1));
}

/// Where a task lies is guessed at first.
#[tokio::test]
async fn a_task_that_lies_elsewhere_is_completed_as_well() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue_one(&queue("mail"), NewTask::new("k", "x")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let lease = rx.receive(&ReceiveOptions::up_to(1)).await.unwrap().remove(0);
    let client = stage.client().await;
    client.batch_execute("UPDATE tasks SET slot = 3").await.unwrap();
    let outcomes = [rx.complete(&lease).await.unwrap(), rx.complete(&lease).await.unwrap()];
    assert_eq!(outcomes, [DONE, Settled::AlreadyDone]);
    assert_eq!(client.query("SELECT FROM tasks", &[]).await.unwrap().len(), 0);
}
