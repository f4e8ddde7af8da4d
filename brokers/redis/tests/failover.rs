//! Masters of a cluster die or hang, and replicas take over. Brokers are opened once, before that.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering as Memory};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{Client, Connection, FromRedisValue, cmd};
use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::{
    Broker, DeadLetterPolicy, Error, ErrorKind, Lease, Membership, NewTask, Ordering, Partitions,
    QueueName, QueueSpec, ReceiveOptions, Receiver, SessionOptions, Settled, State, TaskId,
    Verdict,
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
        let mut first = insist(|| receiver.receive(&options)).await;
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

/// Lets each server serve what it has while others are gone for good.
fn serve_in_part(cluster: &PrivateCluster) {
    for place in 0..cluster.servers().len() {
        let set = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
        let _: () = ask(&mut connection(cluster, place), &set);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_takes_over_calls_end_in_time_and_what_others_serve_is_served() {
    let Some(mut cluster) = cluster().await else { return };
    serve_in_part(&cluster);
    let broker = broker(&cluster, "response_timeout_ms=1500").await;
    let at = |queue: &QueueName, partition| cluster.serving(slot(&cluster, queue, partition));
    let names = || (0..).map(|number| named(&format!("mail-{number}")));
    let mail = names().find(|it| (at(it, 0), at(it, 1)) == (Some(1), Some(0))).unwrap();
    let graves = names().find(|it| *it != mail && at(it, 0) == Some(0)).unwrap();
    let two = Partitions::new(2).unwrap();
    let dead_letters =
        DeadLetterPolicy { queue: Some(graves.clone()), ..DeadLetterPolicy::default() };
    let spec =
        QueueSpec { partitions: two, dead_letters, lease: LEASE, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let key_of = |partition: u32| {
        let mut keys = (0..).map(|number: u32| format!("key-{number}"));
        keys.find(|key| spec.router.route(Some(key), 0, two) == partition).unwrap()
    };
    let (there, away) = (key_of(0), key_of(1));
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let send = async |key: &str| {
        let sent = broker.enqueue_one(&mail, NewTask::new("k", "x").ordering_key(key));
        tokio::time::timeout(GUARD, sent).await.expect("a send that never ends").map(drop)
    };
    let receive = async |limit: usize| {
        let options = ReceiveOptions::up_to(limit).per_key(limit);
        let received = receiver.receive(&options);
        tokio::time::timeout(GUARD, received).await.expect("a receive that never ends")
    };
    for _ in 0..10 {
        send(&there).await.unwrap();
    }
    send(&away).await.unwrap();
    let replica = replica_of(&cluster, 0);
    cluster.kill(replica);
    cluster.kill(0);

    // Wherever a receive begins: no task waits for the partition that is away, and none is lost with it.
    let mut leases = Vec::new();
    while leases.len() < 4 {
        leases.extend(insist(|| receive(1)).await);
    }
    while leases.len() < 10 {
        leases.extend(receive(100).await.unwrap());
    }
    for error in [receive(1).await.map(drop).unwrap_err(), send(&away).await.unwrap_err()] {
        assert!(is_away(&error), "{error:?}");
    }
    send(&there).await.unwrap();
    // What goes to a queue that is away arrives later, and nobody waits for it.
    let dead = leases.pop().unwrap();
    let reason = Verdict::DeadLetter { reason: "of no use".into() };
    let settled = receiver.settle_one(&dead.token, reason).await.unwrap();
    assert_eq!(settled, Settled::Done { state: State::Dead });
    leases.extend(receive(1).await.unwrap());
    assert_eq!(leases.len(), 10);
    for lease in &leases {
        let done = receiver.complete(lease).await.unwrap();
        assert!(matches!(done, Settled::Done { .. }), "{done:?}");
    }

    cluster.start_again(replica).await.unwrap();
    cluster.bring_back(0).await.unwrap();
    let lease = loop {
        let received = insist(|| receive(1)).await;
        if let Some(lease) = received.into_iter().next() {
            break lease;
        }
    };
    assert_eq!(lease.task.ordering_key.as_deref(), Some(&*away));
    let _ = insist(|| receiver.complete(&lease)).await;
    let options = SessionOptions::default();
    let buried = insist(|| broker.open(&graves, &options)).await;
    loop {
        let options = ReceiveOptions::up_to(1);
        if !insist(|| buried.receive(&options)).await.is_empty() {
            break;
        }
        // Whoever asks for anything finishes what was cut short.
        let _ = insist(|| receive(1)).await;
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_is_left_for_the_replica_that_took_over() {
    let Some(mut cluster) = cluster().await else { return };
    let broker = broker(&cluster, "response_timeout_ms=1000").await;
    let (mail, slot) = queue_at(&cluster, 0);
    broker.declare(&QueueSpec { lease: LEASE, ..QueueSpec::new(mail.clone()) }).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    for number in 0..4 {
        send(&broker, &mail, number).await.unwrap();
    }
    let before = receiver.receive(&ReceiveOptions::up_to(2)).await.unwrap();
    replicated(&cluster, 0, &mail);
    cluster.freeze(0).unwrap();
    let options = ReceiveOptions::up_to(10);
    let mut after = Vec::new();
    while after.len() < 2 {
        after.extend(insist(|| receiver.receive(&options)).await);
    }
    for lease in before.iter().chain(&after) {
        let done = insist(|| receiver.complete(lease)).await;
        assert!(matches!(done, Settled::Done { .. } | Settled::AlreadyDone), "{done:?}");
    }
    insist(|| send(&broker, &mail, 4)).await;
    assert_ne!(cluster.successor(slot, 0).await.unwrap(), 0);
    cluster.thaw(0).await.unwrap();
    let last = insist(|| receiver.receive(&options)).await;
    assert_eq!(last.iter().map(number).collect::<Vec<_>>(), [4]);
}

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
/// Tasks that are more than what the system keeps for a replica that does not read.
const BEHIND: usize = 400;

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
    let spec = QueueSpec { ordering: Ordering::Key, lease, ..QueueSpec::new(mail.clone()) };
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
        until(|| {
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
                until(|| {
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
    sent_enough.store(true, Memory::Release);
    for sender in senders {
        sender.await.unwrap();
    }
    let inspect = broker.inspect().unwrap();
    while insist(|| inspect.stats(&mail)).await.live() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    done.store(true, Memory::Release);
    for worker in workers {
        worker.await.unwrap();
    }
    seen.lock().unwrap().outcome()
}

/// Waits for a condition.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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

/// How much a failover takes is measured here and not judged: `-- --ignored --nocapture` shows it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures and judges nothing"]
async fn what_failovers_lose_that_nobody_waited_for() {
    let Some(mut cluster) = cluster().await else { return };
    let outcome = storm(&mut cluster, "", 10, Death::Plain).await;
    println!("10 failovers: {outcome:?}");
    let outcome = storm(&mut cluster, "", 5, Death::Ahead).await;
    println!("5 failovers to replicas that were behind: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_too_few_replicas_have_says_so() {
    let Some(mut cluster) = cluster().await else { return };
    let broker = broker(&cluster, "wait_replicas=1&response_timeout_ms=2000").await;
    let (mail, _) = queue_at(&cluster, 0);
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    send(&broker, &mail, 0).await.unwrap();
    let replica = replica_of(&cluster, 0);
    cluster.kill(replica);
    let error = send(&broker, &mail, 1).await.unwrap_err();
    assert!(is_away(&error), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("0 replicas had it") && text.contains("`wait_replicas` is 1"), "{text}");
    // It is there all the same, and handing it out is no promise.
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let leases = receiver.receive(&ReceiveOptions::up_to(10)).await.unwrap();
    assert_eq!(leases.iter().map(number).collect::<Vec<_>>(), [0, 1]);
    cluster.bring_back(replica).await.unwrap();
    let done = insist(|| receiver.complete(leases.first().unwrap())).await;
    assert!(matches!(done, Settled::Done { .. }), "{done:?}");
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
        until(|| seen.lock().unwrap().received.len() >= goal).await;
        cluster.kill(place);
        cluster.successor(slot, place).await.unwrap();
        cluster.bring_back(place).await.unwrap();
    }
    let inspect = broker.inspect().unwrap();
    loop {
        let members = insist(|| inspect.members(&mail)).await;
        let mut owned: Vec<usize> = members.iter().map(|it| it.partitions.len()).collect();
        owned.sort_unstable();
        if owned == [3, 3] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent_enough.store(true, Memory::Release);
    for sender in senders {
        sender.await.unwrap();
    }
    while insist(|| inspect.stats(&mail)).await.live() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    done.store(true, Memory::Release);
    for worker in workers {
        worker.await.unwrap();
    }
    let Outcome { sent: _, lost, came_back, out_of_order } = seen.lock().unwrap().outcome();
    assert_eq!((lost, came_back, out_of_order), (0, 0, 0));
}
