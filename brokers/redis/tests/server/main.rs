//! What the contract does not say: what lies on the server, and what is cut short there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod receives;
mod together;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::{
    Broker, Capacity, DeadLetterPolicy, ErrorKind, ManualClock, NewTask, Partitions, QueueName,
    QueueSpec, ReceiveOptions, SessionOptions, Settled, State, Verdict,
};
use tidegate_redis::Config;

/// Who waits longer in real time waits for ever.
const GUARD: Duration = Duration::from_secs(10);

/// A server; `None`, said aloud, where there is none and that is no failure.
async fn server() -> Option<PrivateRedis> {
    let server = PrivateRedis::start().await.unwrap();
    if server.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no redis-server");
        eprintln!("skipped: there is no redis-server");
    }
    server
}

async fn broker(server: &PrivateRedis, query: &str) -> Broker {
    let config = Config::new(&format!("{}?{query}", server.url())).unwrap();
    tidegate_redis::connect(config).await.unwrap()
}

/// Its client, as any other program is one.
async fn client(server: &PrivateRedis) -> MultiplexedConnection {
    Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

fn named(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

const MIB: usize = 1 << 20;

/// Looks at what a server says until it `holds`: nothing tells of it.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(GUARD, seen).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// How many scripts a server has run.
async fn scripts(connection: &mut MultiplexedConnection) -> usize {
    let stats: String = cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).unwrap_or("0,");
    calls.split(',').next().unwrap().parse().unwrap()
}

fn plain(many: usize, payload: usize) -> Vec<NewTask> {
    (0..many).map(|_| NewTask::new("k", vec![b'x'; payload])).collect()
}

/// A queue whose spec and script are known on both sides, so that a call needs one way there and back.
async fn warm(broker: &Broker) -> QueueName {
    let mail = named("mail");
    let spec = QueueSpec { payload_bytes_max: 16 * MIB, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "warm")).await.unwrap();
    let _ = broker.admin().unwrap().purge(&mail).await.unwrap();
    mail
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_by_the_server_and_does_not_look_by_itself() {
    let Some(server) = server().await else { return };
    // By a clock that stands still: it never looks again unless it is told.
    let mut config = Config::new(&server.url()).unwrap();
    config.clock = Arc::new(ManualClock::new());
    let waiting = tidegate_redis::connect(config).await.unwrap();
    let sending = broker(&server, "").await;
    sending.declare(&QueueSpec::new(named("mail"))).await.unwrap();
    let receiver = waiting.open(&named("mail"), &SessionOptions::default()).await.unwrap();
    let mail = named("mail");
    for _ in 0..20 {
        let options = ReceiveOptions::up_to(1).waiting(Duration::from_secs(50));
        let send = sending.enqueue_one(&mail, NewTask::new("k", "x"));
        let both = async { tokio::join!(receiver.receive(&options), send) };
        let (leases, sent) =
            tokio::time::timeout(GUARD, both).await.expect("nobody told of the task");
        sent.unwrap();
        let leases = leases.unwrap();
        let _ = receiver.complete(&leases[0]).await.unwrap();
    }
}

#[tokio::test]
async fn a_task_is_an_entry_that_redis_cli_shows_by_the_names_of_cloudevents() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "prefix=shop&serialization=json").await;
    broker.declare(&QueueSpec::new(named("mail"))).await.unwrap();
    let task = NewTask::new("mail.welcome", "{}").header("tenant", "acme").ordering_key("user-42");
    broker.enqueue_one(&named("mail"), task.clone()).await.unwrap();
    let range: Vec<(String, Vec<String>)> = cmd("XRANGE")
        .arg("shop:{mail/0}:s0")
        .arg("-")
        .arg("+")
        .query_async(&mut client(&server).await)
        .await
        .unwrap();
    let id = task.id.to_string();
    let expected = [
        "id",
        &id,
        "type",
        "mail.welcome",
        "partitionkey",
        "user-42",
        "headers",
        r#"{"tenant":"acme"}"#,
        "data",
        "{}",
    ];
    assert_eq!(range.len(), 1);
    assert_eq!(range[0].1, expected);
}

#[tokio::test]
async fn one_prefix_knows_nothing_of_another() {
    let Some(server) = server().await else { return };
    let (one, other) = (broker(&server, "prefix=one").await, broker(&server, "prefix=other").await);
    one.declare(&QueueSpec::new(named("mail"))).await.unwrap();
    assert_eq!(other.inspect().unwrap().queues().await.unwrap(), []);
    assert_eq!(one.inspect().unwrap().queues().await.unwrap(), [named("mail")]);
}

#[tokio::test]
async fn the_smaller_of_the_senders_bound_and_the_queues_holds_and_nothing_is_trimmed() {
    let Some(server) = server().await else { return };
    let (bounded, free) = (broker(&server, "stream_max_len=2").await, broker(&server, "").await);
    bounded
        .declare(&QueueSpec { capacity: Capacity::Bounded(3), ..QueueSpec::new(named("mail")) })
        .await
        .unwrap();
    let send =
        async |by: &Broker| by.enqueue_one(&named("mail"), NewTask::new("k", "x")).await.map(drop);
    for _ in 0..2 {
        send(&bounded).await.unwrap();
    }
    assert_eq!(send(&bounded).await.unwrap_err().kind(), ErrorKind::QueueFull);
    send(&free).await.unwrap();
    assert_eq!(send(&free).await.unwrap_err().kind(), ErrorKind::QueueFull);
    assert_eq!(free.inspect().unwrap().stats(&named("mail")).await.unwrap().ready, 3);
}

/// A move is written down by the step that takes the task out. Who wrote it may die before the task has arrived.
#[tokio::test]
async fn a_move_that_was_cut_short_is_finished_once_by_whoever_asks_next() {
    let Some(server) = server().await else { return };
    let dying = broker(&server, "").await;
    let graves = named("graves");
    let policy = DeadLetterPolicy { queue: Some(graves.clone()), ..DeadLetterPolicy::default() };
    dying
        .declare(&QueueSpec { dead_letters: policy, ..QueueSpec::new(named("mail")) })
        .await
        .unwrap();
    let receiver = dying.open(&named("mail"), &SessionOptions::default()).await.unwrap();
    dying.enqueue_one(&named("mail"), NewTask::new("k", "x")).await.unwrap();
    let lease = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().pop().unwrap();
    // What it goes to cannot be reached for a while.
    let (journal, target) = ("tidegate:{mail/0}:j", "tidegate:{graves/0}:m");
    let mut client = client(&server).await;
    let _: () = cmd("RENAME").arg(target).arg("aside").query_async(&mut client).await.unwrap();
    let _: () = cmd("SET").arg(target).arg("no hash").query_async(&mut client).await.unwrap();
    let dead = Verdict::DeadLetter { reason: "no".into() };
    // Nobody waits for it, and who carries it over ends with its broker.
    let settled = receiver.settle_one(&lease.token, dead).await.unwrap();
    assert_eq!(settled, Settled::Done { state: State::Dead });
    tokio::time::timeout(GUARD, dying.close()).await.expect("it never ends").unwrap();
    let on_its_way: Vec<Vec<u8>> =
        cmd("HGETALL").arg(journal).query_async(&mut client).await.unwrap();
    assert_eq!(on_its_way.len(), 2, "one move: its name and what it holds");
    let source = "tidegate:{mail/0}:m";
    let state: Vec<u8> =
        cmd("HGET").arg(source).arg("state").query_async(&mut client).await.unwrap();
    let _: () = cmd("RENAME").arg("aside").arg(target).query_async(&mut client).await.unwrap();

    let other = broker(&server, "").await;
    let inspect = other.inspect().unwrap();
    let mut watching = client.clone();
    let mut all_arrived = async || {
        let is_empty = async || cmd("HLEN").arg(journal).query_async(&mut watching).await == Ok(0);
        until("it has arrived", is_empty).await;
    };
    assert_eq!(inspect.stats(&graves).await.unwrap().ready, 0, "nobody was left to carry it");
    assert_eq!(inspect.stats(&named("mail")).await.unwrap().live(), 0);
    all_arrived().await;
    assert_eq!(inspect.stats(&graves).await.unwrap().ready, 1);

    // As if nobody had lived to write down that it arrived.
    let _: () = cmd("HSET").arg(journal).arg(&on_its_way).query_async(&mut client).await.unwrap();
    let _: () =
        cmd("HSET").arg(source).arg("state").arg(state).query_async(&mut client).await.unwrap();
    assert_eq!(inspect.stats(&named("mail")).await.unwrap().live(), 0);
    all_arrived().await;
    assert_eq!(inspect.stats(&graves).await.unwrap().ready, 1, "the same move twice is one");
}

/// How many others are connected to a server.
async fn others(connection: &mut MultiplexedConnection) -> usize {
    let list: String = cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    list.lines().count() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_dropped_leaves_nobody_who_carries_moves() {
    let Some(server) = server().await else { return };
    let mut client = client(&server).await;
    let mail = named("mail");
    let (journal, target) = ("tidegate:{mail/0}:j", "tidegate:{graves/0}:m");
    {
        let dropped = broker(&server, "").await;
        let policy =
            DeadLetterPolicy { queue: Some(named("graves")), ..DeadLetterPolicy::default() };
        let spec = QueueSpec { dead_letters: policy, ..QueueSpec::new(mail.clone()) };
        dropped.declare(&spec).await.unwrap();
        let receiver = dropped.open(&mail, &SessionOptions::default()).await.unwrap();
        dropped.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
        let lease = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().pop().unwrap();
        // What it goes to cannot be reached, and a retry does not help.
        let _: () = cmd("DEL").arg(target).query_async(&mut client).await.unwrap();
        let _: () = cmd("SET").arg(target).arg("no hash").query_async(&mut client).await.unwrap();
        let dead = Verdict::DeadLetter { reason: "no".into() };
        let _ = receiver.settle_one(&lease.token, dead).await.unwrap();
        until("somebody tries to carry it over", async || refused(&mut client).await).await;
        assert!(others(&mut client).await > 0);
    }
    until("it has no connection left", async || others(&mut client).await == 0).await;
    let left: u64 = cmd("HLEN").arg(journal).query_async(&mut client).await.unwrap();
    assert_eq!(left, 1, "the move is kept for whoever comes next");
}

/// Whether a server has refused a command because of what its key is.
async fn refused(connection: &mut MultiplexedConnection) -> bool {
    let stats: String = cmd("INFO").arg("errorstats").query_async(connection).await.unwrap();
    stats.contains("errorstat_WRONGTYPE")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_updates_at_once_one_is_done() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    broker.declare(&QueueSpec::new(named("mail"))).await.unwrap();
    for round in 0..10 {
        let spec = broker.inspect().unwrap().spec(&named("mail")).await.unwrap();
        let update = |number: u64| {
            let (broker, spec) = (broker.clone(), spec.clone());
            tokio::spawn(async move {
                let spec = QueueSpec { capacity: Capacity::Bounded(1_000 + number), ..spec };
                broker.admin().unwrap().update(&spec).await
            })
        };
        let updates: Vec<_> = (0..8).map(update).collect();
        let mut done = Vec::new();
        for update in updates {
            match update.await.unwrap() {
                Ok(spec) => done.push(spec),
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}"),
            }
        }
        assert_eq!(done.len(), 1, "round {round}");
        assert_eq!(broker.inspect().unwrap().spec(&named("mail")).await.unwrap(), done[0]);
    }
}

#[tokio::test]
async fn a_retention_that_an_update_brings_ends_what_is_there() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
    let inspect = broker.inspect().unwrap();
    assert_eq!(inspect.stats(&mail).await.unwrap().ready, 1);
    let spec = inspect.spec(&mail).await.unwrap();
    let spec = QueueSpec { retention: Some(Duration::from_secs(1)), ..spec };
    broker.admin().unwrap().update(&spec).await.unwrap();
    until("it has ended", async || inspect.stats(&mail).await.unwrap().ready == 0).await;
}

#[tokio::test]
async fn a_partition_that_missed_an_update_has_the_next_one() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let two = Partitions::new(2).unwrap();
    broker.declare(&QueueSpec { partitions: two, ..QueueSpec::new(named("mail")) }).await.unwrap();
    let mut spec = broker.inspect().unwrap().spec(&named("mail")).await.unwrap();
    spec = broker.admin().unwrap().update(&spec).await.unwrap();
    // As if that one was cut short after the first partition.
    let second = "tidegate:{mail/1}:m";
    let mut client = client(&server).await;
    let _: () =
        cmd("HSET").arg(second).arg("revision").arg(1).query_async(&mut client).await.unwrap();
    spec.capacity = Capacity::Bounded(10);
    broker.admin().unwrap().update(&spec).await.unwrap();
    let has: u64 = cmd("HGET").arg(second).arg("capacity").query_async(&mut client).await.unwrap();
    assert_eq!(has, 5);
}
