//! What several tests set up and look at.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{
    Broker, Capacity, DeadFilter, DeadLetterPolicy, Holder, Lease, ListOptions, ManualClock,
    NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions, SessionOptions, Settled, TaskId,
    Unique, Verdict,
};
use tidegate_engine::{Durability, Options};

const SEGMENT_BYTES: u32 = 32 << 10;

pub(crate) fn name(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

pub(crate) async fn open(dir: &Path, clock: &ManualClock) -> Broker {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        durability: Durability::Never,
        clock: Arc::new(clock.clone()),
        ..Options::new(dir)
    };
    tidegate_engine::open(options).await.unwrap()
}

/// The numbers of the segments in a directory.
pub(crate) fn segments(dir: &Path) -> Vec<u32> {
    let names = std::fs::read_dir(dir.join("log")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u32> =
        names.filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Sends and completes tasks until the segments that exist now are gone.
pub(crate) async fn churn_until_cleaned(broker: &Broker, dir: &Path) {
    let last = segments(dir).last().copied().unwrap();
    let queue = name("churn");
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue.clone()) };
    broker.declare(&spec).await.unwrap();
    let receiver = broker.open(&queue, &SessionOptions::default()).await.unwrap();
    for round in 0.. {
        let tasks: Vec<NewTask> = (0..50).map(|_| NewTask::new("churn", vec![1; 200])).collect();
        broker.enqueue(&queue, &tasks).await.unwrap();
        for lease in receiver.receive(&ReceiveOptions::up_to(50)).await.unwrap() {
            assert_eq!(receiver.complete(&lease).await.unwrap(), done(tidegate_core::State::Done));
        }
        if segments(dir).first().is_some_and(|first| *first > last) {
            return;
        }
        let count = segments(dir).len();
        assert!(round < 5_000, "the log is not cleaned: it has {count} segments");
    }
}

pub(crate) fn done(state: tidegate_core::State) -> Settled {
    Settled::Done { state }
}

/// All that can be seen of a broker.
pub(crate) async fn everything(broker: &Broker) -> String {
    let inspect = broker.inspect().unwrap();
    let mut seen = String::new();
    for queue in inspect.queues().await.unwrap() {
        let all = ListOptions { state: None, after: None, limit: usize::MAX };
        seen += &format!("{:?}\n", inspect.spec(&queue).await.unwrap());
        seen += &format!("{:?}\n", inspect.stats(&queue).await.unwrap());
        for view in inspect.list(&queue, &all).await.unwrap() {
            seen += &format!("  {view:?}\n");
        }
        seen += &format!("  next {:?}\n", inspect.peek(&queue, 100).await.unwrap());
        let dead = inspect.dead(&queue, &DeadFilter::default()).await.unwrap();
        seen += &format!("  dead {dead:?}\n");
    }
    seen
}

/// Tasks of every kind that stay: ready, scheduled, leased, retried, dead, moved, behind a key.
pub(crate) async fn stragglers(broker: &Broker) -> Vec<(QueueName, Lease)> {
    let (plain, ordered, moving) = (name("plain"), name("ordered"), name("moving"));
    broker.declare(&QueueSpec::new(plain.clone())).await.unwrap();
    let spec = QueueSpec { ordering: Ordering::Key, ..QueueSpec::new(ordered.clone()) };
    broker.declare(&spec).await.unwrap();
    let policy = DeadLetterPolicy { queue: Some(name("dead")), ..DeadLetterPolicy::default() };
    let spec = QueueSpec { dead_letters: policy, ..QueueSpec::new(moving.clone()) };
    broker.declare(&spec).await.unwrap();

    let held = SessionOptions { holder: Holder::Client, ..SessionOptions::default() };
    let mut leases = Vec::new();
    for queue in [&plain, &ordered, &moving] {
        let receiver = broker.open(queue, &held).await.unwrap();
        let task = |n: usize| {
            let mut task = NewTask::new("stays", format!("{queue} {n}")).header("n", n.to_string());
            task.id = TaskId::from_bytes([queue.as_str().len() as u8 * 16 + n as u8; 16]);
            let keyed = task.ordering_key(format!("key {}", n % 3));
            keyed.dedup(format!("until {n}"), Unique::UntilDone)
        };
        let tasks: Vec<NewTask> = (0..9).map(task).collect();
        broker.enqueue(queue, &tasks).await.unwrap();
        let received = receiver.receive(&ReceiveOptions::up_to(4)).await.unwrap();
        let retry = Verdict::Retry { after: Duration::from_secs(900), error: Some("no".into()) };
        let dead = Verdict::DeadLetter { reason: "broken".into() };
        let verdicts = [retry, dead, Verdict::Release { after: Duration::ZERO }];
        for (lease, verdict) in received.iter().zip(verdicts) {
            let _ = receiver.settle_one(&lease.token, verdict).await.unwrap();
        }
        let more = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap();
        leases.extend(more.into_iter().map(|lease| (queue.clone(), lease)));
    }
    let window = Unique::Window(Duration::from_secs(3_600));
    let mut once = NewTask::new("once", "").dedup("window", window);
    once.id = TaskId::from_bytes([1; 16]);
    broker.enqueue_one(&name("plain"), once.delay(Duration::from_secs(600))).await.unwrap();
    leases
}
