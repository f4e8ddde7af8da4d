//! What tests of applications lean on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate::testing::TestBroker;
use tidegate::{Clock, Consumer, Context, NewTask, Outcome, Task, Worker};

use crate::scripted::{fill, name, stats};

#[tokio::test]
async fn a_drain_moves_the_clock_over_delays_retries_and_the_leases_of_others() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"]).await;
    let other = Consumer::open(test.broker(), &name("q")).await.unwrap();
    assert_eq!(other.receive(1, Duration::ZERO).await.unwrap().len(), 1);
    let later = NewTask::new("work", "").delay(Duration::from_secs(86_400));
    test.broker().enqueue_one(&name("q"), later).await.unwrap();
    let started = test.clock().now();
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.handle_raw("work", |task: Task, _: Context| async move {
        match task.attempt {
            1 => Outcome::retry_after(Duration::from_secs(3_600), "later"),
            _ => Outcome::done(),
        }
    });
    let done = test.worker(worker).await.unwrap().drain().await.unwrap();
    assert_eq!((done.completed, done.retried), (2, 1));
    assert_eq!(test.clock().now().since(started), Duration::from_secs(90_000));
    assert_eq!(stats(test.broker(), "q").await.live(), 0);
}

#[tokio::test]
async fn perform_does_one_attempt_and_nothing_else() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work", "work"]).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counts = runs.clone();
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.handle_raw("work", move |_: Task, _: Context| {
        counts.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    let worker = test.worker(worker).await.unwrap();
    let performed = worker.perform().await.unwrap().unwrap();
    assert!(performed.outcome.is_done());
    assert_eq!((runs.load(Ordering::SeqCst), stats(test.broker(), "q").await.ready), (1, 1));
    assert!(worker.perform().await.unwrap().is_some());
    assert!(worker.perform().await.unwrap().is_none());
}

#[tokio::test]
async fn a_task_that_comes_back_for_ever_is_an_error_of_the_drain() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"]).await;
    let worker = Worker::new(test.broker()).queue("q");
    let worker =
        worker.handle_raw("work", |_: Task, _: Context| async { Outcome::release(Duration::ZERO) });
    let error = test.worker(worker).await.unwrap().drain().await.unwrap_err();
    assert!(error.to_string().contains("100,000 attempts"), "{error}");
}
