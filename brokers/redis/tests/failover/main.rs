//! Masters of a cluster die or hang, and replicas take over. Brokers are opened once, before that.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod away;
mod storm;
mod takeover;

use std::time::Duration;

use redis::{Client, Connection, FromRedisValue, cmd};
use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::{Broker, Error, ErrorKind, Lease, NewTask, QueueName};
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
    Client::open(&**cluster.servers().get(place).unwrap()).unwrap().get_connection().unwrap()
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
async fn insist<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = tidegate_core::Result<T>>,
{
    let insisting = async {
        loop {
            let answer = tokio::time::timeout(GUARD, call()).await;
            match answer.expect("a call that never ends") {
                Err(error) if is_away(&error) => {}
                Err(full) if full.kind() == ErrorKind::QueueFull => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answer => return answer.unwrap(),
            }
        }
    };
    tokio::time::timeout(2 * GUARD, insisting).await.expect("nobody has taken over")
}

/// Whether an error says that the server is away: which one it is, and that a retry may help.
fn is_away(error: &Error) -> bool {
    let text = error.to_string();
    error.kind() == ErrorKind::Unavailable
        && error.is_retryable()
        && text.contains("redis://127.0.0.1:")
}

fn number(lease: &Lease) -> u32 {
    std::str::from_utf8(&lease.task.payload).unwrap().trim_end().parse().unwrap()
}

async fn send(broker: &Broker, queue: &QueueName, number: u32) -> tidegate_core::Result<()> {
    let task = NewTask::new("k", number.to_string()).ordering_key(format!("key-{}", number % 4));
    broker.enqueue_one(queue, task).await.map(drop)
}

/// The replica of a master. All servers are there.
fn replica_of(cluster: &PrivateCluster, master: usize) -> usize {
    (0..cluster.servers().len()).find(|place| is_replica_of(cluster, *place, master)).unwrap()
}

fn is_replica_of(cluster: &PrivateCluster, place: usize, master: usize) -> bool {
    let port = cluster.servers().get(master).unwrap().rsplit(':').next().unwrap().to_owned();
    let role: String = ask(&mut connection(cluster, place), &["INFO", "replication"]);
    role.contains("role:slave") && role.contains(&format!("master_port:{port}\r"))
}
