//! A small log with several segments, and all that its clients know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate_core::{
    Broker, Capacity, NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions, Receiver,
    SessionOptions, TaskId, Unique, Verdict,
};
use tidegate_engine::Options;

use super::map::{Files, FrameAt, frames, segment_id};

/// The smallest there are.
const SEGMENT_BYTES: u32 = 16 << 10;
/// Tasks that are completed at once to fill segments.
const CHURN: usize = 20;

/// A log and what is to come out of it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) files: Files,
    pub(crate) frames: Vec<FrameAt>,
    pub(crate) truth: Truth,
}

/// What the clients know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Acknowledged and not completed, with all that was sent of each.
    pub(crate) live: BTreeMap<TaskId, (QueueName, NewTask)>,
    /// Acknowledged and completed.
    pub(crate) completed: BTreeMap<TaskId, (QueueName, NewTask)>,
}

impl Truth {
    /// What was sent as this task.
    pub(crate) fn sent(&self, id: &TaskId) -> Option<&(QueueName, NewTask)> {
        self.live.get(id).or_else(|| self.completed.get(id))
    }
}

pub(crate) fn options(dir: &Path) -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::new(dir) }
}

/// The first two are there from the beginning, the others are made in the middle and near the end.
pub(crate) fn queues() -> [QueueName; 4] {
    ["plain", "ordered", "later", "latest"].map(|name| QueueName::new(name).unwrap())
}

/// The same log twice: closed, and as a kill leaves it.
pub(crate) async fn scenes(dir: &Path) -> [Scene; 2] {
    let broker = tidegate_engine::open(options(dir)).await.unwrap();
    let mut work = Work::begin(&broker).await;
    work.keep(3).await;
    work.churn_until_cleaned(dir).await;
    work.keep(14).await;
    work.declare_and_keep(2).await;
    work.keep(14).await;
    work.decide().await;
    work.keep(16).await;
    work.declare_and_keep(3).await;
    work.keep(4).await;
    let killed = Scene::of("killed", dir, &work.truth);
    broker.close().await.unwrap();
    [Scene::of("closed", dir, &work.truth), killed]
}

impl Scene {
    fn of(name: &'static str, dir: &Path, truth: &Truth) -> Self {
        let files = read(dir);
        let frames = frames(&files);
        let segments: BTreeSet<_> = frames.iter().map(|frame| frame.file.clone()).collect();
        let named = files.keys().filter(|name| segment_id(name).is_some()).count();
        assert_eq!(segments.len(), named, "a segment without a frame");
        assert!(segments.len() >= 3, "{} segments are not several", segments.len());
        assert!(files.len() > named, "there is no spare");
        Self { name, files, frames, truth: truth.clone() }
    }
}

/// The files of the log in a data directory at one moment: read until nothing changed meanwhile.
fn read(dir: &Path) -> Files {
    loop {
        if let (Ok(files), Ok(again)) = (read_once(dir), read_once(dir))
            && files == again
        {
            return files;
        }
    }
}

fn read_once(dir: &Path) -> std::io::Result<Files> {
    names(dir)?.map(|name| Ok((name.clone(), fs::read(dir.join("log").join(name))?))).collect()
}

fn names(dir: &Path) -> std::io::Result<impl Iterator<Item = String>> {
    let entries = fs::read_dir(dir.join("log"))?;
    Ok(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()))
}

struct Work<'a> {
    broker: &'a Broker,
    receivers: [Receiver; 2],
    truth: Truth,
    sent: u32,
}

impl<'a> Work<'a> {
    async fn begin(broker: &'a Broker) -> Self {
        let [plain, ordered, ..] = queues();
        let capacity = Capacity::Unbounded;
        broker.declare(&QueueSpec { capacity, ..QueueSpec::new(plain.clone()) }).await.unwrap();
        let spec = QueueSpec { ordering: Ordering::Key, ..QueueSpec::new(ordered.clone()) };
        broker.declare(&spec).await.unwrap();
        let options = SessionOptions::default();
        let receivers = [
            broker.open(&plain, &options).await.unwrap(),
            broker.open(&ordered, &options).await.unwrap(),
        ];
        Self { broker, receivers, truth: Truth::default(), sent: 0 }
    }

    fn task(&mut self, bytes: usize) -> NewTask {
        self.sent += 1;
        let number = self.sent;
        let mut payload = format!("<task {number:05}>").into_bytes();
        payload.resize(bytes, number as u8);
        NewTask::new(format!("kind-{}", number % 3), payload).header("n", number.to_string())
    }

    /// Sends tasks that stay: one command each, to both queues in turn.
    async fn keep(&mut self, count: usize) {
        for n in 0..count {
            let task = self.task(100 + 41 * n);
            let queue = queues()[n % 2].clone();
            let task = match n % 4 {
                0 => task.priority(n as u8),
                2 => task.dedup(format!("dedup {n}"), Unique::UntilDone),
                _ => task.ordering_key(format!("key {}", n % 3)),
            };
            let sent = self.broker.enqueue_one(&queue, task.clone()).await.unwrap();
            assert!(!sent.deduplicated || self.truth.live.contains_key(&sent.id));
            if !sent.deduplicated {
                self.truth.live.insert(sent.id, (queue, task));
            }
        }
    }

    /// Makes one more queue and sends tasks to it.
    async fn declare_and_keep(&mut self, number: usize) {
        let queue = queues()[number].clone();
        self.broker.declare(&QueueSpec::new(queue.clone())).await.unwrap();
        for n in 0..3 {
            let task = self.task(100 + n);
            self.broker.enqueue_one(&queue, task.clone()).await.unwrap();
            self.truth.live.insert(task.id, (queue.clone(), task));
        }
    }

    /// Fills segments with tasks that are completed, until the first ones were cleaned.
    async fn churn_until_cleaned(&mut self, dir: &Path) {
        let [plain, ..] = queues();
        for round in 0.. {
            assert!(round < 1_000, "the log is not cleaned");
            let first = names(dir).unwrap().filter_map(|name| segment_id(&name)).min();
            if first.is_some_and(|first| first > 2) {
                return;
            }
            let tasks: Vec<NewTask> = (0..CHURN).map(|_| self.task(300).priority(9)).collect();
            for outcome in self.broker.enqueue(&plain, &tasks).await.unwrap() {
                outcome.unwrap();
            }
            let options = ReceiveOptions::up_to(CHURN);
            let leases = self.receivers[0].receive(&options).await.unwrap();
            let verdicts: Vec<_> =
                leases.iter().map(|lease| (lease.token.clone(), Verdict::Complete)).collect();
            self.receivers[0].settle(&verdicts).await.unwrap();
            let completed = tasks.into_iter().map(|task| (task.id, (plain.clone(), task)));
            self.truth.completed.extend(completed);
        }
    }

    /// Gives every verdict once, and holds one task.
    async fn decide(&mut self) {
        let later = Duration::from_secs(900);
        for (place, receiver) in self.receivers.iter().enumerate() {
            let options = ReceiveOptions::up_to(6 - place).leased_for(later);
            let leases = receiver.receive(&options).await.unwrap();
            let verdicts = [
                Verdict::Complete,
                Verdict::Retry { after: later, error: Some("it failed".into()) },
                Verdict::DeadLetter { reason: "of no use".into() },
                Verdict::Release { after: Duration::ZERO },
            ];
            for (lease, verdict) in leases.iter().zip(verdicts) {
                let completes = verdict == Verdict::Complete;
                let _state = receiver.settle_one(&lease.token, verdict).await.unwrap();
                if completes {
                    let sent = self.truth.live.remove(&lease.task.id).unwrap();
                    self.truth.completed.insert(lease.task.id, sent);
                }
            }
        }
    }
}
