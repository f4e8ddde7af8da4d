//! Calls that come at the same time go together, and each has its own answer.

use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use tidegate_core::{
    Capacity, ErrorKind, Lease, NewTask, Ordering, QueueSpec, ReceiveOptions, Result,
    SessionOptions, Settled, State, Unique,
};

use super::stage::{queue, spec, stage, until};

const DONE: Settled = Settled::Done { state: State::Done };
/// Longer than what is there to be done takes on any machine.
const GUARD: Duration = Duration::from_secs(60);

fn task() -> NewTask {
    NewTask::new("k", "x")
}

#[tokio::test]
async fn sends_that_come_while_others_are_under_way_go_together_and_each_has_its_own_answer() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&QueueSpec { capacity: Capacity::Bounded(60), ..spec("mail") }).await.unwrap();
    let answers = join_all((0..64).map(|_| broker.enqueue_one(&mail, task()))).await;
    let full =
        |answer: &&Result<_>| answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::QueueFull);
    assert_eq!(answers.iter().filter(full).count(), 4);
    let client = stage.client().await;
    let calls = client.query("SELECT DISTINCT tx FROM tasks", &[]).await.unwrap().len();
    assert!(calls <= 3, "{calls} calls for what came at once");
    let mut sent: Vec<u64> = answers.iter().flatten().map(|sent| sent.sequence).collect();
    let rows = client.query("SELECT seq FROM tasks ORDER BY seq", &[]).await.unwrap();
    let there: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    sent.sort_unstable();
    assert_eq!(there, sent.iter().map(|sequence| *sequence as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_waits_behind_a_send_that_is_dropped_is_served_all_the_same() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue_one(&mail, task()).await.unwrap();
    let mut sends: Vec<_> = (0..9).map(|_| Box::pin(broker.enqueue_one(&mail, task()))).collect();
    for send in &mut sends {
        assert!(poll_immediate(send).await.is_none());
    }
    let behind = sends.pop().unwrap();
    drop(sends);
    tokio::time::timeout(GUARD, behind).await.expect("nobody took it along").unwrap();
    let ready = broker.inspect().unwrap().stats(&mail).await.unwrap().ready;
    assert_eq!(ready, 2, "what was dropped before it was sent is not sent");
}

#[tokio::test]
async fn an_error_is_told_to_all_whose_calls_went_together() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue_one(&mail, task()).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let lease = &rx.receive(&ReceiveOptions::up_to(1)).await.unwrap()[0];
    let client = stage.client().await;
    client.batch_execute(&format!("DROP SCHEMA {} CASCADE", stage.schema)).await.unwrap();
    let alone = broker.enqueue_one(&mail, task()).await.unwrap_err();
    assert!(std::error::Error::source(&alone).is_some(), "who is alone is told of the cause");
    let sent = join_all((0..9).map(|_| broker.enqueue_one(&mail, task()))).await;
    let options = ReceiveOptions::up_to(1);
    let received = join_all((0..9).map(|_| rx.receive(&options))).await;
    let settled = join_all((0..9).map(|_| rx.complete(lease))).await;
    let errors = sent.into_iter().map(Result::unwrap_err);
    let errors = errors.chain(received.into_iter().map(Result::unwrap_err));
    for error in errors.chain(settled.into_iter().map(Result::unwrap_err)) {
        assert_eq!(
            (error.kind(), error.subject()),
            (ErrorKind::Format, Some("\"mail\"")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn receives_that_come_together_share_what_there_is() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    let tasks: Vec<_> = (0..10).map(|_| task()).collect();
    broker.enqueue(&mail, &tasks).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let options = ReceiveOptions::up_to(3);
    let answers = join_all((0..8).map(|_| rx.receive(&options))).await;
    let answers: Vec<Vec<Lease>> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1, 0, 0, 0, 0]);
    let had: Vec<_> = answers.iter().flatten().map(|lease| lease.task.id).collect();
    assert_eq!(had, tasks.iter().map(|task| task.id).collect::<Vec<_>>());
    let client = stage.client().await;
    let calls = client.query("SELECT DISTINCT until FROM tasks", &[]).await.unwrap().len();
    assert_eq!(calls, 1, "calls that handed something out");
}

/// What one call hands out ends after 16 MiB. Whoever is left with nothing asks again.
#[tokio::test]
async fn receives_that_come_together_have_no_less_than_each_would_have_alone() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    let large = QueueSpec { payload_bytes_max: 9 << 20, ..spec("mail") };
    broker.declare(&large).await.unwrap();
    let tasks: Vec<_> = (0..5).map(|_| NewTask::new("k", vec![b'x'; 9 << 20])).collect();
    broker.enqueue(&mail, &tasks).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let options = ReceiveOptions::up_to(1);
    let answers = join_all((0..5).map(|_| rx.receive(&options))).await;
    let counts: Vec<usize> = answers.into_iter().map(|leases| leases.unwrap().len()).collect();
    assert_eq!(counts, [1; 5]);
}

/// One of them asks for a lease of its own, and the key is one receive's.
#[tokio::test]
async fn receives_that_come_together_have_the_leases_they_ask_for_and_do_not_share_a_key() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&QueueSpec { ordering: Ordering::Key, ..spec("mail") }).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let keyed = |_| task().ordering_key("key");
    broker.enqueue(&mail, &(0..4).map(keyed).collect::<Vec<_>>()).await.unwrap();
    for per_key in [1, 2] {
        let options = ReceiveOptions::up_to(2).per_key(per_key);
        let (one, other) = tokio::join!(rx.receive(&options), rx.receive(&options));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.is_empty() || other.is_empty(), "the key is held twice");
        assert_eq!(one.len() + other.len(), per_key);
        for lease in one.iter().chain(&other) {
            assert_eq!(rx.complete(lease).await.unwrap(), DONE);
        }
    }
    let rest = rx.receive(&ReceiveOptions::up_to(1)).await.unwrap();
    assert_eq!(rx.complete(&rest[0]).await.unwrap(), DONE);
    broker.enqueue(&mail, &[task(), task()]).await.unwrap();
    let options = |s| ReceiveOptions::up_to(1).leased_for(Duration::from_secs(s));
    let (brief, long) = (options(7), options(77));
    let (brief, long) = tokio::join!(rx.receive(&brief), rx.receive(&long));
    let lengths = [brief, long].map(|leases| leases.unwrap()[0].duration.as_secs());
    assert_eq!(lengths, [7, 77]);
}

#[tokio::test]
async fn completions_that_come_together_have_an_outcome_each() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue(&mail, &(0..20).map(|_| task()).collect::<Vec<_>>()).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let leases = rx.receive(&ReceiveOptions::up_to(20)).await.unwrap();
    let client = stage.client().await;
    let settled = join_all(leases.iter().take(18).map(|lease| rx.complete(lease))).await;
    assert!(settled.into_iter().all(|settled| settled.unwrap() == DONE));
    let calls = client.query("SELECT DISTINCT at FROM settled", &[]).await.unwrap().len();
    assert!(calls <= 3, "{calls} calls for what came at once");
    // One was completed before, and one is twice among them.
    let mixed = [&leases[18], &leases[0], &leases[19], &leases[18]];
    let settled = join_all(mixed.map(|lease| rx.complete(lease))).await;
    let settled: Vec<Settled> = settled.into_iter().map(Result::unwrap).collect();
    assert_eq!(settled, [DONE, Settled::AlreadyDone, DONE, Settled::AlreadyDone]);
}

/// Who waits for a key that a transaction holds waits alone.
#[tokio::test]
async fn a_call_that_has_to_wait_for_a_key_holds_up_no_other() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    let (mail, ordered) = (queue("mail"), queue("ordered"));
    broker.declare(&spec("mail")).await.unwrap();
    broker.declare(&QueueSpec { ordering: Ordering::Key, ..spec("ordered") }).await.unwrap();
    let keyed = |key| task().ordering_key(key);
    broker.enqueue(&ordered, &[keyed("a"), keyed("b")]).await.unwrap();
    let rx = broker.open(&ordered, &SessionOptions::default()).await.unwrap();
    let leases = rx.receive(&ReceiveOptions::up_to(2)).await.unwrap();
    let unique = || task().dedup("key", Unique::UntilDone);
    let mut client = stage.client().await;
    let mut step = client.transaction().await.unwrap();
    postgres.enqueue_in(&mut step, &mail, &[unique()]).await.unwrap();
    postgres.enqueue_in(&mut step, &ordered, &[keyed("a")]).await.unwrap();
    let mut wait = [
        Box::pin(broker.enqueue_one(&mail, unique())),
        Box::pin(broker.enqueue_one(&ordered, keyed("a"))),
    ];
    for send in &mut wait {
        assert!(poll_immediate(send).await.is_none());
    }
    let mut waits = Box::pin(rx.complete(&leases[0]));
    assert!(poll_immediate(&mut waits).await.is_none());
    let beside = async {
        tokio::join!(
            broker.enqueue_one(&mail, task()),
            broker.enqueue_one(&ordered, task()),
            rx.complete(&leases[1])
        )
    };
    let beside = tokio::time::timeout(GUARD / 4, beside).await.expect("they wait with it");
    assert_eq!((beside.0.is_ok(), beside.1.is_ok(), beside.2.unwrap()), (true, true, DONE));
    step.commit().await.unwrap();
    let sent = join_all(wait).await;
    assert!(sent[0].as_ref().unwrap().deduplicated);
    assert!(sent[1].is_ok());
    assert_eq!(waits.await.unwrap(), DONE);
}

/// Whose task a transaction has waits for it, and nobody who completes another one at the same time.
#[tokio::test]
async fn a_completion_that_has_to_wait_holds_up_no_other() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue(&mail, &(0..6).map(|_| task()).collect::<Vec<_>>()).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let leases = rx.receive(&ReceiveOptions::up_to(6)).await.unwrap();
    let mut client = stage.client().await;
    let mut step = client.transaction().await.unwrap();
    let token = leases[0].token.clone();
    assert_eq!(postgres.complete_in(&mut step, &[token]).await.unwrap(), [DONE]);
    let mut waits = Box::pin(rx.complete(&leases[0]));
    assert!(poll_immediate(&mut waits).await.is_none());
    let beside = join_all(leases[1..].iter().map(|lease| rx.complete(lease)));
    let beside = tokio::time::timeout(GUARD / 4, beside).await.expect("they wait with it");
    assert!(beside.into_iter().all(|settled| settled.unwrap() == DONE));
    assert!(poll_immediate(&mut waits).await.is_none());
    step.commit().await.unwrap();
    assert_eq!(waits.await.unwrap(), Settled::AlreadyDone);
}

/// A transaction that had a task and has ended leaves its number in the row. That one is completed with the others all the
/// same, as soon as no transaction is open that is older.
#[tokio::test]
async fn a_task_that_a_transaction_had_and_gave_up_is_completed_together_with_others() {
    let Some(stage) = stage() else { return };
    let postgres = stage.open("").await;
    let broker = postgres.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue(&mail, &[task(), task()]).await.unwrap();
    let rx = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let lease = Some(Duration::from_secs(3_600));
    let leases = rx.receive(&ReceiveOptions { lease, ..ReceiveOptions::up_to(2) }).await.unwrap();
    let mut client = stage.client().await;
    let mut step = client.transaction().await.unwrap();
    let token = leases[0].token.clone();
    assert_eq!(postgres.complete_in(&mut step, &[token]).await.unwrap(), [DONE]);
    step.rollback().await.unwrap();
    let rest =
        "SELECT complete(min(queue_id), array_agg(seq), array_agg(fence)) IS NULL FROM tasks";
    let client = &client;
    until("all that is left is completed by one call", || async {
        client.query_one(rest, &[]).await.unwrap().get(0)
    })
    .await;
    for lease in &leases {
        assert_eq!(rx.complete(lease).await.unwrap(), Settled::AlreadyDone);
    }
}

/// Two sends wait for who has locked the slot that was written: those to the next one are made beside them.
#[tokio::test]
async fn calls_that_are_held_up_leave_room_for_others() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let mail = queue("mail");
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue_one(&mail, task()).await.unwrap();
    let mut client = stage.client().await;
    let step = client.transaction().await.unwrap();
    step.batch_execute("LOCK TABLE tasks_0 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let watch = &stage.client().await;
    let name = &format!("tidegate {}", stage.schema);
    let waiting = "SELECT FROM pg_stat_activity
                    WHERE application_name = $1 AND wait_event_type = 'Lock' AND query LIKE '%enqueue%'";
    let mut held_up = Vec::new();
    for count in 1..=2 {
        let mut waits = Box::pin(broker.enqueue_one(&mail, task()));
        assert!(poll_immediate(&mut waits).await.is_none());
        held_up.push(waits);
        until("a call that waits", || async move {
            watch.query(waiting, &[name]).await.unwrap().len() == count
        })
        .await;
    }
    watch.batch_execute("UPDATE rotation SET slot = 1").await.unwrap();
    let beside = tokio::time::timeout(GUARD / 4, broker.enqueue_one(&mail, task())).await;
    assert!(beside.expect("it waits with them").is_ok());
    step.commit().await.unwrap();
    for sent in join_all(held_up).await {
        sent.unwrap();
    }
}

/// A broker works on the runtime that it was opened on. Once that has ended a call is refused.
#[test]
fn a_call_after_the_runtime_has_ended_does_not_wait_for_ever() {
    let Some(stage) = stage() else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mail = queue("mail");
    let first = runtime();
    let broker = first.block_on(async {
        let broker = stage.open("").await.broker();
        broker.declare(&spec("mail")).await.unwrap();
        broker.enqueue_one(&mail, task()).await.unwrap();
        broker
    });
    drop(first);
    let sent = runtime().block_on(async {
        tokio::time::timeout(GUARD / 4, broker.enqueue_one(&mail, task())).await
    });
    assert_eq!(sent.expect("it waits").unwrap_err().kind(), ErrorKind::Closed);
}
