//! Members of a group come, go and die, and nothing is lost, handed out twice or out of order.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering as Memory};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::{
    Broker, Held, Lease, Member, Membership, NewTask, Ordering, Partitions, QueueName, QueueSpec,
    ReceiveOptions, Receiver, SessionOptions,
};
use tidegate_redis::Config;
use tokio::task::JoinHandle;

const PARTITIONS: u32 = 6;
const KEYS: u32 = 24;
const TASKS: u32 = 1_200;

/// What the workers have seen together.
#[derive(Default)]
struct Seen {
    /// Key and number of each task in the order of the receives.
    received: Vec<(u32, u32)>,
    /// Keys of tasks in hand.
    in_hand: BTreeSet<u32>,
}

type Received = Arc<Mutex<Seen>>;

struct Worker {
    name: String,
    leaves: Arc<AtomicBool>,
    work: JoinHandle<()>,
}

async fn broker(server: &PrivateRedis) -> Broker {
    let mut config = Config::new(&server.url()).unwrap();
    // Short, so that the partitions of the dead are soon others'.
    config.member_timeout = Duration::from_millis(600);
    tidegate_redis::connect(config).await.unwrap()
}

fn queue() -> QueueName {
    QueueName::new("group").unwrap()
}

async fn join(broker: &Broker, name: &str) -> Receiver {
    let options =
        SessionOptions { membership: Membership::Member(name.into()), ..SessionOptions::default() };
    broker.open(&queue(), &options).await.unwrap()
}

/// Receives and completes until it is told to leave.
async fn work(broker: Broker, receiver: Receiver, leaves: Arc<AtomicBool>, received: Received) {
    while !leaves.load(Memory::Relaxed) {
        let options = ReceiveOptions::up_to(5).waiting(Duration::from_millis(20));
        let leases = receiver.receive(&options).await.unwrap();
        let tasks: Vec<(u32, u32)> = leases.iter().map(key_and_number).collect();
        for (key, number) in &tasks {
            let mut seen = received.lock().unwrap();
            seen.received.push((*key, *number));
            assert!(seen.in_hand.insert(*key), "key {key} is in two hands");
        }
        // The work: owners change meanwhile.
        let _ = members(&broker).await;
        for (lease, (key, _)) in leases.iter().zip(&tasks) {
            received.lock().unwrap().in_hand.remove(key);
            let _ = receiver.complete(lease).await.unwrap();
        }
    }
    receiver.close(Held::Release).await.unwrap();
}

fn key_and_number(lease: &Lease) -> (u32, u32) {
    let text = std::str::from_utf8(&lease.task.payload).unwrap();
    let (key, number) = text.split_once(' ').unwrap();
    (key.parse().unwrap(), number.parse().unwrap())
}

async fn start(broker: &Broker, number: u32, received: &Received) -> Worker {
    let name = format!("member-{number}");
    let receiver = join(broker, &name).await;
    let leaves = Arc::new(AtomicBool::new(false));
    let work = tokio::spawn(work(broker.clone(), receiver, leaves.clone(), received.clone()));
    Worker { name, leaves, work }
}

async fn members(broker: &Broker) -> Vec<Member> {
    broker.inspect().unwrap().members(&queue()).await.unwrap()
}

/// Returns when exactly these are members and all partitions are theirs, shared out evenly.
async fn settled(broker: &Broker, names: &[&str]) {
    loop {
        let members = members(broker).await;
        let mut ids: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let mut owned: Vec<u32> =
            members.iter().flat_map(|member| member.partitions.clone()).collect();
        let sizes = || members.iter().map(|member| member.partitions.len());
        ids.sort_unstable();
        owned.sort_unstable();
        let even = sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0) <= 1;
        if ids == names && owned == (0..PARTITIONS).collect::<Vec<_>>() && even {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_joins_and_leaves_loses_nothing_and_keeps_every_keys_order() {
    let Some(server) = PrivateRedis::start().await.unwrap() else {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        return eprintln!("skipped: there is no redis-server");
    };
    let control = broker(&server).await;
    let spec = QueueSpec {
        ordering: Ordering::Key,
        partitions: Partitions::new(PARTITIONS).unwrap(),
        ..QueueSpec::new(queue())
    };
    control.declare(&spec).await.unwrap();
    let received = Received::default();
    let mut rng = Rng::with_seed(1);
    let mut workers = vec![start(&control, 0, &received).await];
    let sending = {
        let control = control.clone();
        tokio::spawn(async move {
            for number in 0..TASKS {
                let key = number % KEYS;
                let task = NewTask::new("kind", format!("{key} {number}"))
                    .ordering_key(format!("key {key}"));
                control.enqueue_one(&queue(), task).await.unwrap();
            }
        })
    };
    for number in 1..40 {
        if workers.len() < 2 || workers.len() < 6 && rng.bool() {
            workers.push(start(&control, number, &received).await);
        } else {
            let worker = workers.swap_remove(rng.usize(0..workers.len()));
            worker.leaves.store(true, Memory::Relaxed);
            worker.work.await.unwrap();
        }
    }
    sending.await.unwrap();
    while control.inspect().unwrap().stats(&queue()).await.unwrap().live() > 0 {
        assert!(workers.iter().all(|worker| !worker.work.is_finished()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut names: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
    names.sort_unstable();
    settled(&control, &names).await;

    let mut by_key: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (key, number) in &received.lock().unwrap().received {
        by_key.entry(*key).or_default().push(*number);
    }
    for (key, numbers) in by_key {
        let sent: Vec<u32> = (0..TASKS).filter(|number| number % KEYS == key).collect();
        assert_eq!(numbers, sent, "key {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partitions_of_a_member_that_died_are_others_soon_and_no_more_move_than_must() {
    let Some(server) = PrivateRedis::start().await.unwrap() else {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        return eprintln!("skipped: there is no redis-server");
    };
    let control = broker(&server).await;
    let spec =
        QueueSpec { partitions: Partitions::new(PARTITIONS).unwrap(), ..QueueSpec::new(queue()) };
    control.declare(&spec).await.unwrap();
    let one = join(&control, "one").await;
    let two = join(&control, "two").await;
    let three = join(&control, "three").await;
    settled(&control, &["one", "three", "two"]).await;
    let before: BTreeMap<String, Vec<u32>> =
        members(&control).await.into_iter().map(|member| (member.id, member.partitions)).collect();
    drop(two);
    settled(&control, &["one", "three"]).await;
    for member in members(&control).await {
        let had = before.get(&member.id).unwrap();
        assert!(
            had.iter().all(|partition| member.partitions.contains(partition)),
            "{member:?} had {had:?}"
        );
    }
    drop((one, three));
}
