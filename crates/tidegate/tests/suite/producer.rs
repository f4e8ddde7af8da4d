//! Sending: one by one, in a pipeline, and into queues that are full or missing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::task::{Dedup, Unique};
use tidegate::testing::TestBroker;
use tidegate::{
    Broker, Capacity, Consumer, Enqueued, ErrorKind, NewTask, Producer, QueueSpec, Result,
    SendOptions, State, TypedTask, WhenFull,
};

use crate::scripted::{self, fill, name, only_task, stats, until};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Serialize, Deserialize, TypedTask)]
#[task(kind = "count", queue = "q", key = number)]
struct Count {
    number: u64,
}

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "homeless")]
struct Homeless;

fn count(number: u64) -> Count {
    Count { number }
}

async fn bounded(broker: &Broker, bound: u64) {
    let spec = QueueSpec { capacity: Capacity::Bounded(bound), ..QueueSpec::new(name("q")) };
    broker.declare(&spec).await.unwrap();
}

fn kind_of<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn the_options_of_a_send_are_carried_out() {
    let test = TestBroker::new();
    fill(test.broker(), "elsewhere", &[]).await;
    let producer = Producer::new(test.broker());
    let options = SendOptions {
        delay: 5 * SECOND,
        priority: 9,
        dedup: Some(Dedup { key: "once".into(), unique: Unique::UntilDone }),
        key: Some("other".into()),
        headers: [("tenant".to_owned(), "acme".to_owned())].into(),
        queue: Some(name("elsewhere")),
    };
    let first = producer.send_with(&count(1), options.clone()).await.unwrap();
    let again = producer.send_with(&count(2), options).await.unwrap();
    assert_eq!((again.id, again.deduplicated), (first.id, true));
    let view = only_task(test.broker(), "elsewhere").await;
    assert_eq!((view.state, view.task.priority), (State::Scheduled, 9));
    assert_eq!(view.task.ordering_key.as_deref(), Some("other"));
    assert_eq!(view.task.headers["tenant"], "acme");
    assert_eq!(view.task.headers["tidegate-version"], "1");
}

#[tokio::test]
async fn a_type_without_a_queue_goes_where_the_producer_says_or_nowhere() {
    let test = TestBroker::new();
    fill(test.broker(), "home", &[]).await;
    let error = Producer::new(test.broker()).send(&Homeless).await;
    assert_eq!(kind_of(error), ErrorKind::Invalid);
    let producer = Producer::builder(test.broker()).queue(name("home")).build();
    producer.send(&Homeless).await.unwrap();
    assert_eq!(stats(test.broker(), "home").await.ready, 1);
}

#[tokio::test]
async fn a_missing_queue_is_an_error_unless_it_is_to_be_declared() {
    let test = TestBroker::new();
    let strict = Producer::new(test.broker()).send(&count(1)).await;
    assert_eq!(kind_of(strict), ErrorKind::NotFound);
    let producer = Producer::builder(test.broker()).declare_missing().build();
    producer.send(&count(1)).await.unwrap();
    producer.submit(&count(2)).await.unwrap().await.unwrap();
    assert_eq!(test.enqueued::<Count>().await.unwrap(), [count(1), count(2)]);
}

#[tokio::test]
async fn a_full_queue_rejects_each_task_that_does_not_fit() {
    let test = TestBroker::new();
    bounded(test.broker(), 2).await;
    let all = [count(1), count(2), count(3)];
    let outcomes = Producer::new(test.broker()).send_many(&all).await.unwrap();
    let fits: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(fits, [true, true, false]);
    assert_eq!(outcomes[2].as_ref().unwrap_err().kind(), ErrorKind::QueueFull);
}

#[tokio::test]
async fn waiting_for_room_loses_nothing_doubles_nothing_and_keeps_the_order() {
    let test = TestBroker::new();
    bounded(test.broker(), 2).await;
    let when_full = WhenFull::Wait { timeout: 3600 * SECOND };
    let producer = Producer::builder(test.broker()).when_full(when_full).build();
    let sending = tokio::spawn(async move {
        let all: Vec<Count> = (0..9).map(count).collect();
        producer.send_many(&all).await
    });
    let consumer = Consumer::open(test.broker(), &name("q")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 9 {
        until("a task is there", async || {
            test.clock().advance(SECOND / 10);
            stats(test.broker(), "q").await.ready > 0
        })
        .await;
        assert!(stats(test.broker(), "q").await.live() <= 2);
        for lease in consumer.receive(1, Duration::ZERO).await.unwrap() {
            seen.push(lease.task.sequence);
            let _ = consumer.complete(&lease).await.unwrap();
        }
    }
    let outcomes: Vec<Enqueued> =
        sending.await.unwrap().unwrap().into_iter().map(Result::unwrap).collect();
    let sent: Vec<u64> = outcomes.iter().map(|enqueued| enqueued.sequence).collect();
    assert_eq!(seen, sent);
    assert!(sent.is_sorted());
    assert_eq!(stats(test.broker(), "q").await.live(), 0);
}

#[tokio::test]
async fn waiting_for_room_ends_with_its_time() {
    let test = TestBroker::new();
    bounded(test.broker(), 1).await;
    let when_full = WhenFull::Wait { timeout: 2 * SECOND };
    let producer = Producer::builder(test.broker()).when_full(when_full).build();
    producer.send(&count(1)).await.unwrap();
    let started = tidegate::Clock::now(test.clock());
    let late = tokio::spawn(async move { producer.send(&count(2)).await });
    until("it has ended", async || {
        test.clock().advance(SECOND / 100);
        late.is_finished()
    })
    .await;
    assert_eq!(kind_of(late.await.unwrap()), ErrorKind::QueueFull);
    assert!(tidegate::Clock::now(test.clock()).since(started) >= 2 * SECOND);
    assert_eq!(stats(test.broker(), "q").await.live(), 1);
}

#[tokio::test]
async fn what_gathers_while_a_batch_is_sent_goes_together_and_in_order() {
    let (broker, script, _) = scripted::broker();
    fill(&broker, "q", &[]).await;
    let before = script.enqueues.load(Ordering::SeqCst);
    script.gate_enqueues.store(true, Ordering::SeqCst);
    let producer = Producer::new(&broker);
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(producer.submit(&count(number)).await.unwrap());
    }
    script.enqueue_gate.add_permits(100);
    producer.flush().await.unwrap();
    let mut sequences = Vec::new();
    for receipt in receipts {
        sequences.push(receipt.await.unwrap().sequence);
    }
    assert!(sequences.is_sorted());
    assert_eq!(stats(&broker, "q").await.ready, 100);
    assert!(script.enqueues.load(Ordering::SeqCst) - before <= 2);
}

#[tokio::test]
async fn a_pipeline_that_is_full_holds_its_sender_back() {
    let (broker, script, _) = scripted::broker();
    fill(&broker, "q", &[]).await;
    script.gate_enqueues.store(true, Ordering::SeqCst);
    let producer = Producer::builder(&broker).in_flight(2).build();
    let first = producer.submit(&count(1)).await.unwrap();
    let _second = producer.submit(&count(2)).await.unwrap();
    let third = count(3);
    let mut waiting = Box::pin(producer.submit(&third));
    assert!(tokio::time::timeout(SECOND / 20, waiting.as_mut()).await.is_err());
    script.enqueue_gate.add_permits(10);
    first.await.unwrap();
    waiting.await.unwrap().await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(stats(&broker, "q").await.ready, 3);
}

#[tokio::test]
async fn a_flush_waits_for_all_and_tells_the_error_that_nobody_heard() {
    let test = TestBroker::new();
    bounded(test.broker(), 2).await;
    let producer = Producer::new(test.broker());
    for number in 0..3 {
        drop(producer.submit(&count(number)).await.unwrap());
    }
    assert_eq!(kind_of(producer.flush().await), ErrorKind::QueueFull);
    assert_eq!(stats(test.broker(), "q").await.ready, 2);
    let heard = producer.submit(&count(3)).await.unwrap();
    assert_eq!(kind_of(heard.await), ErrorKind::QueueFull);
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn what_was_submitted_is_sent_though_the_producer_is_gone() {
    let test = TestBroker::new();
    bounded(test.broker(), 10).await;
    let producer = Producer::new(test.broker());
    let receipt = producer.submit_task(&name("q"), NewTask::new("raw", "1")).await.unwrap();
    drop(producer);
    assert_eq!(receipt.await.unwrap().id, only_task(test.broker(), "q").await.task.id);
}
