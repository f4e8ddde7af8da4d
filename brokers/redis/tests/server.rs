//! What the contract does not say: what lies on the server, and what is cut short there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::{
    AttemptId, Broker, Capacity, DeadLetterPolicy, ErrorKind, Lease, ListOptions, Lost,
    ManualClock, NewTask, Ordering, Partitions, QueueName, QueueSpec, ReceiveOptions,
    SessionOptions, Settled, State, Task, Unique, Verdict,
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

/// Looks at what a server says until it `holds`: nothing tells of it.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(GUARD, seen).await.unwrap_or_else(|_| panic!("never: {what}"));
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

/// How many scripts a server has run.
async fn scripts(connection: &mut MultiplexedConnection) -> usize {
    let stats: String = cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).unwrap_or("0,");
    calls.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn sends_that_come_while_others_are_under_way_go_together_and_each_has_its_own_answer() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker
        .declare(&QueueSpec { capacity: Capacity::Bounded(60), ..QueueSpec::new(mail.clone()) })
        .await
        .unwrap();
    broker
        .enqueue_one(&mail, NewTask::new("k", "x").dedup("twice", Unique::UntilDone))
        .await
        .unwrap();
    let mut connection = client(&server).await;
    let before = scripts(&mut connection).await;
    let send = |number: usize| {
        let task = NewTask::new("k", "x");
        // The 10th is there already, and then only 59 of the others fit.
        let task = if number == 10 { task.dedup("twice", Unique::UntilDone) } else { task };
        broker.enqueue_one(&mail, task)
    };
    let answers = futures_util::future::join_all((0..64).map(send)).await;
    // They all come before the first call is made, or while it is under way.
    assert!(scripts(&mut connection).await - before <= 2);
    let of = |wanted: fn(&tidegate_core::Result<tidegate_core::Enqueued>) -> bool| {
        answers.iter().filter(|answer| wanted(answer)).count()
    };
    assert!(answers[10].as_ref().unwrap().deduplicated);
    assert_eq!(of(|answer| answer.as_ref().is_ok_and(|sent| !sent.deduplicated)), 59);
    assert_eq!(
        of(|answer| answer.as_ref().is_err_and(|full| full.kind() == ErrorKind::QueueFull)),
        4
    );
}

#[tokio::test]
async fn who_waits_behind_a_send_that_is_dropped_is_served_all_the_same() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "warm")).await.unwrap();
    let send = || Box::pin(broker.enqueue_one(&mail, NewTask::new("k", "x")));
    let mut sends: Vec<_> = (0..9).map(|_| send()).collect();
    for under_way in &mut sends {
        assert!(futures_util::future::poll_immediate(under_way).await.is_none());
    }
    let behind = sends.pop().unwrap();
    drop(sends);
    tokio::time::timeout(GUARD, behind).await.expect("nobody took it along").unwrap();
    let ready = broker.inspect().unwrap().stats(&mail).await.unwrap().ready;
    assert_eq!(ready, 2, "what was dropped before it was sent is not sent");
}

/// Lets all that is ready run, until a call that needs nothing of the server would be on its way.
async fn on_the_way() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Makes sends while the server says nothing, lets each come to where it waits, and gives all of them up. Returns
/// how many tasks were on their way then.
async fn on_their_way(server: &PrivateRedis, broker: &Broker, calls: &[Vec<NewTask>]) -> usize {
    let mail = named("mail");
    server.freeze().unwrap();
    let mut sends: Vec<_> =
        calls.iter().map(|tasks| Box::pin(broker.enqueue(&mail, tasks))).collect();
    for send in &mut sends {
        assert!(futures_util::future::poll_immediate(send).await.is_none());
        on_the_way().await;
    }
    drop(sends);
    on_the_way().await;
    server.unfreeze().unwrap();
    broker.inspect().unwrap().stats(&mail).await.unwrap().ready as usize
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

#[tokio::test]
async fn small_sends_wait_for_the_one_that_is_under_way() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    warm(&broker).await;
    let small: Vec<Vec<NewTask>> = (0..12).map(|_| plain(5, 1)).collect();
    assert_eq!(on_their_way(&server, &broker, &small).await, 5, "one call of one sender");
}

#[tokio::test]
async fn many_tasks_wait_for_no_call_that_is_under_way() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    warm(&broker).await;
    let large: Vec<Vec<NewTask>> = (0..3).map(|_| plain(64, 1)).collect();
    assert_eq!(on_their_way(&server, &broker, &large).await, 3 * 64, "each is on its way");
}

#[tokio::test]
async fn large_payloads_go_by_themselves_and_in_parts() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = warm(&broker).await;
    let mut connection = client(&server).await;
    let before = scripts(&mut connection).await;
    let large = plain(1, 600_000);
    let sends = (0..3).map(|_| broker.enqueue(&mail, &large));
    for sent in futures_util::future::join_all(sends).await {
        assert!(sent.unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(scripts(&mut connection).await - before, 3, "two of them are more than a megabyte");
    let before = scripts(&mut connection).await;
    let sent = broker.enqueue(&mail, &plain(5, 16 * MIB)).await.unwrap();
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!(scripts(&mut connection).await - before, 2, "four of them are 64 megabytes");
}

#[tokio::test]
async fn who_waits_behind_a_send_whose_runtime_ends_is_served_all_the_same() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = warm(&broker).await;
    let (other, queue) = (broker.clone(), mail.clone());
    let (has_begun, begun) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel();
    let first = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = plain(1, 1);
        let send = other.enqueue(&queue, &tasks);
        let sent = runtime.block_on(futures_util::future::poll_immediate(send));
        assert!(sent.is_none());
        has_begun.send(()).unwrap();
        let () = ends.recv().unwrap();
    });
    begun.await.unwrap();
    let mut behind = Box::pin(broker.enqueue_one(&mail, NewTask::new("k", "x")));
    assert!(futures_util::future::poll_immediate(&mut behind).await.is_none());
    end.send(()).unwrap();
    first.await.unwrap();
    tokio::time::timeout(GUARD, behind).await.expect("nobody took it along").unwrap();
}

#[tokio::test]
async fn receives_that_come_together_share_what_there_is() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    let tasks: Vec<_> = (0..10).map(|_| NewTask::new("k", "x")).collect();
    broker.enqueue(&mail, &tasks).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let mut connection = client(&server).await;
    let before = scripts(&mut connection).await;
    let options = ReceiveOptions::up_to(3);
    let answers = futures_util::future::join_all((0..8).map(|_| receiver.receive(&options))).await;
    // Four had nothing in the first call, and looked again together.
    assert_eq!(scripts(&mut connection).await - before, 2);
    let answers: Vec<Vec<Lease>> = answers.into_iter().map(Result::unwrap).collect();
    let counts: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert_eq!(counts, [3, 3, 3, 1, 0, 0, 0, 0]);
    let leases: Vec<Lease> = answers.into_iter().flatten().collect();
    let (had, sent): (Vec<_>, Vec<_>) =
        (leases.iter().map(|it| it.task.id).collect(), tasks.iter().map(|it| it.id).collect());
    assert_eq!(had, sent);
    let verdicts: Vec<_> = leases.into_iter().map(|it| (it.token, Verdict::Complete)).collect();
    let settled = receiver.settle(&verdicts).await.unwrap();
    assert!(settled.iter().all(|it| *it == Settled::Done { state: State::Done }), "{settled:?}");
    let again = receiver.settle(&verdicts).await.unwrap();
    assert!(again.iter().all(|it| *it == Settled::AlreadyDone), "{again:?}");
}

#[tokio::test]
async fn what_one_receive_hands_out_is_read_whatever_is_known_of_each() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let tasks = [
        NewTask::new("given.back", "1"),
        NewTask::new("short", "2"),
        NewTask::new("with.headers", "3").header("tenant", "acme"),
        NewTask::new("empty", ""),
        NewTask::new("with.a.key", "5").ordering_key("key"),
        NewTask::new("late", "6").priority(3),
        NewTask::new("short", "7"),
    ];
    broker.enqueue(&mail, &tasks[..1]).await.unwrap();
    let first = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().pop().unwrap();
    let release = Verdict::Release { after: Duration::ZERO };
    let _ = receiver.settle_one(&first.token, release).await.unwrap();
    broker.enqueue(&mail, &tasks[1..]).await.unwrap();
    let leases = receiver.receive(&ReceiveOptions::up_to(10)).await.unwrap();
    let had = leases.iter().map(|it| {
        let Task { id, kind, payload, headers, priority, ordering_key, deliveries, .. } = &it.task;
        let again = u32::from(*id == tasks[0].id);
        assert_eq!(*deliveries, 1 + again, "{kind}");
        (*id, kind.clone(), payload.clone(), headers.clone(), *priority, ordering_key.clone())
    });
    let sent = [5, 0, 1, 2, 3, 4, 6].map(|place| {
        let NewTask { id, kind, payload, headers, priority, ordering_key, .. } = &tasks[place];
        (*id, kind.clone(), payload.clone(), headers.clone(), *priority, ordering_key.clone())
    });
    assert_eq!(had.collect::<Vec<_>>(), sent);
}

#[tokio::test]
async fn leases_of_one_receive_end_together_but_for_those_that_left_it() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = warm(&broker).await;
    let mut connection = client(&server).await;
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let _ = broker.enqueue(&mail, &plain(8, 1)).await.unwrap();
    let short = Duration::from_millis(300);
    let options = ReceiveOptions { lease: Some(short), ..ReceiveOptions::up_to(8) };
    let leases = receiver.receive(&options).await.unwrap();
    let list = || async { broker.inspect().unwrap().list(&mail, &ListOptions::default()).await };
    let ends: Vec<_> = list().await.unwrap().into_iter().map(|it| it.until).collect();
    assert!(ends.iter().all(|end| *end == Some(leases[0].until)), "{ends:?}");
    let stats = || async { broker.inspect().unwrap().stats(&mail).await.unwrap() };
    assert_eq!(stats().await.leased, 8);
    // One is done, one goes on, one comes back, one is dead; then one of those that are left is done as well.
    let _ = receiver.complete(&leases[0]).await.unwrap();
    let _ = receiver.extend(&[(leases[1].token.clone(), Duration::from_secs(60))]).await.unwrap();
    let retry = Verdict::Retry { after: Duration::from_secs(60), error: None };
    let _ = receiver.settle_one(&leases[2].token, retry).await.unwrap();
    let dead = Verdict::DeadLetter { reason: "no".into() };
    let _ = receiver.settle_one(&leases[3].token, dead).await.unwrap();
    let now = stats().await;
    assert_eq!((now.leased, now.scheduled, now.dead, now.ready), (5, 1, 1, 0));
    let _ = receiver.complete(&leases[4]).await.unwrap();
    until("the others come back", async || stats().await.ready == 3).await;
    assert_eq!(stats().await.leased, 1, "the one that was extended");
    for key in ["c", "ci"] {
        let key = format!("tidegate:{{mail/0}}:{key}");
        let left: u64 = cmd("EXISTS").arg(&key).query_async(&mut connection).await.unwrap();
        assert_eq!(left, 0, "{key}");
    }
    let again = receiver.receive(&ReceiveOptions::up_to(8)).await.unwrap();
    let ids = |leases: &[Lease]| leases.iter().map(|it| it.task.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&leases[5..]));
    assert!(again.iter().all(|it| it.task.deliveries == 2));
    let late = receiver.complete(&leases[5]).await.unwrap();
    assert_eq!(late, Settled::Lost(Lost::Superseded));
    let extended = receiver.complete(&leases[1]).await.unwrap();
    assert_eq!(extended, Settled::Done { state: State::Done });
}

#[tokio::test]
async fn receives_that_come_together_do_not_share_a_key() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    let spec = QueueSpec { ordering: Ordering::Key, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let tasks: Vec<_> = (0..4).map(|_| NewTask::new("k", "x").ordering_key("key")).collect();
    broker.enqueue(&mail, &tasks).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    for per_key in [1, 2] {
        let options = ReceiveOptions::up_to(2).per_key(per_key);
        let (one, other) = tokio::join!(receiver.receive(&options), receiver.receive(&options));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.len() + other.len(), per_key, "the key is held twice");
        for lease in one.iter().chain(&other) {
            let _ = receiver.complete(lease).await.unwrap();
        }
    }
}

#[tokio::test]
async fn of_two_deliveries_of_a_task_only_the_one_that_settled_it_is_known_to_have() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    // The first one ends with its lease, the second is given back, the third completes it.
    let short = ReceiveOptions::up_to(1).leased_for(Duration::from_millis(1_000));
    let mut tokens = Vec::new();
    for verdict in [None, Some(Verdict::Release { after: Duration::ZERO }), Some(Verdict::Complete)]
    {
        let options = short.clone().waiting(GUARD);
        let lease = receiver.receive(&options).await.unwrap().pop().unwrap();
        if let Some(verdict) = verdict {
            let settled = receiver.settle_one(&lease.token, verdict).await.unwrap();
            assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
        }
        tokens.push((lease.token, Verdict::Complete));
    }
    let settled = receiver.settle(&tokens).await.unwrap();
    let not_found = Settled::Lost(Lost::NotFound);
    assert_eq!(settled, [not_found, Settled::AlreadyDone, Settled::AlreadyDone]);
}

#[tokio::test]
async fn what_is_remembered_of_the_settled_lies_in_parts_that_expire() {
    const PART: usize = 20_000;
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker
        .declare(&QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(mail.clone()) })
        .await
        .unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let tasks = || (0..100).map(|_| NewTask::new("k", "x")).collect::<Vec<_>>();
    for _ in 0..=PART / 100 {
        broker.enqueue(&mail, &tasks()).await.unwrap();
        let leases = receiver.receive(&ReceiveOptions::up_to(100)).await.unwrap();
        let verdicts: Vec<_> = leases.into_iter().map(|it| (it.token, Verdict::Complete)).collect();
        assert_eq!(receiver.settle(&verdicts).await.unwrap().len(), 100);
    }
    let mut client = client(&server).await;
    // The first completion of all finds no part that is young enough, and begins one.
    for (part, holds) in [(1, PART), (2, 100)] {
        let part = format!("tidegate:{{mail/0}}:o:{part}");
        let count: usize = cmd("SCARD").arg(&part).query_async(&mut client).await.unwrap();
        assert_eq!(count, holds, "{part}");
        let expires_s: i64 = cmd("TTL").arg(&part).query_async(&mut client).await.unwrap();
        assert!(expires_s > 0, "{part} stays");
    }
}

const MIB: usize = 1 << 20;

/// What a receive hands out is in memory all at once, on the server too, so it ends after 16 MiB, and the rest comes with
/// the next one.
#[tokio::test]
async fn a_receive_hands_out_large_tasks_in_parts() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let (one, two) = (Partitions::ONE, Partitions::new(2).unwrap());
    for (name, ordering, partitions) in [
        ("plain", Ordering::None, one),
        ("keyed", Ordering::Key, one),
        ("two", Ordering::None, two),
    ] {
        let name = named(name);
        let spec = QueueSpec {
            ordering,
            partitions,
            payload_bytes_max: 16 * MIB,
            ..QueueSpec::new(name.clone())
        };
        broker.declare(&spec).await.unwrap();
        for size in [9, 9, 6, 16, 1] {
            let task = NewTask::new("k", vec![7; size * MIB - 1_000]);
            let task = if ordering == Ordering::Key { task.ordering_key("key") } else { task };
            broker.enqueue_one(&name, task).await.unwrap();
        }
        let receiver = broker.open(&name, &SessionOptions::default()).await.unwrap();
        let handed_out = async || {
            let options = ReceiveOptions::up_to(10).per_key(10);
            let leases = receiver.receive(&options).await.unwrap();
            let sizes = leases.iter().rev().skip(1).map(|lease| lease.task.payload.len());
            assert!(sizes.sum::<usize>() < 16 * MIB, "{name}: one more came after 16 MiB");
            leases
        };
        let settle = async |leases: Vec<Lease>, verdict: Verdict| {
            let all: Vec<_> = leases.into_iter().map(|it| (it.token, verdict.clone())).collect();
            receiver.settle(&all).await.unwrap();
        };
        // What was released is handed out another way than what is new.
        for _ in 0..2 {
            let leases = handed_out().await;
            assert!(leases.len() == 2 || partitions == two, "{name}");
            settle(leases, Verdict::Release { after: Duration::ZERO }).await;
        }
        let mut done = 0;
        while done < 5 {
            let leases = handed_out().await;
            done += leases.len();
            settle(leases, Verdict::Complete).await;
        }
    }
}

/// Wherever it begins to look, it finds all that it was handed, also behind 16 MiB.
#[tokio::test]
async fn a_receive_of_large_tasks_that_is_made_again_is_handed_all_of_them_again() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let two = Partitions::new(2).unwrap();
    let mail = named("mail");
    let spec =
        QueueSpec { partitions: two, payload_bytes_max: 16 * MIB, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let key_of = |partition: u32| {
        let mut keys = (0..).map(|number: u32| format!("key-{number}"));
        keys.find(|key| spec.router.route(Some(key), 0, two) == partition).unwrap()
    };
    for (partition, size) in [(0, 1), (1, 9), (1, 9)] {
        let task = NewTask::new("k", vec![7; size * MIB]).ordering_key(key_of(partition));
        broker.enqueue_one(&mail, task).await.unwrap();
    }
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let options = ReceiveOptions::up_to(10).per_key(10).named(AttemptId::new("a").unwrap());
    for _ in 0..3 {
        assert_eq!(receiver.receive(&options).await.unwrap().len(), 3);
    }
}

/// Takes `seconds` off the time for which receives are known by their names.
const SOONER: &str = "
    local given = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
    given.till = given.till - tonumber(ARGV[2]) * 1000000
    redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(given))
    return redis.call('TTL', KEYS[1])";

#[tokio::test]
async fn a_receive_is_forgotten_after_five_minutes() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "prefix=shop").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    broker.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let again = ReceiveOptions::up_to(1).named(AttemptId::new("a").unwrap());
    assert_eq!(receiver.receive(&again).await.unwrap().len(), 1);
    let mut client = client(&server).await;
    let mut sooner = async |seconds: u32| {
        let mut call = cmd("EVAL");
        call.arg(SOONER).arg(1).arg("shop:{mail/0}:b").arg("a").arg(seconds);
        let left: i64 = call.query_async(&mut client).await.unwrap();
        assert!((270..=301).contains(&left), "{left} s until all names are dropped");
        receiver.receive(&again).await.unwrap().len()
    };
    assert_eq!(sooner(270).await, 1);
    // It was made again a moment ago, and is known for five minutes from then.
    assert_eq!(sooner(301).await, 0);
}

/// Redis walks short hashes and sorted sets at every look, and those of records and leases are never to be that.
#[tokio::test]
async fn records_and_leases_are_never_lists_that_redis_walks() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = named("mail");
    broker.declare(&QueueSpec::new(mail.clone())).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let mut client = client(&server).await;
    for done in ["declared", "a life", "purged"] {
        match done {
            "a life" => {
                broker.enqueue_one(&mail, NewTask::new("k", "x")).await.unwrap();
                let leases = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap();
                assert_eq!(broker.inspect().unwrap().stats(&mail).await.unwrap().leased, 1);
                let _ = receiver.complete(&leases[0]).await.unwrap();
            }
            "purged" => assert_eq!(broker.admin().unwrap().purge(&mail).await.unwrap(), 0),
            _ => {}
        }
        assert_eq!(broker.inspect().unwrap().stats(&mail).await.unwrap().leased, 0, "{done}");
        for (key, encoding) in [("t", "hashtable"), ("l", "skiplist")] {
            let key = format!("tidegate:{{mail/0}}:{key}");
            let is: String =
                cmd("OBJECT").arg("ENCODING").arg(&key).query_async(&mut client).await.unwrap();
            assert_eq!(is, encoding, "{key}, {done}");
        }
    }
}
