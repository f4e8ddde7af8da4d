//! Receiving and settling by hand.

use std::time::Duration;

use tidegate::testing::TestBroker;
use tidegate::{Consumer, ErrorKind, Held, Settled, State};

use crate::scripted::{fill, name, only_task, stats};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn every_verdict_is_carried_out() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["a", "b", "c", "d"]).await;
    let consumer = Consumer::open(test.broker(), &name("q")).await.unwrap();
    let leases = consumer.receive(10, Duration::ZERO).await.unwrap();
    let state = |settled| match settled {
        Settled::Done { state } => state,
        other => panic!("{other:?}"),
    };
    assert_eq!(state(consumer.complete(&leases[0]).await.unwrap()), State::Done);
    assert_eq!(state(consumer.retry(&leases[1], SECOND, "e").await.unwrap()), State::Scheduled);
    assert_eq!(state(consumer.release(&leases[2], Duration::ZERO).await.unwrap()), State::Ready);
    assert_eq!(state(consumer.dead_letter(&leases[3], "bad").await.unwrap()), State::Dead);
    let stats = stats(test.broker(), "q").await;
    assert_eq!((stats.ready, stats.scheduled, stats.leased, stats.dead), (1, 1, 0, 1));
}

#[tokio::test]
async fn nothing_is_renewed_but_what_is_extended() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["a", "a"]).await;
    let consumer = Consumer::open(test.broker(), &name("q")).await.unwrap();
    let leases = consumer.receive(2, Duration::ZERO).await.unwrap();
    test.clock().advance(20 * SECOND);
    assert!(matches!(consumer.extend(&leases[0], 30 * SECOND).await, Ok(Settled::Done { .. })));
    test.clock().advance(20 * SECOND);
    let again = consumer.receive(2, Duration::ZERO).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].task.id, leases[1].task.id);
    assert!(matches!(consumer.complete(&leases[1]).await, Ok(Settled::Lost(_))));
}

#[tokio::test]
async fn a_closed_place_gives_back_what_it_held() {
    let test = TestBroker::new();
    fill(test.broker(), "q", &["a"]).await;
    let consumer = Consumer::open(test.broker(), &name("q")).await.unwrap();
    assert_eq!(consumer.receive(1, Duration::ZERO).await.unwrap().len(), 1);
    consumer.close(Held::Release).await.unwrap();
    assert_eq!(only_task(test.broker(), "q").await.state, State::Ready);
    let error = consumer.receive(1, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
