//! An answer leaves when what it depends on is durable, and not before; and what is not written yet is
//! not taken for gone. Nothing syncs here but the tests themselves, one excepted: the engine has no threads,
//! and its callers may not block.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use tempfile::TempDir;
use tidegate_core::{
    Admin, Driver, Enqueued, ManualClock, NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions,
    Session, SessionOptions, Unique, Verdict, queueing,
};

use crate::Options;
use crate::disk::{Disk, RealDisk};
use crate::driver::EngineDriver;
use crate::engine::Engine;
use crate::janitor::Janitor;
use crate::shell::Shell;

struct Rig {
    dir: TempDir,
    clock: ManualClock,
    driver: EngineDriver,
    queue: QueueName,
}

fn open(dir: &TempDir, clock: &ManualClock) -> EngineDriver {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock = Arc::new(clock.clone());
    // WHY: less than a declaration reserves, so that its segment is more than the log should hold.
    let options = Options { segment_bytes: 1 << 10, clock, ..Options::new(dir.path()) };
    EngineDriver::new(Arc::new(Engine::open_unattended(&options, &disk, [7; 16]).unwrap()))
}

impl Rig {
    async fn new() -> Self {
        Self::with(Ordering::Key).await
    }

    async fn with(ordering: Ordering) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let driver = open(&dir, &clock);
        let rig = Self { dir, clock, driver, queue: QueueName::new("q").unwrap() };
        let spec = QueueSpec { ordering, ..QueueSpec::new(rig.queue.clone()) };
        rig.synced(rig.driver.declare(&spec)).await.unwrap();
        rig
    }

    fn sync(&self) {
        let shell = &self.driver.engine.shell;
        shell.commit.sync_for(shell).unwrap();
    }

    /// Does something and makes it durable.
    async fn synced<T>(&self, doing: impl Future<Output = T>) -> T {
        let mut doing = pin!(doing);
        loop {
            if let Some(done) = poll_once(&mut doing).await {
                return done;
            }
            self.sync();
        }
    }

    async fn send(&self, task: NewTask) -> Enqueued {
        let sent = self.driver.enqueue(&self.queue, std::slice::from_ref(&task)).await.unwrap();
        sent.into_iter().next().unwrap().unwrap()
    }

    async fn session(&self) -> Arc<dyn Session> {
        self.driver.open(&self.queue, &SessionOptions::default()).await.unwrap()
    }
}

/// Polls more often than any step of an answer yields. It must wait all the same.
async fn assert_waits<F: Future>(mut answer: Pin<&mut F>) {
    for _ in 0..10 {
        assert!(poll_once(&mut answer).await.is_none(), "it did not wait");
    }
}

fn task() -> NewTask {
    NewTask::new("kind", "payload").ordering_key("key")
}

/// The epoch is part of every fence: one that a power cut could take back could be used again.
#[tokio::test]
async fn an_open_ends_with_its_epoch_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engine = Engine::open_unattended(&Options::new(dir.path()), &disk, [7; 16]).unwrap();
    let end = engine.shell.lock().log.end();
    assert_eq!(engine.shell.commit.synced(), end);
}

#[tokio::test]
async fn a_send_is_answered_when_it_is_durable() {
    let rig = Rig::new().await;
    let mut sent = pin!(rig.send(task()));
    assert_waits(sent.as_mut()).await;
    rig.sync();
    assert!(poll_once(sent).await.is_some());
}

#[tokio::test]
async fn a_task_is_handed_out_when_its_send_is_durable() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    let mut sent = pin!(rig.send(task()));
    assert_waits(sent.as_mut()).await;
    let options = ReceiveOptions::up_to(1);
    let mut received = pin!(session.receive(&options));
    assert_waits(received.as_mut()).await;
    rig.sync();
    assert_eq!(poll_once(received).await.unwrap().unwrap().len(), 1);
}

/// A sync can take longer than a lease: the task comes back, and its send is no more durable than it
/// was.
#[tokio::test]
async fn a_task_whose_lease_ended_is_handed_out_again_when_its_send_is_durable() {
    let unkeyed = || NewTask::new("kind", "payload");
    let cases = [(Ordering::None, unkeyed()), (Ordering::Key, task()), (Ordering::Key, unkeyed())];
    for (ordering, task) in cases {
        let rig = Rig::with(ordering).await;
        let session = rig.session().await;
        let mut sent = pin!(rig.send(task));
        assert_waits(sent.as_mut()).await;
        let options = ReceiveOptions::up_to(1).leased_for(Duration::from_millis(20));
        let mut first = pin!(session.receive(&options));
        assert_waits(first.as_mut()).await;
        rig.clock.advance(Duration::from_millis(20));
        let mut second = pin!(session.receive(&options));
        assert_waits(second.as_mut()).await;
        rig.sync();
        assert_eq!(poll_once(second).await.unwrap().unwrap().len(), 1);
    }
}

/// The log has gone on in the next segment before the last frames of the one before were written.
#[tokio::test]
async fn a_segment_is_cleaned_only_when_all_of_it_is_written() {
    let rig = Rig::new().await;
    let churn = QueueName::new("churn").unwrap();
    rig.synced(rig.driver.declare(&QueueSpec::new(churn.clone()))).await.unwrap();
    {
        let shell = &rig.driver.engine.shell;
        let stop = AtomicBool::new(false);
        let mut janitor = Janitor::new(shell, &stop);
        rig.synced(janitor.step()).await;
        let tail = shell.lock().log.end().segment();
        assert!(shell.lock().log.oldest().is_none(), "there is more than the tail");
        let mut kept = pin!(rig.send(task()));
        assert_waits(kept.as_mut()).await;
        while shell.lock().log.end().segment() == tail {
            let large = [NewTask::new("kind", vec![7; 1_000])];
            assert!(poll_once(rig.driver.enqueue(&churn, &large)).await.is_none());
        }
        assert!(poll_once(rig.driver.purge(&churn)).await.is_none());
        rig.synced(janitor.step()).await;
        let oldest = shell.lock().log.oldest().map(|oldest| oldest.id);
        assert!(oldest.is_none_or(|oldest| oldest > tail), "it was not cleaned");
        assert!(poll_once(kept).await.is_some());
    }
    let Rig { dir, clock, driver, queue: _ } = rig;
    drop(driver);
    let again = open(&dir, &clock);
    assert_eq!(again.engine.shell.lock().state.tasks(), 1, "a task of the segment is gone");
}

#[tokio::test]
async fn a_successor_is_handed_out_when_its_predecessors_end_is_durable() {
    let rig = Rig::new().await;
    let session = rig.session().await;
    rig.synced(rig.send(task())).await;
    let second = rig.synced(rig.send(task())).await;
    let options = ReceiveOptions::up_to(1);
    let first = rig.synced(session.receive(&options)).await.unwrap().remove(0);
    let verdicts = [(first.token, Verdict::Complete)];
    let mut completed = pin!(session.settle(&verdicts));
    assert_waits(completed.as_mut()).await;
    let mut received = pin!(session.receive(&options));
    assert_waits(received.as_mut()).await;
    rig.sync();
    assert!(poll_once(completed).await.is_some());
    let received = poll_once(received).await.unwrap().unwrap();
    assert_eq!(received[0].task.sequence, second.sequence);
}

#[tokio::test]
async fn a_duplicate_is_told_when_its_original_is_durable() {
    let rig = Rig::new().await;
    let once = || task().dedup("once", Unique::Window(Duration::from_secs(60)));
    let mut original = pin!(rig.send(once()));
    assert_waits(original.as_mut()).await;
    let mut duplicate = pin!(rig.send(once()));
    assert_waits(duplicate.as_mut()).await;
    rig.sync();
    let original = poll_once(original).await.unwrap();
    let duplicate = poll_once(duplicate).await.unwrap();
    assert!(duplicate.deduplicated);
    assert_eq!(duplicate.sequence, original.sequence);
}

/// Where others stand in line for its thread a caller leaves the sync to the flusher, and after a while of none
/// it syncs where it is again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_in_line_are_a_crowd() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(RealDisk) as Arc<dyn Disk>);
    let driver =
        EngineDriver::new(Arc::new(Engine::open(&Options::new(dir.path()), &disk).unwrap()));
    let queue = QueueName::new("q").unwrap();
    // WHY: the test's own thread, which no worker of the runtime takes over.
    let handle = tokio::runtime::Handle::current();
    let seen = std::thread::spawn(move || {
        let crowd = || driver.engine.shell.commit.knows_a_crowd();
        handle.block_on(driver.declare(&QueueSpec::new(queue.clone()))).unwrap();
        let mut seen = Vec::new();
        for together in [1, 2] {
            queueing::thread_is_idle();
            (0..together).for_each(|_| queueing::request_came());
            handle.block_on(driver.enqueue(&queue, &[task()])).unwrap();
            seen.push(crowd());
        }
        queueing::thread_is_idle();
        for _ in 0..100 {
            handle.block_on(driver.enqueue(&queue, &[task()])).unwrap();
        }
        seen.push(crowd());
        seen
    });
    assert_eq!(seen.join().unwrap(), [false, true, false]);
}

/// Notes at each wake whether all that was sent is durable.
struct DurableAtWake {
    shell: Arc<Shell>,
    seen: Mutex<Vec<bool>>,
}

impl Wake for DurableAtWake {
    fn wake(self: Arc<Self>) {
        let sent = self.shell.lock().effects_end;
        self.seen.lock().unwrap().push(self.shell.commit.synced() >= sent);
    }
}

/// One who is woken before would only find that it must wait for the sync, and be woken again.
#[test]
fn who_waits_is_woken_once_after_the_sync_of_a_lone_send() {
    let dir = tempfile::tempdir().unwrap();
    let driver = open(&dir, &ManualClock::new());
    let queue = QueueName::new("q").unwrap();
    block_on(driver.declare(&QueueSpec::new(queue.clone()))).unwrap();
    let session = block_on(driver.open(&queue, &SessionOptions::default())).unwrap();
    let options = ReceiveOptions::up_to(1).waiting(Duration::from_secs(60));
    let mut received = pin!(session.receive(&options));
    let wakes =
        Arc::new(DurableAtWake { shell: driver.engine.shell.clone(), seen: Mutex::default() });
    let waker = Waker::from(wakes.clone());
    assert!(received.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    block_on(driver.enqueue(&queue, &[task()])).unwrap();
    let handed_out = received.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(handed_out, Poll::Ready(Ok(leases)) if leases.len() == 1));
    assert_eq!(*wakes.seen.lock().unwrap(), [true]);
}

/// What a timer made available is durable already, and waits for no sync of a send that came by.
#[test]
fn who_waits_for_what_is_due_is_woken_before_the_sync_of_a_lone_send() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let driver = open(&dir, &clock);
    let [queue, other] = ["q", "other"].map(|name| QueueName::new(name).unwrap());
    for queue in [&queue, &other] {
        block_on(driver.declare(&QueueSpec::new(queue.clone()))).unwrap();
    }
    let second = Duration::from_secs(1);
    block_on(driver.enqueue(&queue, &[task().delay(second)])).unwrap();
    let session = block_on(driver.open(&queue, &SessionOptions::default())).unwrap();
    let options = ReceiveOptions::up_to(1).waiting(60 * second);
    let mut received = pin!(session.receive(&options));
    let wakes =
        Arc::new(DurableAtWake { shell: driver.engine.shell.clone(), seen: Mutex::default() });
    let waker = Waker::from(wakes.clone());
    assert!(received.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    clock.advance(second);
    block_on(driver.enqueue(&other, &[task()])).unwrap();
    assert_eq!(*wakes.seen.lock().unwrap(), [false]);
}

/// A receiver that waited is woken by the send and writes its lease: that is no crowd, and the next send syncs where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_picked_up_at_once_makes_no_crowd() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(RealDisk) as Arc<dyn Disk>);
    // WHY: with its threads, because a receiver that is quick enough leaves the sync to the flusher.
    let driver =
        EngineDriver::new(Arc::new(Engine::open(&Options::new(dir.path()), &disk).unwrap()));
    let queue = QueueName::new("q").unwrap();
    driver.declare(&QueueSpec::new(queue.clone())).await.unwrap();
    let session = driver.open(&queue, &SessionOptions::default()).await.unwrap();
    for _ in 0..20 {
        let receiving = {
            let session = session.clone();
            let options = ReceiveOptions::up_to(1).waiting(Duration::from_secs(60));
            tokio::spawn(async move { session.receive(&options).await.unwrap() })
        };
        while !driver.engine.shell.has_watchers() {
            tokio::task::yield_now().await;
        }
        driver.enqueue(&queue, &[task()]).await.unwrap();
        let leases = receiving.await.unwrap();
        let verdicts = [(leases[0].token.clone(), Verdict::Complete)];
        session.settle(&verdicts).await.unwrap();
        assert!(!driver.engine.shell.commit.knows_a_crowd());
    }
}
