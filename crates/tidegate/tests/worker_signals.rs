//! Signals, in a process of its own: this one. The only test of its binary.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what a test sets up fails the test")]

use std::time::{Duration, Instant};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate::testing::TestBroker;
use tidegate::{Context, NewTask, Task, Worker};

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn terminate_this_process() {
    let pid = std::process::id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

#[tokio::test]
async fn sigterm_drains_and_a_second_one_gives_back_what_is_left() {
    let test = TestBroker::new();
    let queue = test.declare("q").await.unwrap();
    test.broker().enqueue_one(&queue, NewTask::new("work", "")).await.unwrap();
    let (started, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (starts, tells) = (started.clone(), cancelled.clone());
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.handle_raw("work", move |_: Task, context: Context| {
        let (starts, tells) = (starts.clone(), tells.clone());
        async move {
            starts.fetch_add(1, Ordering::SeqCst);
            context.cancelled().await;
            tells.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
    });
    let stopping = Arc::new(AtomicUsize::new(0));
    let stops = stopping.clone();
    let worker = worker.on_shutdown(move || async move {
        stops.fetch_add(1, Ordering::SeqCst);
    });
    let run = tokio::spawn(worker.run());
    until("it started", || started.load(Ordering::SeqCst) == 1).await;
    terminate_this_process();
    until("the worker stops", || stopping.load(Ordering::SeqCst) == 1).await;
    assert_eq!(cancelled.load(Ordering::SeqCst), 0, "it is still waited for");
    terminate_this_process();
    until("it is cancelled", || cancelled.load(Ordering::SeqCst) == 1).await;
    until("the worker has ended", || {
        test.clock().advance(Duration::from_secs(1));
        run.is_finished()
    })
    .await;
    assert_eq!(run.await.unwrap().unwrap().released, 1);
    assert_eq!(test.broker().inspect().unwrap().stats(&queue).await.unwrap().ready, 1);
}
