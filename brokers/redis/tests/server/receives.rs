//! What receives hand out, and what is remembered of it.

use std::time::Duration;

use redis::cmd;
use tidegate_core::{
    AttemptId, Capacity, Lease, ListOptions, Lost, NewTask, Ordering, Partitions, QueueSpec,
    ReceiveOptions, SessionOptions, Settled, State, Task, Verdict,
};

use super::{GUARD, MIB, broker, client, named, plain, server, until, warm};

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
    let short = Duration::from_secs(3);
    let options = ReceiveOptions { lease: Some(short), ..ReceiveOptions::up_to(8) };
    let leases = receiver.receive(&options).await.unwrap();
    let page = ListOptions { limit: 10, ..ListOptions::default() };
    let listed = broker.inspect().unwrap().list(&mail, &page).await.unwrap();
    let ends: Vec<_> = listed.into_iter().map(|it| it.until).collect();
    assert_eq!(ends, [Some(leases[0].until); 8]);
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
async fn leases_of_one_receive_go_with_a_purge_and_a_name_keeps_its_own() {
    let Some(server) = server().await else { return };
    let broker = broker(&server, "").await;
    let mail = warm(&broker).await;
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let stats = || async { broker.inspect().unwrap().stats(&mail).await.unwrap() };
    let _ = broker.enqueue(&mail, &plain(8, 1)).await.unwrap();
    let purged = receiver.receive(&ReceiveOptions::up_to(8)).await.unwrap();
    assert_eq!(broker.admin().unwrap().purge(&mail).await.unwrap(), 8);
    assert_eq!(stats().await.leased, 0);
    let late = receiver.complete(&purged[0]).await.unwrap();
    assert_eq!(late, Settled::Lost(Lost::NotFound));
    let _ = broker.enqueue(&mail, &plain(8, 1)).await.unwrap();
    let named = ReceiveOptions::up_to(8).named(AttemptId::new("again").unwrap());
    let tokens = |leases: Vec<Lease>| leases.into_iter().map(|it| it.token).collect::<Vec<_>>();
    let first = tokens(receiver.receive(&named).await.unwrap());
    assert_eq!((first.len(), stats().await.leased), (8, 8));
    assert_eq!(tokens(receiver.receive(&named).await.unwrap()), first);
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
