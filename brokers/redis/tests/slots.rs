//! A cluster's own troubles: what belongs together lies in other slots, and slots move in the middle of the work.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, cmd};
use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::{
    Broker, DeadLetterPolicy, ErrorKind, FollowUp, NewTask, Ordering, Partitions, QueueName,
    QueueSpec, ReceiveOptions, SessionOptions, Settled, Verdict,
};
use tidegate_redis::Config;

const TASKS: u64 = 1_500;
const KEYS: u64 = 8;
const LEASE: Duration = Duration::from_secs(2);
/// Moves of the slot while these tasks go through it.
const MOVES: usize = 6;

/// A cluster; `None`, said aloud, where there is none and that is no failure.
async fn cluster() -> Option<PrivateCluster> {
    let cluster = PrivateCluster::start().await.unwrap();
    if cluster.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("skipped: there is no redis-server");
    }
    cluster
}

async fn broker(cluster: &PrivateCluster) -> Broker {
    tidegate_redis::connect(Config::new(&cluster.url()).unwrap()).await.unwrap()
}

fn named(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// What a call answered; `None` if its answer was lost with the connection, as it may be when the client hears of a move.
fn answered<T>(answer: tidegate_core::Result<T>) -> Option<T> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Unavailable => None,
        answer => Some(answer.unwrap()),
    }
}

fn is_done(settled: &Settled) -> bool {
    matches!(settled, Settled::Done { .. } | Settled::AlreadyDone)
}

/// A server of the cluster, as its operator sees it.
struct Node {
    connection: MultiplexedConnection,
    port: String,
    id: String,
}

impl Node {
    async fn all(cluster: &PrivateCluster) -> Vec<Self> {
        let mut nodes = Vec::new();
        for url in cluster.servers() {
            let client = Client::open(&*url).unwrap();
            let connection = client.get_multiplexed_async_connection().await.unwrap();
            let port = url.rsplit(':').next().unwrap().to_owned();
            let mut node = Self { connection, port, id: String::new() };
            node.id = node.ask(&["CLUSTER", "MYID"]).await;
            nodes.push(node);
        }
        nodes
    }

    async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let (name, rest) = words.split_first().unwrap();
        let mut command = cmd(name);
        rest.iter().for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut self.connection.clone()).await.unwrap()
    }
}

/// Moves a slot to another server, key by key, as resharding does.
async fn move_slot(slot: &str, nodes: &[Node], from: usize, to: usize) {
    let (source, target) = (nodes.get(from).unwrap(), nodes.get(to).unwrap());
    let _: () = target.ask(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &source.id]).await;
    let _: () = source.ask(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &target.id]).await;
    loop {
        let keys: Vec<String> = source.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "1"]).await;
        let Some(key) = keys.first() else { break };
        let _: () = source.ask(&["MIGRATE", "127.0.0.1", &target.port, key, "0", "5000"]).await;
    }
    for node in [target, source].into_iter().chain(nodes) {
        let _: () = node.ask(&["CLUSTER", "SETSLOT", slot, "NODE", &target.id]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_under_load_loses_nothing_and_its_keys_keep_their_order() {
    let Some(cluster) = cluster().await else { return };
    let (sending, working) = (broker(&cluster).await, broker(&cluster).await);
    let mail = named("mail");
    let spec = QueueSpec { ordering: Ordering::Key, lease: LEASE, ..QueueSpec::new(mail.clone()) };
    sending.declare(&spec).await.unwrap();
    let sender = tokio::spawn(async move {
        for number in 0..TASKS {
            let task = NewTask::new("k", number.to_string());
            let task = task.ordering_key(format!("key-{}", number % KEYS));
            while answered(sending.enqueue_one(&named("mail"), task.clone()).await).is_none() {}
        }
    });
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    let worker = tokio::spawn(async move {
        let receiver = working.open(&named("mail"), &SessionOptions::default()).await.unwrap();
        let options = ReceiveOptions::up_to(4).waiting(Duration::from_millis(100));
        let (mut received, mut numbers) = (Vec::new(), BTreeSet::new());
        while (numbers.len() as u64) < TASKS {
            for lease in answered(receiver.receive(&options).await).unwrap_or_default() {
                let number: u64 =
                    std::str::from_utf8(&lease.task.payload).unwrap().parse().unwrap();
                received.push((lease.task.ordering_key.clone().unwrap(), number));
                let end = loop {
                    if let Some(end) = answered(receiver.complete(&lease).await) {
                        break end;
                    }
                };
                if is_done(&end) {
                    numbers.insert(number);
                }
                counted.store(numbers.len() as u64, Memory::Release);
            }
        }
        received
    });

    let nodes = Node::all(&cluster).await;
    let slot: u64 = nodes[0].ask(&["CLUSTER", "KEYSLOT", "tidegate:{mail/0}:m"]).await;
    let mut at = (slot * nodes.len() as u64 / 16_384) as usize;
    for number in 0..MOVES {
        while done.load(Memory::Acquire) < TASKS * number as u64 / MOVES as u64 {
            assert!(!worker.is_finished(), "the worker has failed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = (at + 1) % nodes.len();
        move_slot(&slot.to_string(), &nodes, at, next).await;
        at = next;
    }
    sender.await.unwrap();
    let received = worker.await.unwrap();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (key, number) in received {
        assert!(
            last.insert(key, number) < Some(number),
            "{number} came after a later one of its key"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_step_across_slots_is_refused_and_dead_letters_cross_them_once() {
    let Some(cluster) = cluster().await else { return };
    let broker = broker(&cluster).await;
    let (mail, graves) = (named("mail"), named("graves"));
    let policy = DeadLetterPolicy { queue: Some(graves.clone()), ..DeadLetterPolicy::default() };
    let spec = QueueSpec {
        ordering: Ordering::Key,
        partitions: Partitions::new(4).unwrap(),
        dead_letters: policy,
        ..QueueSpec::new(mail.clone())
    };
    broker.declare(&spec).await.unwrap();
    let nodes = Node::all(&cluster).await;
    let mut slots = BTreeSet::new();
    for partition in ["mail/0", "mail/1", "mail/2", "mail/3", "graves/0"] {
        let key = format!("tidegate:{{{partition}}}:m");
        slots.insert(nodes[0].ask::<u64>(&["CLUSTER", "KEYSLOT", &key]).await);
    }
    assert_eq!(slots.len(), 5, "each lies in a slot of its own");

    let keyed = |key: u64| NewTask::new("k", "x").ordering_key(format!("key-{key}"));
    for key in 0..32 {
        broker.enqueue_one(&mail, keyed(key)).await.unwrap();
    }
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let mut leases = receiver.receive(&ReceiveOptions::up_to(32)).await.unwrap();
    assert_eq!(leases.len(), 32);
    let lease = leases.pop().unwrap();
    let (mut refused, mut sent) = (0, 0);
    for key in 100..116 {
        let follow_ups = [FollowUp { queue: mail.clone(), task: keyed(key) }];
        let release = Verdict::Release { after: Duration::ZERO };
        let step = broker.settle_and_enqueue(&mail, &lease.token, &release, &follow_ups).await;
        match step {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                refused += 1;
            }
            Ok((settled, _)) => {
                sent += u32::from(matches!(settled, Settled::Done { .. }));
            }
        }
    }
    assert!(refused > 0 && sent == 1, "{refused} refused, {sent} sent");

    for lease in &leases {
        let dead = Verdict::DeadLetter { reason: "of no use".into() };
        assert!(is_done(&receiver.settle_one(&lease.token, dead).await.unwrap()));
    }
    let buried = broker.open(&graves, &SessionOptions::default()).await.unwrap();
    // They are on their way; each arrives in the end.
    let options = ReceiveOptions::up_to(100).per_key(100).waiting(Duration::from_secs(50));
    let mut dead = Vec::new();
    while dead.len() < 31 {
        let more = buried.receive(&options).await.unwrap();
        assert!(!more.is_empty(), "only {} arrived", dead.len());
        dead.extend(more);
    }
    dead.extend(buried.receive(&ReceiveOptions::up_to(100)).await.unwrap());
    let ids: BTreeSet<_> = dead.iter().map(|lease| lease.task.id).collect();
    assert_eq!((dead.len(), ids.len()), (31, 31));
}
