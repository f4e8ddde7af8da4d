//! How a worker ends: it stops receiving, drains, and gives back what is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::scripted::{fill, name, only_task, stats, until};
use tidegate::testing::TestBroker;
use tidegate::worker::Signals;
use tidegate::{
    Broker, Consumer, Context, NewTask, Outcome, State, Task, Worker, WorkerOptions, limits,
};
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> WorkerOptions {
    WorkerOptions { concurrency: 2, signals: Signals::Ignore, ..WorkerOptions::default() }
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<Mutex<Vec<&'static str>>>);

impl Diary {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().contains(&what)
    }
}

/// A worker whose handlers wait at a gate and take no notice of being cancelled.
fn at_a_gate(broker: &Broker, diary: &Diary) -> (Worker, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let (opens, writes) = (gate.clone(), diary.clone());
    let worker = Worker::new(broker).queue("q").options(options());
    let worker = worker.handle_raw("work", move |_: Task, _: Context| {
        let (opens, writes) = (opens.clone(), writes.clone());
        async move {
            writes.note("started");
            opens.acquire().await.unwrap().forget();
            writes.note("ended");
        }
    });
    (worker, gate)
}

#[tokio::test]
async fn a_stopped_worker_receives_no_more_runs_its_hooks_and_waits_for_its_handlers() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"; 5]).await;
    let diary = Diary::default();
    let (worker, gate) = at_a_gate(test.broker(), &diary);
    let hooked = diary.clone();
    let worker = worker.on_shutdown(move || async move { hooked.note("hook") });
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("two are at work", async || stats(test.broker(), "q").await.leased == 2).await;
    until("both started", async || diary.0.lock().unwrap().len() == 2).await;
    control.stop();
    until("the hook ran", async || diary.has("hook")).await;
    assert!(!diary.has("ended") && !run.is_finished());
    gate.add_permits(5);
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.completed, done.received, done.released), (2, 2, 0));
    assert_eq!(stats(test.broker(), "q").await.ready, 3);
    assert_eq!(*diary.0.lock().unwrap(), ["started", "started", "hook", "ended", "ended"]);
}

#[tokio::test]
async fn what_is_not_done_in_time_is_given_back_unharmed_for_others_to_get_at_once() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"; 2]).await;
    let diary = Diary::default();
    let (worker, _gate) = at_a_gate(test.broker(), &diary);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("both started", async || diary.0.lock().unwrap().len() == 2).await;
    control.stop();
    // The worker waits 30 s for its handlers, and 1 s more once they are cancelled.
    until("the time is up", async || {
        test.clock().advance(SECOND);
        run.is_finished()
    })
    .await;
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.released, done.completed), (2, 0));
    let other = Consumer::open(test.broker(), &name("q")).await.unwrap();
    let leases = other.receive(10, Duration::ZERO).await.unwrap();
    assert_eq!(leases.len(), 2);
    assert!(leases.iter().all(|lease| lease.task.attempt == 1 && lease.task.deliveries == 2));
    assert!(!diary.has("ended"));
}

#[tokio::test]
async fn a_handler_that_heeds_its_cancellation_decides_for_itself() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"]).await;
    let started = Arc::new(AtomicUsize::new(0));
    let starts = started.clone();
    let worker = Worker::new(test.broker()).queue("q").options(options());
    let worker = worker.handle_raw("work", move |_: Task, context: Context| {
        let starts = starts.clone();
        async move {
            starts.fetch_add(1, Ordering::SeqCst);
            context.cancelled().await;
            Outcome::retry_after(5 * SECOND, "stopped half way")
        }
    });
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    control.hurry();
    assert_eq!(run.await.unwrap().unwrap().retried, 1);
    let view = only_task(test.broker(), "q").await;
    assert_eq!(view.state, State::Scheduled);
    assert_eq!(view.task.last_error.as_deref(), Some("stopped half way"));
}

#[tokio::test]
async fn a_worker_whose_run_is_dropped_drains_in_the_background() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"; 5]).await;
    let diary = Diary::default();
    let (worker, gate) = at_a_gate(test.broker(), &diary);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("two are at work", async || diary.0.lock().unwrap().len() == 2).await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    gate.add_permits(5);
    until("both are completed", async || control.metrics().completed == 2).await;
    until("nothing is held", async || stats(test.broker(), "q").await.leased == 0).await;
    assert_eq!(stats(test.broker(), "q").await.ready, 3);
}

#[tokio::test]
async fn what_arrives_after_the_stop_is_given_back() {
    let (broker, script, _) = crate::scripted::broker();
    fill(&broker, "q", &["work"]).await;
    script.gate_receives.store(true, Ordering::SeqCst);
    let diary = Diary::default();
    let (worker, _gate) = at_a_gate(&broker, &diary);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it is received", async || script.received.load(Ordering::SeqCst) == 1).await;
    control.stop();
    script.receive_gate.add_permits(1);
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.completed, done.released), (0, 1));
    let view = only_task(&broker, "q").await;
    assert_eq!((view.state, view.task.attempt), (State::Ready, 0));
    assert!(!diary.has("started"));
}

#[tokio::test]
async fn an_idle_worker_stops_at_once_though_a_receive_is_under_way() {
    let (broker, script, _) = crate::scripted::broker();
    fill(&broker, "q", &[]).await;
    let diary = Diary::default();
    let (worker, _gate) = at_a_gate(&broker, &diary);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    let under_way = &script.receives_under_way;
    until("the receive waits", async || under_way.load(Ordering::SeqCst) == 1).await;
    control.stop();
    // The clock stands still: only the closing of its place ends the receive.
    assert_eq!(run.await.unwrap().unwrap().received, 0);
}

#[tokio::test]
async fn a_settle_that_fails_is_tried_again_and_the_handler_is_not() {
    let (broker, script, clock) = crate::scripted::broker();
    fill(&broker, "q", &["work"]).await;
    script.failing_settles.store(3, Ordering::SeqCst);
    let diary = Diary::default();
    let (worker, gate) = at_a_gate(&broker, &diary);
    gate.add_permits(1);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it is settled", async || {
        clock.advance(SECOND / 20);
        control.metrics().completed == 1
    })
    .await;
    assert_eq!(script.settles.load(Ordering::SeqCst), 4);
    assert_eq!(*diary.0.lock().unwrap(), ["started", "ended"]);
    control.stop();
    assert_eq!(run.await.unwrap().unwrap().received, 1);
}

#[tokio::test]
async fn a_verdict_that_is_refused_does_not_keep_the_others_from_being_settled() {
    let test = TestBroker::new();
    let kinds: Vec<&str> = ["ok"; 30].into_iter().chain(["refused"]).collect();
    fill(test.broker(), "q", &kinds).await;
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.options(WorkerOptions { concurrency: 64, ..options() });
    let worker = worker.handle_raw("ok", |_: Task, _: Context| async {});
    let worker = worker.handle_raw("refused", |task: Task, _: Context| async move {
        match task.attempt {
            1 => Outcome::retry_after(limits::DELAY_MAX + SECOND, "much later"),
            _ => Outcome::done(),
        }
    });
    let run = tokio::spawn(worker.run_until_empty());
    until("it came back when its lease ended", async || {
        test.clock().advance(SECOND);
        run.is_finished()
    })
    .await;
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.completed, done.unsettled, done.received), (31, 1, 32));
}

#[tokio::test]
async fn until_empty_waits_for_what_is_scheduled_retried_or_held_by_another() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"]).await;
    let other = Consumer::open(test.broker(), &name("q")).await.unwrap();
    let held = other.receive(1, Duration::ZERO).await.unwrap().pop().unwrap();
    let later = NewTask::new("work", "").delay(60 * SECOND);
    test.broker().enqueue_one(&name("q"), later).await.unwrap();
    let worker = Worker::new(test.broker()).queue("q").options(options());
    let control = worker.control();
    let worker = worker.handle_raw("work", |task: Task, _: Context| async move {
        match task.attempt {
            1 => Err("not yet"),
            _ => Ok(()),
        }
    });
    let run = tokio::spawn(worker.run_until_empty());
    until("the delayed one is done", async || {
        let _ = other.extend(&held, 30 * SECOND).await.unwrap();
        test.clock().advance(SECOND / 2);
        control.metrics().completed == 1
    })
    .await;
    assert!(!run.is_finished(), "another still holds a task");
    let _ = other.complete(&held).await.unwrap();
    until("it has ended", async || {
        test.clock().advance(SECOND / 20);
        run.is_finished()
    })
    .await;
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.completed, done.retried), (1, 1));
}

#[tokio::test]
async fn until_empty_ends_at_once_on_empty_queues() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &[]).await;
    let worker = Worker::new(test.broker()).queue("q").options(options());
    let worker = worker.handle_raw("work", |_: Task, _: Context| async {});
    assert_eq!(worker.run_until_empty().await.unwrap().received, 0);
}

#[tokio::test]
async fn an_error_that_no_retry_helps_ends_the_worker_with_it() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &[]).await;
    let diary = Diary::default();
    let (worker, _gate) = at_a_gate(test.broker(), &diary);
    let run = tokio::spawn(worker.run());
    until("the receive waits", async || test.clock().next_wake().is_some()).await;
    test.broker().close().await.unwrap();
    assert_eq!(run.await.unwrap().unwrap_err().kind(), tidegate::ErrorKind::Closed);
}
