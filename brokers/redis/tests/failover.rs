//! Masters of a cluster die or hang, and replicas take over. Brokers are opened once, before that.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::{Client, Connection, FromRedisValue, cmd};
use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::{
    Broker, Error, ErrorKind, Lease, NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions,
    SessionOptions, Settled, Verdict,
};
use tidegate_redis::Config;

/// Who waits longer waits for ever.
const GUARD: Duration = Duration::from_secs(60);
/// Longer than any failover.
const LEASE: Duration = Duration::from_secs(120);

/// A cluster; `None`, said aloud, where there is none and that is no failure.
async fn cluster() -> Option<PrivateCluster> {
    let cluster = PrivateCluster::start_with_replicas().await.unwrap();
    if cluster.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("skipped: there is no redis-server");
    }
    cluster
}

async fn broker(cluster: &PrivateCluster, query: &str) -> Broker {
    let config = Config::new(&format!("{}?{query}", cluster.url())).unwrap();
    tidegate_redis::connect(config).await.unwrap()
}

fn named(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn connection(cluster: &PrivateCluster, place: usize) -> Connection {
    Client::open(&*cluster.servers()[place]).unwrap().get_connection().unwrap()
}

fn ask<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> T {
    let (name, rest) = words.split_first().unwrap();
    let mut command = cmd(name);
    rest.iter().for_each(|word| {
        command.arg(word);
    });
    command.query(connection).unwrap()
}

/// The slot of a queue's partition.
fn slot(cluster: &PrivateCluster, queue: &QueueName, partition: u32) -> u32 {
    let key = format!("tidegate:{{{queue}/{partition}}}:m");
    ask(&mut connection(cluster, 0), &["CLUSTER", "KEYSLOT", &key])
}

/// A queue whose first partition is served by this server, which the broker's wake-ups come from.
fn queue_at(cluster: &PrivateCluster, place: usize) -> (QueueName, u32) {
    let names = (0..).map(|number| named(&format!("mail-{number}")));
    let mut placed = names.map(|name| (slot(cluster, &name, 0), name));
    let (slot, name) = placed.find(|(slot, _)| cluster.serving(*slot) == Some(place)).unwrap();
    (name, slot)
}

/// Returns once a replica has all that the server of a queue's partition has done for others.
fn replicated(cluster: &PrivateCluster, place: usize, queue: &QueueName) {
    let mut connection = connection(cluster, place);
    let _: () = ask(&mut connection, &["SET", &format!("{{{queue}/0}}"), "all before it"]);
    let replicas: u32 = ask(&mut connection, &["WAIT", "1", "60000"]);
    assert_eq!(replicas, 1);
}

/// Asks again for as long as a retry may help.
async fn insist<T>(mut call: impl AsyncFnMut() -> tidegate_core::Result<T>) -> T {
    let insisting = async {
        loop {
            match call().await {
                Err(error) if is_away(&error) => {}
                answer => return answer.unwrap(),
            }
        }
    };
    tokio::time::timeout(GUARD, insisting).await.expect("nobody has taken over")
}

/// Whether an error says that the server is away: which one it is, and that a retry may help.
fn is_away(error: &Error) -> bool {
    let text = error.to_string();
    error.kind() == ErrorKind::Unavailable
        && error.is_retryable()
        && text.contains("redis://127.0.0.1:")
}

fn number(lease: &Lease) -> u32 {
    std::str::from_utf8(&lease.task.payload).unwrap().parse().unwrap()
}

async fn send(broker: &Broker, queue: &QueueName, number: u32) -> tidegate_core::Result<()> {
    let task = NewTask::new("k", number.to_string()).ordering_key(format!("key-{}", number % 4));
    broker.enqueue_one(queue, task).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_there_before_goes_on_with_the_replica_that_took_over() {
    let Some(mut cluster) = cluster().await else { return };
    // What it is not told it does not see.
    let broker = broker(&cluster, "block_timeout_ms=600000").await;
    let (mail, slot) = queue_at(&cluster, 0);
    let spec = QueueSpec { ordering: Ordering::Key, lease: LEASE, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let mut place = cluster.serving(slot).unwrap();
    // There, and back.
    for round in 0..2 {
        for number in 0..20 {
            send(&broker, &mail, number).await.unwrap();
        }
        let mut before = receiver.receive(&ReceiveOptions::up_to(3)).await.unwrap();
        let stale = before.pop().unwrap();
        let release = Verdict::Release { after: Duration::ZERO };
        let _ = receiver.settle_one(&stale.token, release).await.unwrap();
        replicated(&cluster, place, &mail);
        cluster.kill(place);
        let next = cluster.successor(slot, place).await.unwrap();
        assert_ne!(next, place);

        // All that was not in hand, each key in its order, and nothing that is.
        let in_hand: BTreeSet<u32> = before.iter().map(number).collect();
        let mut received: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut count = 0;
        let options = ReceiveOptions::up_to(5);
        let mut first = insist(async || receiver.receive(&options).await).await;
        while !first.is_empty() {
            for lease in &first {
                assert!(!in_hand.contains(&number(lease)), "{} is in hand", number(lease));
                received.entry(number(lease) % 4).or_default().push(number(lease));
                count += 1;
                let done = receiver.complete(lease).await.unwrap();
                assert!(matches!(done, Settled::Done { .. }), "{done:?}");
            }
            first = receiver.receive(&options).await.unwrap();
        }
        for numbers in received.values() {
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
        // Two keys are held back by what is in hand.
        assert_eq!(count, 10);
        let again = receiver.complete(&stale).await.unwrap();
        assert!(!matches!(again, Settled::Done { .. }), "round {round}: {again:?}");
        for lease in &before {
            let done = receiver.complete(lease).await.unwrap();
            assert!(matches!(done, Settled::Done { .. }), "{done:?}");
            assert_eq!(receiver.complete(lease).await.unwrap(), Settled::AlreadyDone);
        }
        let mut left = 0;
        while left < 8 {
            for lease in receiver.receive(&options).await.unwrap() {
                left += 1;
                let _ = receiver.complete(&lease).await.unwrap();
            }
        }

        // Who waits is told by the new master.
        let options = ReceiveOptions::up_to(1).waiting(Duration::from_secs(60));
        let both = async { tokio::join!(receiver.receive(&options), send(&broker, &mail, 0)) };
        let (leases, sent) = tokio::time::timeout(GUARD, both).await.expect("nobody told of it");
        sent.unwrap();
        let _ = receiver.complete(&leases.unwrap()[0]).await.unwrap();

        cluster.bring_back(place).await.unwrap();
        place = next;
    }
}
