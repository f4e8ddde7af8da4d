//! A disk that fails when it is told to, and what the engine does then.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::block_on;
use tempfile::TempDir;
use tidegate_core::{
    Capacity, Driver, ErrorKind, Inspect, NewTask, QueueName, QueueSpec, ReceiveOptions,
    SessionOptions, Settled, State, Verdict,
};

use crate::disk::{Disk, DiskFile, DiskLock, RealDisk, Zeros};
use crate::driver::EngineDriver;
use crate::engine::Engine;
use crate::janitor::Janitor;
use crate::{Durability, Options};

/// What fails from now on.
#[derive(Debug, Default)]
struct Faults {
    writes: AtomicBool,
    syncs: AtomicBool,
    creates: AtomicBool,
    dir_syncs: AtomicBool,
}

impl Faults {
    fn check(&self, which: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
        if which.load(Ordering::SeqCst) { Err(kind.into()) } else { Ok(()) }
    }
}

#[derive(Debug, Clone)]
struct FaultyDisk(Arc<Faults>);

#[derive(Debug)]
struct FaultyFile(Arc<dyn DiskFile>, Arc<Faults>);

impl Disk for FaultyDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }

    fn create(&self, path: &Path, len: u64, zeros: Zeros) -> io::Result<Arc<dyn DiskFile>> {
        self.0.check(&self.0.creates, io::ErrorKind::StorageFull)?;
        Ok(Arc::new(FaultyFile(RealDisk.create(path, len, zeros)?, self.0.clone())))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile(RealDisk.open(path)?, self.0.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.check(&self.0.dir_syncs, io::ErrorKind::Other)?;
        RealDisk.sync_dir(path)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        RealDisk.lock(path, holder)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.check(&self.1.writes, io::ErrorKind::Other)?;
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.check(&self.1.syncs, io::ErrorKind::Other)?;
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

struct Rig {
    dir: TempDir,
    faults: Arc<Faults>,
    driver: EngineDriver,
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn task() -> NewTask {
    NewTask::new("kind", vec![7; 1_000])
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let driver = open(&dir, &faults);
    declare(&driver);
    Rig { dir, faults, driver }
}

fn declare(driver: &EngineDriver) {
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue()) };
    block_on(driver.declare(&spec)).unwrap();
}

fn options(dir: &TempDir) -> Options {
    Options { segment_bytes: 16 << 10, durability: Durability::Always, ..Options::new(dir.path()) }
}

fn open(dir: &TempDir, faults: &Arc<Faults>) -> EngineDriver {
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk(faults.clone()));
    EngineDriver::new(Arc::new(Engine::open(&options(dir), &disk).unwrap()))
}

fn send(driver: &EngineDriver) -> tidegate_core::Result<()> {
    let outcomes = block_on(driver.enqueue(&queue(), &[task()]))?;
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}

fn ready(driver: &EngineDriver) -> u64 {
    block_on(driver.stats(&queue())).unwrap().ready
}

/// The disk works again after the failure: an engine that tried again would go on, and would have
/// acknowledged what the disk never got.
#[test]
fn after_a_failed_sync_nothing_is_ever_acknowledged() {
    let Rig { dir, faults, driver } = rig();
    send(&driver).unwrap();
    faults.syncs.store(true, Ordering::SeqCst);
    assert_eq!(send(&driver).unwrap_err().kind(), ErrorKind::Poisoned);
    faults.syncs.store(false, Ordering::SeqCst);
    let refused = send(&driver).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned);
    assert!(refused.to_string().contains("start again"), "{refused}");
    assert_eq!(block_on(driver.stats(&queue())).unwrap_err().kind(), ErrorKind::Poisoned);
    let session = block_on(driver.open(&queue(), &SessionOptions::default()));
    assert_eq!(session.unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(driver.close()).unwrap_err().kind(), ErrorKind::Poisoned);
    drop(driver);
    assert!(ready(&open(&dir, &faults)) >= 1, "what was acknowledged before is there");
}

/// The same where the flusher's thread syncs for the caller, who may not block.
#[test]
fn after_a_failed_sync_by_the_flusher_nothing_is_ever_acknowledged() {
    let Rig { dir, faults, driver } = rig();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { send(&driver) }).unwrap();
    faults.syncs.store(true, Ordering::SeqCst);
    let refused = runtime.block_on(driver.enqueue(&queue(), &[task()])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned);
    faults.syncs.store(false, Ordering::SeqCst);
    let refused = runtime.block_on(driver.enqueue(&queue(), &[task()])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned);
    drop(driver);
    assert!(ready(&open(&dir, &faults)) >= 1, "what was acknowledged before is there");
}

/// Nobody waits for the sync of a lease; when it fails, the next answer is `Poisoned` all the same.
#[test]
fn a_failed_sync_that_nobody_waits_for_poisons_too() {
    let Rig { dir: _dir, faults, driver } = rig();
    send(&driver).unwrap();
    let session = block_on(driver.open(&queue(), &SessionOptions::default())).unwrap();
    faults.syncs.store(true, Ordering::SeqCst);
    let leases = block_on(session.receive(&ReceiveOptions::up_to(1))).unwrap();
    assert_eq!(leases.len(), 1);
    let poisoned = (0..1_000).any(|_| {
        std::thread::park_timeout(std::time::Duration::from_millis(10));
        block_on(driver.stats(&queue())).is_err_and(|error| error.kind() == ErrorKind::Poisoned)
    });
    assert!(poisoned, "the flusher has not seen that its sync failed");
    faults.syncs.store(false, Ordering::SeqCst);
    let settled = block_on(session.settle(&[(leases[0].token.clone(), Verdict::Complete)]));
    assert_eq!(settled.unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn after_a_failed_write_nothing_is_ever_acknowledged() {
    let Rig { dir, faults, driver } = rig();
    send(&driver).unwrap();
    faults.writes.store(true, Ordering::SeqCst);
    assert_eq!(send(&driver).unwrap_err().kind(), ErrorKind::Poisoned);
    faults.writes.store(false, Ordering::SeqCst);
    assert_eq!(send(&driver).unwrap_err().kind(), ErrorKind::Poisoned);
    drop(driver);
    assert_eq!(ready(&open(&dir, &faults)), 1);
}

/// The same for the directory: the name of a new segment may not be on the disk although the next
/// sync succeeds.
#[test]
fn after_a_failed_sync_of_the_directory_nothing_is_ever_acknowledged() {
    let Rig { dir, faults, driver } = rig();
    faults.dir_syncs.store(true, Ordering::SeqCst);
    let mut sent = 0;
    let refused = loop {
        match send(&driver) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000, "no segment was begun");
    };
    assert_eq!(refused.kind(), ErrorKind::Poisoned, "{refused}");
    faults.dir_syncs.store(false, Ordering::SeqCst);
    assert_eq!(send(&driver).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(block_on(driver.close()).unwrap_err().kind(), ErrorKind::Poisoned);
    drop(driver);
    assert_eq!(ready(&open(&dir, &faults)), sent, "what was acknowledged before is there");
}

/// What could not be copied of the oldest segment is copied later, and the segment is kept until
/// then.
#[test]
fn a_copy_that_failed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let options = options(&dir);
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk(faults.clone()));
    let engine = Arc::new(Engine::open_unattended(&options, &disk, [7; 16]).unwrap());
    let driver = EngineDriver::new(engine.clone());
    declare(&driver);
    let kept = 20;
    (0..kept).for_each(|_| send(&driver).unwrap());
    let session = block_on(driver.open(&queue(), &SessionOptions::default())).unwrap();
    let held = block_on(session.receive(&ReceiveOptions::up_to(kept))).unwrap();
    assert_eq!(held.len(), kept);
    for _ in 0..150 {
        send(&driver).unwrap();
        let leases = block_on(session.receive(&ReceiveOptions::up_to(1))).unwrap();
        let _ = block_on(session.settle(&[(leases[0].token.clone(), Verdict::Complete)])).unwrap();
    }
    let stop = AtomicBool::new(false);
    let mut janitor = Janitor::new(&engine.shell, &stop);
    let oldest = |engine: &Engine| engine.shell.lock().log.oldest().unwrap().id;
    assert_eq!(oldest(&engine), 1);
    faults.creates.store(true, Ordering::SeqCst);
    block_on(janitor.step());
    assert_eq!(oldest(&engine), 1, "the copy is larger than a segment and finds no file");
    faults.creates.store(false, Ordering::SeqCst);
    (0..3).for_each(|_| block_on(janitor.step()));
    assert!(oldest(&engine) > 1, "the log is cleaned");
    drop(janitor);
    drop((session, driver, engine));
    assert_eq!(ready(&open(&dir, &faults)), kept as u64);
}

/// What one reads of a segment is what stood there when it was looked up, however long that takes.
#[test]
fn a_file_is_not_used_again_while_somebody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engine = Arc::new(Engine::open_unattended(&options(&dir), &disk, [7; 16]).unwrap());
    let driver = EngineDriver::new(engine.clone());
    declare(&driver);
    let session = block_on(driver.open(&queue(), &SessionOptions::default())).unwrap();
    let churn = || {
        for _ in 0..150 {
            send(&driver).unwrap();
            let leases = block_on(session.receive(&ReceiveOptions::up_to(1))).unwrap();
            let verdicts = [(leases[0].token.clone(), Verdict::Complete)];
            let _ = block_on(session.settle(&verdicts)).unwrap();
        }
    };
    churn();
    let read = engine.shell.lock().log.oldest().unwrap().clone();
    let content = || {
        let mut bytes = vec![0; read.size as usize];
        read.file.read_at(&mut bytes, 0).unwrap();
        bytes
    };
    let before = content();
    let stop = AtomicBool::new(false);
    let mut janitor = Janitor::new(&engine.shell, &stop);
    for _ in 0..3 {
        block_on(janitor.step());
        churn();
    }
    assert!(engine.shell.lock().log.oldest().unwrap().id > read.id, "the log is cleaned");
    assert!(content() == before, "somebody else's frames are in it");
}

/// On a full disk sends are refused, and every task that is there can still be settled. When space
/// returns, so do sends, without a restart.
#[test]
fn on_a_full_disk_tasks_are_still_settled() {
    let Rig { dir: _dir, faults, driver } = rig();
    faults.creates.store(true, Ordering::SeqCst);
    let mut sent = 0;
    let refused = loop {
        match send(&driver) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 10_000, "sends are never refused");
    };
    assert_eq!(refused.kind(), ErrorKind::DiskFull);
    assert!(refused.is_retryable());
    assert!(refused.to_string().contains("free some space"), "{refused}");

    let session = block_on(driver.open(&queue(), &SessionOptions::default())).unwrap();
    let mut settled = 0;
    loop {
        let leases = block_on(session.receive(&ReceiveOptions::up_to(1))).unwrap();
        let Some(lease) = leases.into_iter().next() else { break };
        let outcomes = block_on(session.settle(&[(lease.token, Verdict::Complete)])).unwrap();
        assert_eq!(outcomes, [Settled::Done { state: State::Done }]);
        settled += 1;
    }
    assert_eq!(settled, sent);

    faults.creates.store(false, Ordering::SeqCst);
    for _ in 0..100 {
        if send(&driver).is_ok() {
            return;
        }
        // The janitor looks every second; it is told to look at once.
        driver.engine.shell.janitor.notify(1);
        std::thread::yield_now();
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    panic!("sends are refused though there is room");
}
