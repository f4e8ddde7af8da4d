//! Tower layers go around handlers and leave their types alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate::testing::TestBroker;
use tidegate::worker::{Signals, TaskRequest};
use tidegate::{Context, Task, Worker, WorkerOptions};
use tower::limit::ConcurrencyLimitLayer;
use tower::util::MapRequestLayer;

use crate::scripted::{fill, only_task};

#[tokio::test]
async fn layers_see_every_attempt_and_the_handler_runs_inside_them() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"; 20]).await;
    let seen = Arc::new(AtomicUsize::new(0));
    let sees = seen.clone();
    let options = WorkerOptions { signals: Signals::Ignore, ..WorkerOptions::default() };
    let worker = Worker::new(test.broker()).queue("q").options(options);
    let worker = worker
        .handle_raw("work", |_: Task, _: Context| tokio::task::yield_now())
        .layer(ConcurrencyLimitLayer::new(2))
        .layer(MapRequestLayer::new(move |request: TaskRequest| {
            assert_eq!(request.context().task().kind, "work");
            sees.fetch_add(1, Ordering::SeqCst);
            request
        }));
    assert_eq!(worker.run_until_empty().await.unwrap().completed, 20);
    assert_eq!(seen.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn the_error_of_a_layer_is_a_failed_attempt() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["work"]).await;
    let worker = Worker::new(test.broker()).queue("q");
    let worker = worker.handle_raw("work", |_: Task, _: Context| async {});
    let worker = worker.layer(tower::layer::layer_fn(|_inner| {
        tower::service_fn(|_: TaskRequest| async {
            Err::<tidegate::Outcome, _>(std::io::Error::other("the layer is closed"))
        })
    }));
    let worker = test.worker(worker).await.unwrap();
    worker.perform().await.unwrap().unwrap();
    let task = only_task(test.broker(), "q").await.task;
    assert_eq!(task.last_error.as_deref(), Some("the layer is closed"));
}
