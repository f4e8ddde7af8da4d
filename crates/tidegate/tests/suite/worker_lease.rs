//! Leases are kept while a handler works, and a handler is told before one can be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::scripted::{Fate, fill, name, only_task, stats, until};
use tidegate::capabilities::Fencing;
use tidegate::worker::Signals;
use tidegate::{
    Broker, Context, Outcome, QueueSpec, Settled, SystemClock, Task, Worker, WorkerOptions, memory,
};

const SECOND: Duration = Duration::from_secs(1);

fn options() -> WorkerOptions {
    WorkerOptions { signals: Signals::Ignore, ..WorkerOptions::default() }
}

/// A worker whose handler waits to be cancelled, and the flag that tells that it was.
fn waits_to_be_cancelled(broker: &Broker) -> (Worker, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (cancelled, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (tells, starts) = (cancelled.clone(), started.clone());
    let worker = Worker::new(broker).queue("q").options(options());
    let worker = worker.handle_raw("waits", move |_: Task, context: Context| {
        let (tells, starts) = (tells.clone(), starts.clone());
        async move {
            starts.fetch_add(1, Ordering::SeqCst);
            context.cancelled().await;
            tells.store(true, Ordering::SeqCst);
            Outcome::retry_after(3600 * SECOND, "cancelled")
        }
    });
    (worker, cancelled, started)
}

#[test]
fn handlers_that_block_every_thread_of_the_runtime_keep_their_leases() {
    const LEASE: Duration = Duration::from_millis(300);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = memory::broker(Arc::new(SystemClock::new()));
        broker.declare(&QueueSpec { lease: LEASE, ..QueueSpec::new(name("q")) }).await.unwrap();
        fill_blocking(&broker).await;
        let blocked = Arc::new(AtomicUsize::new(0));
        let blocks = blocked.clone();
        let worker = Worker::new(&broker).queue("q").options(options());
        let worker = worker.handle_raw("blocks", move |task: Task, _: Context| {
            let blocks = blocks.clone();
            async move {
                assert_eq!(task.deliveries, 1, "its lease was lost");
                blocks.fetch_add(1, Ordering::SeqCst);
                // Both threads are blocked at once, and then for four leases.
                let both = Instant::now();
                while blocks.load(Ordering::SeqCst) < 2 && both.elapsed() < 10 * SECOND {
                    std::thread::yield_now();
                }
                let started = Instant::now();
                while started.elapsed() < 4 * LEASE {
                    std::thread::sleep(LEASE / 10);
                }
            }
        });
        let done = tokio::spawn(worker.run_until_empty()).await.unwrap().unwrap();
        assert_eq!(blocked.load(Ordering::SeqCst), 2);
        assert_eq!((done.received, done.completed, done.lost), (2, 2, 0));
    });
}

async fn fill_blocking(broker: &Broker) {
    for _ in 0..2 {
        broker.enqueue_one(&name("q"), tidegate::NewTask::new("blocks", "")).await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_whose_runtime_is_gone_renews_nothing() {
    let (broker, _, clock) = crate::scripted::broker();
    fill(&broker, "q", &["waits"]).await;
    let (worker, _, started) = waits_to_be_cancelled(&broker);
    let gone =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    gone.spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    gone.shutdown_background();
    until("the lease ends", async || {
        clock.advance(SECOND);
        stats(&broker, "q").await.ready == 1
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_for_as_long_as_its_handler_works() {
    let (broker, script, clock) = crate::scripted::broker();
    fill(&broker, "q", &["waits"]).await;
    let (worker, cancelled, started) = waits_to_be_cancelled(&broker);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    for renewals in 1..=20 {
        clock.advance(10 * SECOND);
        until("it is renewed", async || script.extends.load(Ordering::SeqCst) == renewals).await;
        until("the answer is in", async || only_task(&broker, "q").await.until.is_some()).await;
    }
    assert_eq!(only_task(&broker, "q").await.task.deliveries, 1);
    assert!(!cancelled.load(Ordering::SeqCst));
    control.hurry();
    assert_eq!(run.await.unwrap().unwrap().lost, 0);
}

#[tokio::test]
async fn a_lost_lease_cancels_its_handler() {
    let (broker, _, clock) = crate::scripted::broker();
    fill(&broker, "q", &["waits"]).await;
    let (worker, cancelled, started) = waits_to_be_cancelled(&broker);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    broker.admin().unwrap().purge(&name("q")).await.unwrap();
    clock.advance(10 * SECOND);
    until("it is cancelled", async || cancelled.load(Ordering::SeqCst)).await;
    control.stop();
    let done = run.await.unwrap().unwrap();
    assert_eq!((done.lost, done.retried), (1, 0));
}

async fn cancelled_in_time(fate: Fate) {
    let (broker, script, clock) = crate::scripted::broker();
    fill(&broker, "q", &["waits"]).await;
    *script.extend.lock().unwrap() = fate;
    let (worker, cancelled, started) = waits_to_be_cancelled(&broker);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    clock.advance(10 * SECOND);
    until("a renewal was tried", async || script.extends.load(Ordering::SeqCst) >= 1).await;
    assert!(!cancelled.load(Ordering::SeqCst), "a lease of 30 s has 20 s left");
    clock.advance(17 * SECOND);
    until("it is cancelled", async || cancelled.load(Ordering::SeqCst)).await;
    until("the verdict is in", async || control.metrics().retried == 1).await;
    assert_eq!(stats(&broker, "q").await.scheduled, 1, "3 s before the lease could end");
    control.stop();
    assert_eq!(run.await.unwrap().unwrap().lost, 0);
}

#[tokio::test]
async fn a_handler_whose_lease_cannot_be_renewed_is_cancelled_before_it_ends() {
    cancelled_in_time(Fate::IsUnavailable).await;
}

#[tokio::test]
async fn a_renewal_that_hangs_does_not_keep_the_heartbeat_from_cancelling() {
    cancelled_in_time(Fate::Hangs).await;
}

#[tokio::test]
async fn a_renewal_that_failed_once_is_tried_again_in_time() {
    let (broker, script, clock) = crate::scripted::broker();
    fill(&broker, "q", &["waits"]).await;
    *script.extend.lock().unwrap() = Fate::IsUnavailable;
    let (worker, cancelled, started) = waits_to_be_cancelled(&broker);
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it started", async || started.load(Ordering::SeqCst) == 1).await;
    clock.advance(10 * SECOND);
    until("a renewal failed", async || script.extends.load(Ordering::SeqCst) == 1).await;
    *script.extend.lock().unwrap() = Fate::Works;
    until("it is tried again", async || {
        clock.advance(SECOND / 10);
        script.extends.load(Ordering::SeqCst) >= 2
    })
    .await;
    until("it is held for longer", async || {
        let until = only_task(&broker, "q").await.until.unwrap();
        until.since(tidegate::Clock::now(&clock)) > 21 * SECOND
    })
    .await;
    assert!(!cancelled.load(Ordering::SeqCst));
    control.hurry();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_handler_can_ask_for_another_length_which_is_renewed_in_its_turn() {
    let (broker, script, clock) = crate::scripted::broker();
    fill(&broker, "q", &["extends"]).await;
    let worker = Worker::new(&broker).queue("q").options(options());
    let left = Arc::new(AtomicUsize::new(0));
    let tells = left.clone();
    let worker = worker.handle_raw("extends", move |_: Task, context: Context| {
        let tells = tells.clone();
        async move {
            assert_eq!(context.remaining(), 30 * SECOND);
            let settled = context.extend(6 * SECOND).await.unwrap();
            assert!(matches!(settled, Settled::Done { .. }));
            tells.store(context.remaining().as_secs() as usize, Ordering::SeqCst);
            context.cancelled().await;
        }
    });
    let control = worker.control();
    let run = tokio::spawn(worker.run());
    until("it is extended", async || left.load(Ordering::SeqCst) == 6).await;
    for renewals in 2..=6 {
        clock.advance(2 * SECOND);
        until("it is renewed", async || script.extends.load(Ordering::SeqCst) == renewals).await;
    }
    assert_eq!(stats(&broker, "q").await.leased, 1);
    control.hurry();
    assert_eq!(run.await.unwrap().unwrap().lost, 0);
}

#[tokio::test]
async fn a_broker_that_might_take_it_is_not_sent_the_verdict_of_a_lost_lease() {
    for (fencing, settles) in [(Fencing::Enforced, 1), (Fencing::Advisory, 0)] {
        let capabilities = tidegate::Capabilities { fencing, ..memory::capabilities() };
        let (broker, script, clock) = crate::scripted::broker_that(capabilities);
        fill(&broker, "q", &["waits"]).await;
        let (worker, cancelled, started) = waits_to_be_cancelled(&broker);
        let control = worker.control();
        let run = tokio::spawn(worker.run());
        until("it started", async || started.load(Ordering::SeqCst) == 1).await;
        broker.admin().unwrap().purge(&name("q")).await.unwrap();
        clock.advance(10 * SECOND);
        until("it is cancelled", async || cancelled.load(Ordering::SeqCst)).await;
        control.stop();
        assert_eq!(run.await.unwrap().unwrap().lost, 1);
        assert_eq!(script.settles.load(Ordering::SeqCst), settles);
    }
}
