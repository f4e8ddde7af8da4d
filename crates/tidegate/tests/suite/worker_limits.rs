//! How much a worker does at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::scripted::{fill, name, stats, until};
use tidegate::testing::TestBroker;
use tidegate::worker::{KindOptions, Signals};
use tidegate::{Context, NewTask, QueueSpec, Task, Worker, WorkerOptions};
use tokio::sync::Semaphore;

/// Handlers that wait at a gate, counted.
#[derive(Debug)]
struct AtWork {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
    gate: Semaphore,
}

impl AtWork {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        })
    }

    async fn work(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

fn options(concurrency: usize) -> WorkerOptions {
    WorkerOptions { concurrency, signals: Signals::Ignore, ..WorkerOptions::default() }
}

fn handler(at_work: &Arc<AtWork>) -> impl Fn(Task, Context) -> Work + Send + Sync + 'static {
    let at_work = at_work.clone();
    move |_, _| {
        let at_work = at_work.clone();
        Box::pin(async move { at_work.work().await })
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test]
async fn no_more_is_received_than_there_are_free_slots() {
    let (broker, script, _) = crate::scripted::broker();
    fill(&broker, "q", &["work"; 30]).await;
    let at_work = AtWork::new();
    let worker = Worker::new(&broker).queue("q").options(options(4));
    let worker = worker.handle_raw("work", handler(&at_work));
    let run = tokio::spawn(worker.run_until_empty());
    for done in 0..=26 {
        until("four are at work", async || at_work.now() == 4).await;
        assert_eq!(script.received.load(Ordering::SeqCst), done + 4);
        assert_eq!(stats(&broker, "q").await.leased, 4);
        at_work.gate.add_permits(1);
        until("one is done", async || at_work.done.load(Ordering::SeqCst) == done + 1).await;
    }
    at_work.gate.add_permits(3);
    assert_eq!(run.await.unwrap().unwrap().completed, 30);
    assert_eq!(at_work.most(), 4);
}

#[tokio::test]
async fn no_more_of_a_kind_is_at_work_than_its_limit_and_other_kinds_go_on() {
    let test = TestBroker::new();
    let kinds: Vec<&str> = ["slow"; 40].into_iter().chain(["quick"; 10]).collect();
    fill(test.broker(), "q", &kinds).await;
    let slow = AtWork::new();
    let limit = KindOptions { concurrency: Some(2), ..KindOptions::default() };
    let options = WorkerOptions { kinds: [("slow".to_owned(), limit)].into(), ..options(10) };
    let worker = Worker::new(test.broker()).queue("q").options(options);
    let worker = worker.handle_raw("slow", handler(&slow));
    let worker = worker.handle_raw("quick", |_: Task, _: Context| async {});
    let control = worker.control();
    let run = tokio::spawn(worker.run_until_empty());
    until("the quick ones pass the slow ones", async || control.metrics().completed == 10).await;
    assert_eq!((slow.now(), slow.most()), (2, 2));
    slow.gate.add_permits(40);
    until("all are done", async || {
        test.clock().advance(std::time::Duration::from_millis(100));
        run.is_finished()
    })
    .await;
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.completed, slow.most(), done.lost), (50, 2, 0));
    assert!(done.released > 0, "what was over the limit went back");
}

#[tokio::test]
async fn several_queues_share_the_slots_and_none_starves() {
    let test = TestBroker::new();
    for queue in ["a", "b", "c"] {
        fill(test.broker(), queue, &["work"; 20]).await;
    }
    let at_work = AtWork::new();
    at_work.gate.add_permits(1_000);
    let worker = Worker::new(test.broker()).queue("a").queue("b").queue("c").options(options(2));
    let worker = worker.handle_raw("work", handler(&at_work));
    let done = tokio::spawn(worker.run_until_empty());
    until("all are done", async || {
        test.clock().advance(std::time::Duration::from_millis(10));
        done.is_finished()
    })
    .await;
    assert_eq!(done.await.unwrap().unwrap().completed, 60);
    assert!(at_work.most() <= 2);
}

#[tokio::test]
async fn an_idle_queue_leaves_the_slots_to_a_busy_one() {
    let test = TestBroker::new();
    fill(test.broker(), "idle", &[]).await;
    fill(test.broker(), "busy", &[]).await;
    let at_work = AtWork::new();
    let worker = Worker::new(test.broker()).queue("idle").queue("busy").options(options(8));
    let worker = worker.handle_raw("work", handler(&at_work));
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    // Both have found nothing once the clock has passed their first wait.
    test.clock().advance(std::time::Duration::from_secs(1));
    until("seven of eight are at work", async || {
        if stats(test.broker(), "busy").await.ready == 0 && at_work.now() < 7 {
            test.broker().enqueue_one(&name("busy"), NewTask::new("work", "")).await.unwrap();
        }
        test.clock().advance(std::time::Duration::from_millis(200));
        at_work.now() >= 7
    })
    .await;
    at_work.gate.add_permits(1_000);
    control.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_task_that_is_ordered_by_a_key_is_never_at_work_beside_its_like() {
    let test = TestBroker::new();
    let spec = QueueSpec { ordering: tidegate::Ordering::Key, ..QueueSpec::new(name("ordered")) };
    test.broker().declare(&spec).await.unwrap();
    let tasks: Vec<NewTask> =
        (0..10).map(|n| NewTask::new("work", n.to_string()).ordering_key("k")).collect();
    test.broker().enqueue(&name("ordered"), &tasks).await.unwrap();
    let at_work = AtWork::new();
    at_work.gate.add_permits(10);
    let worker = Worker::new(test.broker()).queue("ordered").options(options(8));
    let worker = worker.handle_raw("work", handler(&at_work));
    assert_eq!(worker.run_until_empty().await.unwrap().completed, 10);
    assert_eq!(at_work.most(), 1);
}
