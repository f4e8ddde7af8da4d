//! What an open refuses, and what it says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tidegate_core::{
    Broker, DeadFilter, ErrorKind, ListOptions, NewTask, QueueName, QueueSpec, ReceiveOptions,
    Result, SessionOptions,
};
use tidegate_engine::{Durability, Options};

fn queue() -> QueueName {
    QueueName::new("mail").unwrap()
}

fn options(dir: &TempDir) -> Options {
    Options { segment_bytes: 16 << 10, ..Options::new(dir.path()) }
}

async fn open(dir: &TempDir) -> Result<Broker> {
    tidegate_engine::open(options(dir)).await
}

/// A directory with this many tasks of 1,000 bytes, closed.
async fn filled(tasks: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(&dir).await.unwrap();
    broker.declare(&QueueSpec::new(queue())).await.unwrap();
    for number in 0..tasks {
        let payload = vec![number as u8; 1_000];
        broker.enqueue_one(&queue(), NewTask::new("kind", payload)).await.unwrap();
    }
    broker.close().await.unwrap();
    dir
}

async fn payloads(broker: &Broker) -> Vec<usize> {
    let all = ListOptions { state: None, after: None, limit: usize::MAX };
    let views = broker.inspect().unwrap().list(&queue(), &all).await.unwrap();
    views.iter().filter_map(|view| Some(usize::from(*view.task.payload.first()?))).collect()
}

fn segment(dir: &TempDir, id: u32) -> PathBuf {
    dir.path().join(format!("log/{id:010}.seg"))
}

#[tokio::test]
async fn a_second_open_is_told_who_holds_the_directory() {
    let dir = filled(1).await;
    let broker = open(&dir).await.unwrap();
    let refused = open(&dir).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    let holder = format!("process {}", std::process::id());
    assert!(refused.to_string().contains(&holder), "{refused}");
    assert!(refused.to_string().contains("stop it first"), "{refused}");
    broker.close().await.unwrap();
    open(&dir).await.unwrap();
}

#[tokio::test]
async fn a_log_of_a_newer_version_is_refused_and_left_alone() {
    let dir = filled(1).await;
    let path = segment(&dir, 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let refused = open(&dir).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Format);
    assert!(refused.to_string().contains("format version 2"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let dir = filled(60).await;
    fs::remove_file(segment(&dir, 2)).unwrap();
    let refused = open(&dir).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("0000000002.seg"), "{refused}");
}

#[tokio::test]
async fn a_damaged_frame_takes_only_its_own_tasks_with_it() {
    let dir = filled(60).await;
    let path = segment(&dir, 2);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let broker = open(&dir).await.unwrap();
    let left = payloads(&broker).await;
    assert_eq!(left.len(), 59, "{left:?}");
    broker.close().await.unwrap();
    let again = open(&dir).await.unwrap();
    assert_eq!(payloads(&again).await, left);
}

#[tokio::test]
async fn a_damaged_header_takes_nothing_with_it() {
    let dir = filled(60).await;
    let path = segment(&dir, 2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let broker = open(&dir).await.unwrap();
    assert_eq!(payloads(&broker).await.len(), 60);
}

/// The first frame of a segment is what tells that there is one: of the oldest, what its number is;
/// of the newest, that the log goes on there.
#[tokio::test]
async fn a_damaged_first_frame_takes_no_task_with_it() {
    let dir = filled(60).await;
    let files: Vec<Vec<u8>> = (1..=5).map(|id| fs::read(segment(&dir, id)).unwrap()).collect();
    assert!(!segment(&dir, 6).exists());
    for damaged in 1..=5 {
        for (id, bytes) in (1..).zip(&files) {
            fs::write(segment(&dir, id), bytes).unwrap();
        }
        let mut bytes = files[damaged - 1].clone();
        bytes[70] ^= 1;
        fs::write(segment(&dir, damaged as u32), bytes).unwrap();
        let (broker, found) = tidegate_engine::open_with_report(options(&dir)).await.unwrap();
        assert_eq!(payloads(&broker).await.len(), 60, "segment {damaged}");
        let segments: Vec<u32> = found.damage.iter().map(|damage| damage.segment).collect();
        assert_eq!(segments.len(), 1, "segment {damaged}: {found:?}");
        drop(broker);
        for id in 6..10 {
            let _ = fs::remove_file(segment(&dir, id));
        }
    }
}

#[tokio::test]
async fn an_empty_segment_is_damage_and_no_more() {
    let dir = filled(60).await;
    fs::write(segment(&dir, 2), "").unwrap();
    let (broker, found) = tidegate_engine::open_with_report(options(&dir)).await.unwrap();
    assert_eq!(found.damage.len(), 1, "{found:?}");
    let left = payloads(&broker).await.len();
    assert!((40..60).contains(&left), "{left} of 60 tasks are left");
}

/// The first frame of a segment repeats what was said before, so its damage costs nothing: neither
/// where nothing comes before it, nor where nothing comes after its segment.
#[tokio::test]
async fn a_damaged_first_frame_takes_nothing_with_it() {
    let mut id = 1;
    loop {
        let dir = filled(60).await;
        let Ok(mut bytes) = fs::read(segment(&dir, id)) else { break };
        bytes[64 + 20] ^= 1;
        fs::write(segment(&dir, id), &bytes).unwrap();
        let broker = open(&dir).await.unwrap();
        assert_eq!(payloads(&broker).await.len(), 60, "segment {id}");
        id += 1;
    }
    assert!(id > 3, "there are several segments");
}

/// Two places are damaged, one behind the other: what lies between them is served.
#[tokio::test]
async fn what_lies_between_two_damaged_frames_is_served() {
    let dir = filled(60).await;
    let mut bytes = fs::read(segment(&dir, 1)).unwrap();
    let third = bytes.windows(100).position(|window| window == [2; 100]).unwrap();
    bytes[third] ^= 1;
    fs::write(segment(&dir, 1), &bytes).unwrap();
    let mut bytes = fs::read(segment(&dir, 2)).unwrap();
    bytes[64 + 20] ^= 1;
    fs::write(segment(&dir, 2), &bytes).unwrap();
    let broker = open(&dir).await.unwrap();
    assert_eq!(payloads(&broker).await.len(), 59);
}

/// Of a log with one segment, its header alone tells what log it is of. A bit that flipped in it is
/// mended, whichever it is.
#[tokio::test]
async fn a_flipped_bit_in_the_header_of_the_only_segment_takes_nothing_with_it() {
    let dir = filled(3).await;
    let path = segment(&dir, 1);
    let sound = fs::read(&path).unwrap();
    for place in [0, 8, 12, 20, 40, 60] {
        let mut bytes = sound.clone();
        bytes[place] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let (broker, found) = tidegate_engine::open_with_report(options(&dir)).await.unwrap();
        assert_eq!(payloads(&broker).await, [0, 1, 2], "byte {place}");
        assert_eq!(found.damage, [], "byte {place}");
    }
}

/// Where the header is gone for good, the log is refused: taking it for no log would begin a new one
/// in its place.
#[tokio::test]
async fn a_lost_header_of_the_only_segment_is_not_taken_for_no_log() {
    let dir = filled(3).await;
    let path = segment(&dir, 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20..28].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let refused = open(&dir).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("0000000001.seg"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
}

/// A frame that no later frame says was synced was never acknowledged: it may go, and what is
/// written next must not be followed by what lay behind it.
#[tokio::test]
async fn a_torn_tail_is_cut_off_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(&dir).await.unwrap();
    broker.declare(&QueueSpec::new(queue())).await.unwrap();
    for number in 0..5_u8 {
        broker.enqueue_one(&queue(), NewTask::new("kind", vec![number; 1_000])).await.unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("log")).unwrap();
    for entry in fs::read_dir(dir.path().join("log")).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, copy.path().join("log").join(from.file_name().unwrap())).unwrap();
    }
    let path = segment(&copy, 1);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.windows(100).rposition(|window| window == [4; 100]).unwrap();
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let broker = open(&copy).await.unwrap();
    assert_eq!(payloads(&broker).await, [0, 1, 2, 3]);
    broker.enqueue_one(&queue(), NewTask::new("kind", vec![9; 1_000])).await.unwrap();
    broker.close().await.unwrap();
    let again = open(&copy).await.unwrap();
    assert_eq!(payloads(&again).await, [0, 1, 2, 3, 9]);
}

/// A file that was made and never synced may be empty after a power cut.
#[tokio::test]
async fn an_empty_segment_is_passed_over() {
    let dir = filled(3).await;
    fs::write(segment(&dir, 2), "").unwrap();
    let broker = open(&dir).await.unwrap();
    assert_eq!(payloads(&broker).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_file_in_the_directory_s_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = tidegate_engine::open(Options::new(&file)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("file"), "{refused}");
}

/// What is damaged while the engine runs is seen when it is read: that task is dead and says why.
#[tokio::test]
async fn a_task_that_is_damaged_on_the_disk_becomes_a_dead_letter() {
    let dir = filled(3).await;
    let broker = open(&dir).await.unwrap();
    let path = segment(&dir, 1);
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes.windows(100).position(|window| window == [1; 100]).unwrap();
    bytes[second] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let receiver = broker.open(&queue(), &SessionOptions::default()).await.unwrap();
    let leases = receiver.receive(&ReceiveOptions::up_to(3)).await.unwrap();
    let received: Vec<u8> = leases.iter().map(|lease| lease.task.payload[0]).collect();
    assert_eq!(received, [0, 2]);
    let dead = broker.inspect().unwrap().dead(&queue(), &DeadFilter::default()).await.unwrap();
    let reason = &dead[0].dead_letter.as_ref().unwrap().reason;
    assert!(reason.contains("damaged on the disk (segment 1"), "{reason}");
}

/// Behind a torn frame lies a sound one that was never acknowledged either. The frame of the next open
/// takes the torn one's number, so the sound one would be the next, if it was not erased.
#[tokio::test]
async fn what_lay_behind_a_torn_frame_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { durability: Durability::Never, ..options(&dir) };
    fill_unsynced(&dir, 5).await;
    let path = segment(&dir, 1);
    let mut bytes = fs::read(&path).unwrap();
    let torn = bytes.windows(100).position(|window| window == [3; 100]).unwrap();
    bytes[torn] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let broker = tidegate_engine::open(options()).await.unwrap();
        assert_eq!(payloads(&broker).await, [0, 1, 2]);
    }
}

/// Fills a log that is never synced, and ends like a kill.
async fn fill_unsynced(dir: &TempDir, tasks: u8) {
    let options = Options { durability: Durability::Never, ..options(dir) };
    let broker = tidegate_engine::open(options).await.unwrap();
    broker.declare(&QueueSpec::new(queue())).await.unwrap();
    for number in 0..tasks {
        broker.enqueue_one(&queue(), NewTask::new("kind", vec![number; 1_000])).await.unwrap();
    }
}

/// Tears the body of every frame of a segment, and leaves the headers as they are.
fn tear(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let mut at = 64;
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(&[0x54, 0x67])) {
        let len = bytes.get(at + 4..).and_then(|rest| rest.first_chunk()).unwrap();
        let body = at + 36;
        at = body + u32::from_le_bytes(*len) as usize;
        *bytes.get_mut(body).unwrap() ^= 1;
    }
    fs::write(path, &bytes).unwrap();
}

/// A power cut may leave the headers of frames behind the end, but none of their bodies, and an open
/// may end while it makes spares of such segments. The next one must not ask for those that are gone.
#[tokio::test]
async fn torn_frames_behind_the_end_do_not_ask_for_segments_before_them() {
    let dir = tempfile::tempdir().unwrap();
    fill_unsynced(&dir, 60).await;
    fs::rename(segment(&dir, 2), dir.path().join("log/spare-0000000099")).unwrap();
    for id in (3..).take_while(|id| segment(&dir, *id).exists()) {
        tear(&segment(&dir, id));
    }
    let left = payloads(&open(&dir).await.unwrap()).await;
    assert!((5..20).contains(&left.len()), "{left:?}");
}

/// A power cut may take back the name of a segment that nobody synced, and leave what is in it. Its
/// number is given out again, so nothing that is found in it may be read then.
#[tokio::test]
async fn a_segment_that_lost_its_name_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    fill_unsynced(&dir, 30).await;
    assert!(segment(&dir, 2).exists() && segment(&dir, 3).exists());
    for id in (2..).take_while(|id| segment(&dir, *id).exists()) {
        let spare = dir.path().join(format!("log/spare-{:010}", 90 + id));
        fs::rename(segment(&dir, id), spare).unwrap();
    }
    let options = Options { durability: Durability::Never, ..options(&dir) };
    let broker = tidegate_engine::open(options).await.unwrap();
    let left = payloads(&broker).await.len();
    let entries = fs::read_dir(dir.path().join("log")).unwrap();
    let spares =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path != &segment(&dir, 1));
    for path in spares {
        let bytes = fs::read(&path).unwrap();
        let task = (left..30).find(|n| bytes.windows(1_000).any(|w| w == [*n as u8; 1_000]));
        assert!(left > 0 && task.is_none(), "{}: {task:?}", path.display());
    }
}

/// The janitor may be waiting for a sync when the last handle goes, so the flusher must outlive it.
#[test]
fn a_drop_without_a_close_ends_while_the_log_is_cleaned() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..100 {
            runtime.block_on(async {
                let broker = open(&dir).await.unwrap();
                broker.declare(&QueueSpec::new(queue())).await.unwrap();
                let tasks = (0..30).map(|_| NewTask::new("kind", vec![7; 1_000]));
                broker.enqueue(&queue(), &tasks.collect::<Vec<_>>()).await.unwrap();
                broker.admin().unwrap().purge(&queue()).await.unwrap();
            });
        }
        done.send(()).unwrap();
    });
    let waited = ended.recv_timeout(std::time::Duration::from_secs(60));
    assert!(waited.is_ok(), "dropping the broker never ended");
}
