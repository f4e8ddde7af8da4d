//! Senders and workers go on while masters are killed under them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering as Memory};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::{
    Broker, Capacity, Lease, Membership, NewTask, Ordering, Partitions, QueueName, QueueSpec,
    ReceiveOptions, Receiver, SessionOptions, Settled, TaskId,
};
use tidegate_redis::Config;
use tokio::task::JoinHandle;

use super::{GUARD, ask, broker, cluster, connection, insist, number, queue_at, replica_of};

/// What senders and workers have seen together.
#[derive(Default)]
struct Seen {
    /// What was acknowledged.
    sent: Vec<TaskId>,
    /// What was handed out, in its order.
    received: Vec<Received>,
    /// Whose completion was acknowledged.
    done: BTreeSet<TaskId>,
    /// How often one of those was handed out once more.
    came_back: usize,
}

struct Received {
    key: String,
    number: u32,
    /// Whether its completion was acknowledged.
    is_done: bool,
}

/// What became of all that was seen.
#[derive(Debug)]
struct Outcome {
    sent: usize,
    /// Acknowledged and never handed out to the end.
    lost: usize,
    /// Completed, acknowledged, and handed out once more.
    came_back: usize,
    /// Completed after a later one of its key.
    out_of_order: usize,
}

impl Seen {
    /// Notes what was handed out, and returns its place.
    fn receive(&mut self, leases: &[Lease]) -> usize {
        let first = self.received.len();
        for lease in leases {
            self.came_back += usize::from(self.done.contains(&lease.task.id));
            let key = lease.task.ordering_key.clone().unwrap().to_string();
            self.received.push(Received { key, number: number(lease), is_done: false });
        }
        first
    }

    fn outcome(&self) -> Outcome {
        let (mut last, mut out_of_order) = (BTreeMap::new(), 0);
        for one in self.received.iter().filter(|one| one.is_done) {
            let before = last.insert(&one.key, one.number);
            out_of_order += usize::from(before > Some(one.number));
        }
        let lost = self.sent.iter().filter(|id| !self.done.contains(id)).count();
        Outcome { sent: self.sent.len(), lost, came_back: self.came_back, out_of_order }
    }
}

type Shared = Arc<Mutex<Seen>>;

/// Bytes of a task in a storm.
const SIZE: usize = 60_000;
/// So that little is left to do when the last master has died.
const CAPACITY: u64 = 600;
/// Tasks that are more than what the system keeps for a replica that does not read.
const BEHIND: usize = 1_000;

/// How a master dies.
#[derive(Clone, Copy)]
enum Death {
    /// Its replica is as fast as it can be.
    Plain,
    /// Its replica has not read the last of what it did.
    Ahead,
}

/// Sends tasks of one key, one after the other, until it is told to stop.
async fn keep_sending(
    broker: Broker,
    queue: QueueName,
    key: String,
    seen: Shared,
    stop: Arc<AtomicBool>,
) {
    for number in 0..u32::MAX {
        if stop.load(Memory::Acquire) {
            return;
        }
        let id = insist(|| {
            let task = NewTask::new("k", format!("{number:<SIZE$}")).ordering_key(&*key);
            broker.enqueue_one(&queue, task)
        });
        let id = id.await.id;
        seen.lock().unwrap().sent.push(id);
    }
}

/// Receives and completes until it is told to stop.
async fn keep_working(receiver: Receiver, seen: Shared, stop: Arc<AtomicBool>) {
    let options = ReceiveOptions::up_to(20).waiting(Duration::from_millis(50));
    while !stop.load(Memory::Acquire) {
        let leases = insist(|| receiver.receive(&options)).await;
        let first = seen.lock().unwrap().receive(&leases);
        for (place, lease) in (first..).zip(&leases) {
            let end = insist(|| receiver.complete(lease)).await;
            if matches!(end, Settled::Done { .. } | Settled::AlreadyDone) {
                let mut seen = seen.lock().unwrap();
                seen.done.insert(lease.task.id);
                seen.received.get_mut(place).unwrap().is_done = true;
            }
        }
    }
}

/// Masters are killed one after the other while senders and workers go on, who were there from the start.
async fn storm(
    cluster: &mut PrivateCluster,
    query: &str,
    failovers: usize,
    death: Death,
) -> Outcome {
    let broker = broker(cluster, query).await;
    let (mail, slot) = queue_at(cluster, 0);
    let lease = Duration::from_secs(10);
    let capacity = Capacity::Bounded(CAPACITY);
    let spec =
        QueueSpec { ordering: Ordering::Key, lease, capacity, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let (seen, sent_enough, done) = (Shared::default(), Arc::default(), Arc::default());
    let mut senders = Vec::new();
    for key in 0..16 {
        let (broker, mail, seen) = (broker.clone(), mail.clone(), seen.clone());
        let sending =
            keep_sending(broker, mail, format!("key-{key}"), seen, Arc::clone(&sent_enough));
        senders.push(tokio::spawn(sending));
    }
    let mut workers = Vec::new();
    for _ in 0..4 {
        let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
        workers.push(tokio::spawn(keep_working(receiver, seen.clone(), Arc::clone(&done))));
    }
    for _ in 0..failovers {
        let place = cluster.serving(slot).unwrap();
        let goal = seen.lock().unwrap().sent.len() + 500;
        until(async || {
            assert!(!senders.iter().chain(&workers).any(|it| it.is_finished()), "one has failed");
            seen.lock().unwrap().sent.len() >= goal
        })
        .await;
        match death {
            Death::Plain => cluster.kill(place),
            Death::Ahead => {
                let replica = replica_of(cluster, place);
                let mut master = connection(cluster, place);
                cluster.freeze(replica).unwrap();
                let goal = seen.lock().unwrap().sent.len() + BEHIND;
                until(async || {
                    let clients: String = ask(&mut master, &["INFO", "clients"]);
                    let waits = !clients.contains("blocked_clients:0\r");
                    waits || seen.lock().unwrap().sent.len() >= goal
                })
                .await;
                cluster.kill(place);
                cluster.unfreeze(replica).unwrap();
            }
        }
        cluster.successor(slot, place).await.unwrap();
        cluster.bring_back(place).await.unwrap();
    }
    settled(&broker, &mail, &seen, (senders, sent_enough), (workers, done)).await
}

/// Lets nothing more be sent, and all that is there be worked on.
async fn settled(
    broker: &Broker,
    queue: &QueueName,
    seen: &Shared,
    (senders, sent_enough): (Vec<JoinHandle<()>>, Arc<AtomicBool>),
    (workers, done): (Vec<JoinHandle<()>>, Arc<AtomicBool>),
) -> Outcome {
    sent_enough.store(true, Memory::Release);
    for sender in senders {
        sender.await.unwrap();
    }
    let inspect = broker.inspect().unwrap();
    until(async || insist(|| inspect.stats(queue)).await.live() == 0).await;
    done.store(true, Memory::Release);
    for worker in workers {
        worker.await.unwrap();
    }
    seen.lock().unwrap().outcome()
}

/// Waits for a condition, which must hold some time.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(5 * GUARD, waiting).await.expect("it does not come to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_a_replica_survives_its_master() {
    let Some(mut cluster) = cluster().await else { return };
    for death in [Death::Plain, Death::Ahead] {
        let outcome = storm(&mut cluster, "wait_replicas=1", 2, death).await;
        println!("2 failovers: {outcome:?}");
        let Outcome { sent, lost, came_back, out_of_order } = outcome;
        assert!(sent >= 1_000);
        assert_eq!((lost, came_back, out_of_order), (0, 0, 0));
    }
}

/// What the option is for. `FAILOVERS=10` and `-- --nocapture` measure how much it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waited_for_is_lost_with_its_master() {
    let Some(mut cluster) = cluster().await else { return };
    let failovers = std::env::var("FAILOVERS").map_or(2, |count| count.parse().unwrap());
    let outcome = storm(&mut cluster, "", failovers, Death::Plain).await;
    println!("{failovers} failovers: {outcome:?}");
    let behind = failovers.div_ceil(2);
    let outcome = storm(&mut cluster, "", behind, Death::Ahead).await;
    println!("{behind} failovers to replicas that were behind: {outcome:?}");
    assert!(outcome.lost > 0, "the replicas were not behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_go_on_and_share_all_partitions_out_again() {
    let Some(mut cluster) = cluster().await else { return };
    let mut config = Config::new(&format!("{}?wait_replicas=1", cluster.url())).unwrap();
    config.member_timeout = Duration::from_secs(3);
    let broker = tidegate_redis::connect(config).await.unwrap();
    let (mail, slot) = queue_at(&cluster, 0);
    let six = Partitions::new(6).unwrap();
    let spec = QueueSpec {
        ordering: Ordering::Key,
        partitions: six,
        capacity: Capacity::Bounded(CAPACITY),
        lease: Duration::from_secs(10),
        ..QueueSpec::new(mail.clone())
    };
    broker.declare(&spec).await.unwrap();
    let (seen, sent_enough, done) = (Shared::default(), Arc::default(), Arc::default());
    let mut workers = Vec::new();
    for name in ["one", "two"] {
        let membership = Membership::Member(name.into());
        let options = SessionOptions { membership, ..SessionOptions::default() };
        let receiver = broker.open(&mail, &options).await.unwrap();
        workers.push(tokio::spawn(keep_working(receiver, seen.clone(), Arc::clone(&done))));
    }
    let mut senders = Vec::new();
    for key in 0..12 {
        let (broker, mail, seen) = (broker.clone(), mail.clone(), seen.clone());
        let sending =
            keep_sending(broker, mail, format!("key-{key}"), seen, Arc::clone(&sent_enough));
        senders.push(tokio::spawn(sending));
    }
    // The group itself is kept with the first partition.
    for _ in 0..2 {
        let place = cluster.serving(slot).unwrap();
        let goal = seen.lock().unwrap().received.len() + 300;
        until(async || seen.lock().unwrap().received.len() >= goal).await;
        cluster.kill(place);
        cluster.successor(slot, place).await.unwrap();
        cluster.bring_back(place).await.unwrap();
    }
    let inspect = broker.inspect().unwrap();
    until(async || {
        let members = insist(|| inspect.members(&mail)).await;
        let mut owned: Vec<usize> = members.iter().map(|it| it.partitions.len()).collect();
        owned.sort_unstable();
        owned == [3, 3]
    })
    .await;
    let outcome = settled(&broker, &mail, &seen, (senders, sent_enough), (workers, done)).await;
    let Outcome { sent: _, lost, came_back, out_of_order } = outcome;
    assert_eq!((lost, came_back, out_of_order), (0, 0, 0));
}
