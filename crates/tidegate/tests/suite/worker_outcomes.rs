//! What becomes of a task by what its handler does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::scripted::{fill, name, only_task, stats, until};
use serde::{Deserialize, Serialize};
use tidegate::testing::TestBroker;
use tidegate::worker::{AckMode, KindOptions, Signals, UnknownKind};
use tidegate::{
    Context, DeadFilter, ErrorKind, Failure, NewTask, Outcome, Producer, QueueSpec, RetryPolicy,
    State, Task, TypedTask, Verdict, Worker, WorkerOptions, typed,
};

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome", version = 2, queue = "mail")]
struct Welcome {
    user: u64,
    address: Address,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    zip: String,
}

fn options() -> WorkerOptions {
    WorkerOptions { signals: Signals::Ignore, ..WorkerOptions::default() }
}

async fn dead_reason(test: &TestBroker, queue: &str) -> String {
    let dead = test.broker().inspect().unwrap();
    let mut dead = dead.dead(&name(queue), &DeadFilter::default()).await.unwrap();
    assert_eq!(dead.len(), 1);
    dead.pop().unwrap().dead_letter.unwrap().reason
}

async fn last_attempt(test: &TestBroker, queue: &str) {
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let spec = QueueSpec { retry, ..QueueSpec::new(name(queue)) };
    test.broker().declare(&spec).await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_with_the_text_of_the_panic() {
    for workers_way in [false, true] {
        let test = TestBroker::new();
        last_attempt(&test, "q").await;
        fill_raw(&test, "q", "boom", 40).await;
        let worker = Worker::new(test.broker()).queue("q").options(options());
        let worker = worker.handle_raw("boom", |task: Task, _: Context| async move {
            assert!(task.payload == "0", "no {:?} on board", task.payload);
        });
        let control = worker.control();
        match workers_way {
            true => drop(worker.run_until_empty().await.unwrap()),
            false => drop(test.worker(worker).await.unwrap().drain().await.unwrap()),
        }
        let dead = test.broker().inspect().unwrap();
        let dead = dead.dead(&name("q"), &DeadFilter::default()).await.unwrap();
        assert_eq!(dead.len(), 39);
        for view in &dead {
            let error = view.dead_letter.as_ref().unwrap().error.clone().unwrap();
            assert!(error.contains("the handler panicked: no b\""), "{error}");
        }
        assert_eq!((control.metrics().panicked, control.metrics().completed), (39, 1));
    }
}

async fn fill_raw(test: &TestBroker, queue: &str, kind: &'static str, count: usize) {
    let tasks: Vec<NewTask> = (0..count).map(|n| NewTask::new(kind, n.to_string())).collect();
    for outcome in test.broker().enqueue(&name(queue), &tasks).await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_handler_that_panics_while_it_is_dropped_has_taken_too_long_all_the_same() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let test = TestBroker::new();
    last_attempt(&test, "q").await;
    fill_raw(&test, "q", "bomb", 3).await;
    let limits = KindOptions { timeout: Some(Duration::from_secs(5)), ..KindOptions::default() };
    let kinds = [("bomb".to_owned(), limits)].into();
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.options(WorkerOptions { concurrency: 1, kinds, ..options() });
    let worker = worker.handle_raw("bomb", |_: Task, _: Context| async {
        let _bomb = Bomb;
        std::future::pending::<()>().await;
    });
    let run = tokio::spawn(worker.run_until_empty());
    until("all are dead", async || {
        test.clock().advance(Duration::from_millis(500));
        run.is_finished()
    })
    .await;
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.timed_out, done.dead, done.received), (3, 3, 3));
}

#[tokio::test]
async fn an_error_is_retried_by_the_policy_of_the_queue_until_its_attempts_are_used_up() {
    let test = TestBroker::new();
    let retry = RetryPolicy {
        max_attempts: 3,
        initial_delay: Duration::from_secs(60),
        jitter: tidegate::Jitter::None,
        ..RetryPolicy::default()
    };
    let spec = QueueSpec { retry, ..QueueSpec::new(name("q")) };
    test.broker().declare(&spec).await.unwrap();
    fill_raw(&test, "q", "fails", 1).await;
    let worker = Worker::new(test.broker()).queue("q");
    let worker =
        worker.handle_raw("fails", |_: Task, _: Context| async { Err::<(), _>("no route") });
    let worker = test.worker(worker).await.unwrap();
    let first = worker.perform().await.unwrap().unwrap();
    let retry = Verdict::Retry { after: Duration::from_secs(60), error: Some("no route".into()) };
    assert_eq!(first.verdict, retry);
    assert!(worker.perform().await.unwrap().is_none());
    let done = worker.drain().await.unwrap();
    assert_eq!((done.retried, done.dead), (2, 1));
    assert_eq!(dead_reason(&test, "q").await, "attempts exhausted");
}

#[tokio::test]
async fn a_permanent_failure_is_a_dead_letter_at_once() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["fails"]).await;
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.handle_raw("fails", |_: Task, _: Context| async {
        Err::<(), Failure>(Failure::permanent("no such user"))
    });
    let done = test.worker(worker).await.unwrap().drain().await.unwrap();
    assert_eq!((done.dead, done.retried), (1, 0));
    assert_eq!(dead_reason(&test, "q").await, "no such user");
}

async fn reason_for(task: NewTask) -> String {
    let test = TestBroker::new();
    test.declare("mail").await.unwrap();
    test.broker().enqueue_one(&name("mail"), task).await.unwrap();
    let worker = Worker::new(test.broker()).handle(|_: Welcome, _: Context| async {});
    let done = test.worker(worker).await.unwrap().drain().await.unwrap();
    assert_eq!((done.dead, done.received), (1, 1));
    dead_reason(&test, "mail").await
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_a_dead_letter_that_names_the_field() {
    let wrong = r#"{"user":1,"address":{"zip":5}}"#;
    let reason = reason_for(NewTask::new("mail.welcome", wrong)).await;
    assert!(reason.contains("field `address.zip`: invalid type: integer"), "{reason}");
    let reason = reason_for(NewTask::new("mail.welcome", r#"{"user":1}"#)).await;
    assert!(reason.contains("missing field `address`"), "{reason}");
    let task = NewTask::new("mail.welcome", "{}").header("datacontenttype", "application/avro");
    let reason = reason_for(task).await;
    assert!(reason.contains("application/avro"), "{reason}");
}

#[tokio::test]
async fn a_newer_version_is_a_dead_letter_that_names_both_versions() {
    let typed = Welcome { user: 1, address: Address { zip: "1".into() } };
    let task = typed::encode(&typed).unwrap().header(typed::HEADER_VERSION, "3");
    let reason = reason_for(task.clone()).await;
    assert!(reason.contains("tidegate-version is 3, this worker knows up to 2"), "{reason}");
    let reason = reason_for(task.header(typed::HEADER_VERSION, "new")).await;
    assert!(reason.contains("tidegate-version is \"new\""), "{reason}");
}

#[tokio::test]
async fn an_older_version_and_one_from_elsewhere_are_read() {
    let test = TestBroker::new();
    test.declare("mail").await.unwrap();
    let payload = r#"{"user":1,"address":{"zip":"1"}}"#;
    let bare = NewTask::new("mail.welcome", payload);
    let old = bare.clone().header("tidegate-version", "1");
    let json = NewTask::new("mail.welcome", payload)
        .header("datacontenttype", "application/json; charset=utf-8");
    for task in [bare, old, json] {
        test.broker().enqueue_one(&name("mail"), task).await.unwrap();
    }
    let worker = Worker::new(test.broker()).handle(|task: Welcome, _: Context| async move {
        assert_eq!(task.address.zip, "1");
    });
    assert_eq!(test.worker(worker).await.unwrap().drain().await.unwrap().completed, 3);
}

#[tokio::test]
async fn an_unknown_kind_goes_back_unharmed_or_dies_as_the_options_say() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["stranger"]).await;
    let worker = |unknown_kind| {
        let worker = Worker::new(test.broker()).queue("q");
        let worker = worker.options(WorkerOptions { unknown_kind, ..options() });
        worker.handle_raw("known", |_: Task, _: Context| async {})
    };
    let default = test.worker(worker(options().unknown_kind)).await.unwrap();
    let performed = default.perform().await.unwrap().unwrap();
    assert_eq!(performed.verdict, Verdict::Release { after: Duration::from_secs(30) });
    let view = only_task(test.broker(), "q").await;
    assert_eq!((view.state, view.task.attempt), (State::Scheduled, 0));
    let strict = test.worker(worker(UnknownKind::DeadLetter)).await.unwrap();
    assert_eq!(strict.drain().await.unwrap().dead, 1);
    assert!(dead_reason(&test, "q").await.contains("\"stranger\""));
}

#[tokio::test]
async fn follow_ups_come_with_the_completion_or_not_at_all() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["chain", "chain"]).await;
    test.declare("mail").await.unwrap();
    let (broker, clock) = (test.broker().clone(), test.clock().clone());
    let worker = Worker::new(test.broker()).queue("q").with_follow_ups();
    let worker = worker.handle_raw("chain", move |task: Task, context: Context| {
        let (broker, clock) = (broker.clone(), clock.clone());
        async move {
            if task.sequence == 2 && task.attempt == 1 {
                lose_to_another(&broker, &clock).await;
            }
            let next = Welcome { user: task.sequence, address: Address { zip: "1".into() } };
            let next = context.follow_up(&next).unwrap();
            Outcome::done().then([next])
        }
    });
    let worker = test.worker(worker).await.unwrap();
    worker.perform().await.unwrap().unwrap();
    assert_eq!(test.enqueued::<Welcome>().await.unwrap(), [], "its lease was lost");
    let done = worker.drain().await.unwrap();
    assert_eq!(test.enqueued::<Welcome>().await.unwrap().len(), 2);
    assert_eq!((done.completed, done.lost), (2, 1));
}

#[tokio::test]
async fn a_running_worker_enqueues_no_follow_up_of_a_lease_that_was_lost() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["chain"]).await;
    test.declare("mail").await.unwrap();
    let (broker, clock) = (test.broker().clone(), test.clock().clone());
    let worker = Worker::new(test.broker()).queue("q").with_follow_ups();
    let worker = worker.options(WorkerOptions { concurrency: 1, ..options() });
    let worker = worker.handle_raw("chain", move |task: Task, context: Context| {
        let (broker, clock) = (broker.clone(), clock.clone());
        async move {
            if task.deliveries == 1 {
                lose_to_another(&broker, &clock).await;
            }
            let next = Welcome { user: 1, address: Address { zip: "1".into() } };
            Outcome::done().then([context.follow_up(&next).unwrap()])
        }
    });
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("the loss is seen", async || control.metrics().lost == 1).await;
    assert_eq!(test.enqueued::<Welcome>().await.unwrap(), []);
    test.clock().advance(Duration::from_secs(1));
    until("the next attempt is done", async || control.metrics().completed == 1).await;
    control.stop();
    run.await.unwrap().unwrap();
    assert_eq!(test.enqueued::<Welcome>().await.unwrap().len(), 1);
}

/// Lets the lease end and somebody else take and give back the task.
async fn lose_to_another(broker: &tidegate::Broker, clock: &tidegate::ManualClock) {
    clock.advance(Duration::from_secs(31));
    let other = tidegate::Consumer::open(broker, &name("q")).await.unwrap();
    for lease in other.receive(10, Duration::ZERO).await.unwrap() {
        let settled = other.release(&lease, Duration::from_secs(1)).await.unwrap();
        assert!(matches!(settled, tidegate::Settled::Done { .. }));
    }
}

#[tokio::test]
async fn follow_ups_that_can_never_be_enqueued_make_a_dead_letter_that_says_so() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["chain"]).await;
    let worker = Worker::new(test.broker()).queue("q").options(options());
    let worker = worker.handle_raw("chain", |_: Task, context: Context| async move {
        let next = Welcome { user: 1, address: Address { zip: "1".into() } };
        Outcome::done().then([context.follow_up(&next).unwrap()])
    });
    assert_eq!(worker.run_until_empty().await.unwrap().dead, 1);
    let reason = dead_reason(&test, "q").await;
    assert!(reason.contains("follow-ups were refused") && reason.contains("mail"), "{reason}");
}

#[tokio::test]
async fn follow_ups_wait_for_room_in_their_queue() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["chain"]).await;
    let spec =
        QueueSpec { capacity: tidegate::Capacity::Bounded(1), ..QueueSpec::new(name("mail")) };
    test.broker().declare(&spec).await.unwrap();
    test.broker().enqueue_one(&name("mail"), NewTask::new("filler", "")).await.unwrap();
    let worker = Worker::new(test.broker()).queue("q").options(options());
    let control = worker.control();
    let worker = worker.handle_raw("chain", |_: Task, context: Context| async move {
        let next = Welcome { user: 1, address: Address { zip: "1".into() } };
        Outcome::done().then([context.follow_up(&next).unwrap()])
    });
    let run = tokio::spawn(worker.run());
    until("the task is leased", async || stats(test.broker(), "q").await.leased == 1).await;
    let other = tidegate::Consumer::open(test.broker(), &name("mail")).await.unwrap();
    let lease = other.receive(1, Duration::ZERO).await.unwrap().pop().unwrap();
    let _ = other.complete(&lease).await.unwrap();
    until("both happened", async || {
        test.clock().advance(Duration::from_millis(100));
        control.metrics().completed == 1
    })
    .await;
    assert_eq!(test.enqueued::<Welcome>().await.unwrap().len(), 1);
    control.stop();
    assert_eq!(run.await.unwrap().unwrap().dead, 0);
}

#[tokio::test]
async fn follow_ups_are_refused_at_the_start_where_nothing_is_atomic() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["chain"]).await;
    let worker = Worker::new(test.broker()).queue("q").with_follow_ups();
    let worker = worker.options(WorkerOptions { ack: AckMode::Auto, ..options() });
    let worker = worker.handle_raw("chain", |_: Task, _: Context| async {});
    let error = worker.run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(stats(test.broker(), "q").await.ready, 1);
}

#[tokio::test]
async fn acknowledged_on_receipt_a_task_runs_at_most_once() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["fails", "fails", "stranger"]).await;
    let worker = Worker::new(test.broker()).queue("q");
    let unknown_kind = UnknownKind::DeadLetter;
    let worker = worker.options(WorkerOptions { ack: AckMode::Auto, unknown_kind, ..options() });
    let worker = worker.handle_raw("fails", |_: Task, context: Context| async move {
        let stats = stats(context.broker(), "q").await;
        assert_eq!(stats.live(), 0, "acknowledged before the handler starts");
        Err::<(), _>("down")
    });
    let done = worker.run_until_empty().await.unwrap();
    assert_eq!((done.received, done.failed_unacknowledged, done.panicked), (3, 2, 0));
    assert_eq!((done.dead, stats(test.broker(), "q").await.live()), (1, 0));
}

#[tokio::test]
async fn a_task_that_could_not_be_acknowledged_on_receipt_does_not_start() {
    let (broker, script, _) = crate::scripted::broker();
    fill(&broker, "q", &["work"]).await;
    script.gate_receives.store(true, Ordering::SeqCst);
    let started = Arc::new(AtomicUsize::new(0));
    let starts = started.clone();
    let worker = Worker::new(&broker).queue("q");
    let worker = worker.options(WorkerOptions { ack: AckMode::Auto, ..options() });
    let worker = worker.handle_raw("work", move |_: Task, _: Context| {
        starts.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it is received", async || script.received.load(Ordering::SeqCst) == 1).await;
    assert_eq!(broker.admin().unwrap().purge(&name("q")).await.unwrap(), 1);
    script.receive_gate.add_permits(1);
    until("the loss is seen", async || control.metrics().lost == 1).await;
    control.stop();
    run.await.unwrap().unwrap();
    assert_eq!(started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_dropped_and_has_failed() {
    struct TellsDrop(Arc<AtomicUsize>);
    impl Drop for TellsDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let test = TestBroker::new();
    last_attempt(&test, "q").await;
    fill_raw(&test, "q", "slow", 1).await;
    let (drops, started) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (dropped, starts) = (drops.clone(), started.clone());
    let worker = Worker::new(test.broker()).queue("q");
    let limits = KindOptions { timeout: Some(Duration::from_secs(5)), ..KindOptions::default() };
    let worker =
        worker.options(WorkerOptions { kinds: [("slow".into(), limits)].into(), ..options() });
    let worker = worker.handle_raw("slow", move |_: Task, _: Context| {
        let held = TellsDrop(dropped.clone());
        let starts = starts.clone();
        async move {
            starts.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
            drop(held);
        }
    });
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    test.clock().advance(Duration::from_millis(4_999));
    tokio::task::yield_now().await;
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    test.clock().advance(Duration::from_millis(1));
    until("it is dead", async || stats(test.broker(), "q").await.dead == 1).await;
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    let dead = only_task(test.broker(), "q").await.dead_letter.unwrap();
    assert_eq!(dead.error.unwrap(), "the handler took longer than 5s");
    control.stop();
    assert_eq!(run.await.unwrap().unwrap().timed_out, 1);
}

#[tokio::test]
async fn the_observer_is_told_and_the_metrics_count() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["a", "a"]).await;
    let told = Arc::new(AtomicUsize::new(0));
    let tells = told.clone();
    let worker = Worker::new(test.broker()).queue("q").options(options());
    let worker =
        worker.handle_raw("a", |_: Task, _: Context| async {}).observe(move |task, event| {
            if let tidegate::worker::Event::Settled { verdict: Verdict::Complete, .. } = event {
                assert_eq!(task.kind, "a");
                tells.fetch_add(1, Ordering::SeqCst);
            }
        });
    let done = worker.run_until_empty().await.unwrap();
    assert_eq!((done.completed, told.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_worker_that_cannot_work_says_why() {
    let test = TestBroker::new();
    let nothing = |_: Task, _: Context| async {};
    let worker = || Worker::new(test.broker()).options(options());
    let why = async |worker: Worker| worker.run().await.unwrap_err().to_string();
    assert!(why(worker().queue("q")).await.contains("no handler"));
    assert!(why(worker().handle_raw("a", nothing)).await.contains("no queue"));
    assert!(why(worker().queue("a/b").handle_raw("a", nothing)).await.contains("'/'"));
    let twice = worker().queue("q").handle_raw("a", nothing).handle_raw("a", nothing);
    assert!(why(twice).await.contains("two handlers"));
    let missing = worker().queue("q").handle_raw("a", nothing);
    assert!(why(missing).await.contains("declare it first"));
    let zero = worker().queue("q").handle_raw("a", nothing);
    let zero = zero.options(WorkerOptions { concurrency: 0, ..options() });
    assert!(why(zero).await.contains("concurrency is 0"));
    let typo = worker().queue("q").handle_raw("a", nothing);
    let kinds = [("b".to_owned(), KindOptions::default())].into();
    assert!(why(typo.options(WorkerOptions { kinds, ..options() })).await.contains("\"b\""));
}

#[tokio::test]
async fn typed_tasks_arrive_as_they_were_sent() {
    let test = TestBroker::new();
    let producer = Producer::builder(test.broker()).declare_missing().build();
    let sent = Welcome { user: 7, address: Address { zip: "10115".into() } };
    producer.send(&sent).await.unwrap();
    let raw = test.enqueued_raw("mail.welcome").await.unwrap();
    assert_eq!(raw[0].headers["tidegate-version"], "2");
    assert_eq!(raw[0].headers["datacontenttype"], "application/json");
    assert_eq!(test.enqueued::<Welcome>().await.unwrap(), [sent]);
}

#[tokio::test]
async fn where_the_broker_does_not_count_attempts_the_worker_does() {
    let deliveries = tidegate::capabilities::DeliveryCount::AtLeast;
    let capabilities = tidegate::Capabilities { deliveries, ..tidegate::memory::capabilities() };
    let (broker, _, clock) = crate::scripted::broker_that(capabilities);
    fill(&broker, "q", &["fails"]).await;
    let retry = Some(RetryPolicy { max_attempts: 2, ..RetryPolicy::default() });
    let worker = Worker::new(&broker).queue("q").options(WorkerOptions { retry, ..options() });
    let worker = worker.handle_raw("fails", |_: Task, _: Context| async { Err::<(), _>("down") });
    let run = tokio::spawn(worker.run_until_empty());
    until("it has ended", async || {
        clock.advance(Duration::from_secs(1));
        run.is_finished()
    })
    .await;
    assert_eq!(run.await.unwrap().unwrap().retried, 1);
    let dead = only_task(&broker, "q").await.dead_letter.unwrap();
    assert_eq!(dead.reason, "attempts exhausted: down");
}
