//! What the log says that a power cut has partly taken. Nothing syncs here but the tests themselves,
//! and the cut is made by hand: zeros in place of what the disk never got.

use std::sync::Arc;

use futures_lite::future::{block_on, poll_once};
use tempfile::TempDir;
use tidegate_core::{
    Driver, Inspect, NewTask, Operation, QueueName, QueueSpec, ReceiveOptions, SessionOptions,
    Verdict,
};

use crate::Options;
use crate::disk::{Disk, RealDisk};
use crate::driver::EngineDriver;
use crate::engine::Engine;
use crate::log::segment::segment_path;
use crate::position::Position;

const SEGMENT_BYTES: u32 = 16 << 10;

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn task() -> NewTask {
    NewTask::new("kind", vec![7; 1_000])
}

fn open(dir: &TempDir) -> EngineDriver {
    let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::new(dir.path()) };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engine = Engine::open_unattended(&options, &disk, [7; 16]);
    EngineDriver::new(Arc::new(engine.unwrap()))
}

fn end(driver: &EngineDriver) -> Position {
    driver.engine.shell.lock().log.end()
}

/// Sends a task, receives and completes it, all of it synced.
fn live_and_die(driver: &EngineDriver) {
    block_on(driver.enqueue(&queue(), &[task()])).unwrap();
    let session = block_on(driver.open(&queue(), &SessionOptions::default())).unwrap();
    let lease = block_on(session.receive(&ReceiveOptions::up_to(1))).unwrap().remove(0);
    let _ = block_on(session.settle(&[(lease.token, Verdict::Complete)])).unwrap();
}

/// Fills three segments with tasks that are gone, and another one with sends that nobody syncs; then
/// says in a fourth, unsynced as well, that the first three are not needed. Returns where the first
/// send that is not synced begins.
fn fill_and_give_up(driver: &EngineDriver) -> Position {
    block_on(driver.declare(&QueueSpec::new(queue()))).unwrap();
    while end(driver).segment() < 4 {
        live_and_die(driver);
    }
    let unsynced = end(driver);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        while end(driver).segment() == unsynced.segment() {
            let sent = poll_once(driver.enqueue(&queue(), &[task()])).await;
            assert!(sent.is_none(), "it was answered without a sync");
        }
    });
    let shell = &driver.engine.shell;
    let given_up = shell.command(Operation::Administer, 64, |core| {
        core.effect(|state, frame| state.raise_floor(unsynced.segment(), frame));
        Ok(core.log.end())
    });
    shell.commit.write(shell, given_up.unwrap(), Operation::Administer).unwrap();
    unsynced
}

/// The power cut takes the rest of a segment, and nothing of the next one.
fn cut(dir: &TempDir, from: Position) {
    let path = segment_path(&dir.path().join("log"), from.segment());
    let file = RealDisk.open(&path).unwrap();
    let lost = vec![0; (SEGMENT_BYTES - from.offset()) as usize];
    file.write_at(&lost, u64::from(from.offset())).unwrap();
}

/// A frame beyond the log's end is erased. What was given up on its word would be missed by the open
/// after that.
#[test]
fn a_segment_is_not_given_up_on_the_word_of_a_frame_that_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(&dir);
    let unsynced = fill_and_give_up(&driver);
    drop(driver);
    cut(&dir, unsynced);
    for time in ["first", "second"] {
        let driver = open(&dir);
        assert!(driver.engine.found.damage.is_empty(), "the {time} open");
        assert!(end(&driver) > unsynced, "an epoch follows, the {time} open");
        assert_eq!(end(&driver).segment(), unsynced.segment(), "the {time} open");
        assert_eq!(block_on(driver.stats(&queue())).unwrap().ready, 0, "the {time} open");
        live_and_die(&driver);
    }
}
