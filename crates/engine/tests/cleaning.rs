//! The log is cleaned from its oldest end, and nothing that is needed is lost by it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scenes;

use std::time::Duration;

use scenes::{churn_until_cleaned, done, everything, name, open, segments, stragglers};
use tidegate_core::{ManualClock, NewTask, QueueSpec, SessionOptions, Unique};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_needed_outlives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let broker = open(dir.path(), &clock).await;
    let leases = stragglers(&broker).await;
    let before = everything(&broker).await;

    churn_until_cleaned(&broker, dir.path()).await;
    let admin = broker.admin().unwrap();
    admin.delete(&name("churn")).await.unwrap();
    assert_eq!(everything(&broker).await, before, "after cleaning");

    // Cleaning copies the copies too.
    churn_until_cleaned(&broker, dir.path()).await;
    broker.admin().unwrap().delete(&name("churn")).await.unwrap();
    assert_eq!(everything(&broker).await, before, "after cleaning again");

    broker.close().await.unwrap();
    let broker = open(dir.path(), &clock).await;
    assert_eq!(everything(&broker).await, before, "after a restart");
    let once = NewTask::new("once", "").dedup("window", Unique::Window(Duration::from_secs(3_600)));
    assert!(broker.enqueue_one(&name("plain"), once).await.unwrap().deduplicated);
    let until = NewTask::new("stays", "").dedup("until 8", Unique::UntilDone);
    assert!(broker.enqueue_one(&name("plain"), until).await.unwrap().deduplicated);
    for (queue, lease) in leases {
        let receiver = broker.open(&queue, &SessionOptions::default()).await.unwrap();
        let settled = receiver.complete(&lease).await.unwrap();
        assert_eq!(settled, done(tidegate_core::State::Done), "a token from before");
    }
    broker.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_about_as_large_as_what_lives() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let broker = open(dir.path(), &clock).await;
    broker.declare(&QueueSpec::new(name("q"))).await.unwrap();
    for _ in 0..3 {
        churn_until_cleaned(&broker, dir.path()).await;
    }
    // Four segments of slack, the tail, and what the janitor has not come to yet.
    let most = 40;
    let count = segments(dir.path()).len();
    assert!(count <= most, "{count} segments for an empty queue");
    broker.close().await.unwrap();
}
