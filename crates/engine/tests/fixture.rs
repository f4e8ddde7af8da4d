//! A log that format version 1 wrote opens for ever, and says the same.
//!
//! `TIDEGATE_WRITE_FIXTURE=1 cargo test -p tidegate-engine --test fixture` writes it anew. Only for
//! a new format version, beside the old ones: what is here was written once and stays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod scenes;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scenes::{churn_until_cleaned, everything, name, open, stragglers};
use tidegate_core::{DeadFilter, ManualClock, NewTask, QueueSpec, TaskId, Unique};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

/// Copies the segments; spares hold nothing.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        if from.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
}

/// Every kind of record: the tasks that stay, copied by cleaning, then what changes queues.
async fn write(dir: &Path, clock: &ManualClock) -> String {
    let broker = open(dir, clock).await;
    stragglers(&broker).await;
    churn_until_cleaned(&broker, dir).await;
    let admin = broker.admin().unwrap();
    admin.delete(&name("churn")).await.unwrap();
    broker.declare(&QueueSpec::new(name("purged"))).await.unwrap();
    broker.enqueue_one(&name("purged"), NewTask::new("gone", "")).await.unwrap();
    admin.purge(&name("purged")).await.unwrap();
    admin.pause(&name("purged"), true).await.unwrap();
    let one = DeadFilter { limit: Some(1), reason: None };
    admin.redrive(&name("plain"), &one).await.unwrap();
    admin.purge_dead(&name("moving"), &one).await.unwrap();
    let mut last = NewTask::new("last", vec![0, 255]).dedup("x", Unique::Window(YEAR));
    last.id = TaskId::from_bytes([2; 16]);
    broker.enqueue_one(&name("plain"), last).await.unwrap();
    let expected = everything(&broker).await;
    broker.close().await.unwrap();
    expected
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_format_version_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    if std::env::var_os("TIDEGATE_WRITE_FIXTURE").is_some() {
        let expected = write(dir.path(), &clock).await;
        let _ = fs::remove_dir_all(fixture());
        copy(&dir.path().join("log"), &fixture().join("log"));
        fs::write(fixture().join("expected.txt"), expected).unwrap();
        return;
    }
    copy(&fixture().join("log"), &dir.path().join("log"));
    let expected = fs::read_to_string(fixture().join("expected.txt")).unwrap();
    let broker = open(dir.path(), &clock).await;
    assert_eq!(everything(&broker).await, expected);
    let again = NewTask::new("last", "").dedup("x", Unique::Window(YEAR));
    assert!(broker.enqueue_one(&name("plain"), again).await.unwrap().deduplicated);
    broker.close().await.unwrap();
}
