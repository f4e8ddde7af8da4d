//! Many at once: the order of a key, the bound of a queue, one task for one dedup key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_core::{
    Broker, Capacity, ErrorKind, NewTask, Ordering, QueueSpec, ReceiveOptions, SessionOptions,
    Unique, Verdict,
};

use super::stage::{queue, spec, stage, until};

const KEYS: usize = 5;
const SENDERS: usize = 6;
const WORKERS: usize = 6;
const EACH: usize = 60;

/// Senders and workers at the same few keys. What each key's tasks say is checked against the order in
/// which their sends were answered: a send that was answered before another began comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_tasks_of_a_key_come_in_order_one_at_a_time_whoever_sends_and_works() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("&connections=16").await.broker();
    let ordered = QueueSpec { ordering: Ordering::Key, ..spec("mail") };
    broker.declare(&ordered).await.unwrap();
    let held: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    let mut running = Vec::new();
    for sender in 0..SENDERS {
        running.push(tokio::spawn(send_keyed(broker.clone(), sender)));
    }
    for worker in 0..WORKERS {
        running.push(tokio::spawn(work_keyed(broker.clone(), worker, held.clone(), seen.clone())));
    }
    for one in running {
        one.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), SENDERS * EACH);
    for (key, sequences) in &*seen {
        assert!(sequences.is_sorted(), "{key}: {sequences:?}");
    }
}

async fn send_keyed(broker: Broker, sender: usize) {
    for n in 0..EACH / 3 {
        let key = |k: usize| format!("key {}", (sender + n + k) % KEYS);
        let tasks: Vec<NewTask> =
            (0..3).map(|k| NewTask::new("k", "x").ordering_key(key(k % 2))).collect();
        for outcome in broker.enqueue(&queue("mail"), &tasks).await.unwrap() {
            outcome.unwrap();
        }
    }
}

async fn work_keyed(
    broker: Broker,
    worker: usize,
    held: Arc<Mutex<BTreeSet<String>>>,
    seen: Arc<Mutex<BTreeMap<String, Vec<u64>>>>,
) {
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let options = ReceiveOptions::up_to(3).waiting(Duration::from_millis(50));
    let count = || seen.lock().unwrap().values().map(Vec::len).sum::<usize>();
    let mut turn = worker;
    while count() < SENDERS * EACH {
        for lease in rx.receive(&options).await.unwrap() {
            let key = lease.task.ordering_key.clone().unwrap();
            assert!(held.lock().unwrap().insert(key.clone()), "{key} is held twice");
            turn += 1;
            tokio::task::yield_now().await;
            let is_retried = turn.is_multiple_of(7) && lease.task.attempt == 1;
            if !is_retried {
                seen.lock().unwrap().entry(key.clone()).or_default().push(lease.task.sequence);
            }
            // INVARIANT: let go here before the server lets go, so that the next holder finds it free.
            held.lock().unwrap().remove(&key);
            let verdict = match is_retried {
                true => Verdict::Retry { after: Duration::ZERO, error: None },
                false => Verdict::Complete,
            };
            let settled = rx.settle_one(&lease.token, verdict).await.unwrap();
            assert!(matches!(settled, tidegate_core::Settled::Done { .. }), "{settled:?}");
        }
    }
}

/// Two tasks of a key in one receive: while one of them is held, the other is not available again.
#[tokio::test]
async fn a_lane_of_which_one_task_is_held_waits_for_it() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let ordered = QueueSpec { ordering: Ordering::Key, ..spec("mail") };
    broker.declare(&ordered).await.unwrap();
    let tasks = ["a1", "a2", "a3"].map(|text| NewTask::new("k", text).ordering_key("a"));
    broker.enqueue(&ordered.name, &tasks).await.unwrap();
    let rx = broker.open(&ordered.name, &SessionOptions::default()).await.unwrap();
    let both = rx.receive(&ReceiveOptions::up_to(2).per_key(2)).await.unwrap();
    let release = Verdict::Release { after: Duration::ZERO };
    let _released = rx.settle_one(&both[0].token, release).await.unwrap();
    assert!(rx.receive(&ReceiveOptions::up_to(9)).await.unwrap().is_empty());
    let _done = rx.complete(&both[1]).await.unwrap();
    for expected in ["a1", "a3"] {
        let next = rx.receive(&ReceiveOptions::up_to(9)).await.unwrap();
        assert_eq!(next.len(), 1);
        assert_eq!(&*next[0].task.payload, expected.as_bytes());
        let _done = rx.complete(&next[0]).await.unwrap();
    }
}

/// The upkeep has a task whose lease is over while somebody looks: the look waits for it.
#[tokio::test]
async fn a_look_waits_a_moment_for_who_is_at_a_task_that_is_due() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let brief = QueueSpec { lease: Duration::from_secs(1), ..spec("mail") };
    broker.declare(&brief).await.unwrap();
    broker.enqueue_one(&brief.name, NewTask::new("k", "x")).await.unwrap();
    let rx = broker.open(&brief.name, &SessionOptions::default()).await.unwrap();
    assert_eq!(rx.receive(&ReceiveOptions::up_to(1)).await.unwrap().len(), 1);
    let mut holder = stage.client().await;
    let held = holder.transaction().await.unwrap();
    held.query("SELECT FROM tasks FOR UPDATE", &[]).await.unwrap();
    let watch = stage.client().await;
    until("the lease's end", || async {
        let over = "SELECT FROM tasks WHERE until < clock_timestamp()";
        !watch.query(over, &[]).await.unwrap().is_empty()
    })
    .await;
    let look =
        tokio::spawn(async move { broker.inspect().unwrap().stats(&queue("mail")).await.unwrap() });
    let looked = "SELECT FROM pg_stat_activity WHERE application_name = $1
                      AND query LIKE 'SELECT woken, is_done FROM%' AND query_start > $2";
    let (watch, name) = (&watch, &format!("tidegate {}", stage.schema));
    let looked_after = |time: SystemTime| async move {
        !watch.query(looked, &[name, &time]).await.unwrap().is_empty()
    };
    until("a look that met it", || looked_after(UNIX_EPOCH)).await;
    let row = watch.query_one("SELECT clock_timestamp()", &[]).await.unwrap();
    let met: SystemTime = row.get(0);
    // WHY: all that a look without a pause does is over within a tenth of this.
    let later = met + Duration::from_millis(100);
    until("a look that goes on", || looked_after(later)).await;
    held.commit().await.unwrap();
    let stats = look.await.unwrap();
    assert_eq!((stats.ready, stats.leased), (1, 0));
}

/// Senders far from the bound and at it; workers make room meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_bound_holds_whoever_sends() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("&connections=16").await.broker();
    let bound = 256;
    let spec = QueueSpec { capacity: Capacity::Bounded(bound), ..spec("mail") };
    broker.declare(&spec).await.unwrap();
    let mut senders = Vec::new();
    for _ in 0..8 {
        senders.push(tokio::spawn(send_until_full(broker.clone())));
    }
    let mut admitted = 0;
    for sender in senders {
        admitted += sender.await.unwrap();
    }
    assert_eq!(admitted, bound);
    let live = || async { broker.inspect().unwrap().stats(&spec.name).await.unwrap().live() };
    assert_eq!(live().await, bound);
    let rx = broker.open(&spec.name, &SessionOptions::default()).await.unwrap();
    let leases = rx.receive(&ReceiveOptions::up_to(10)).await.unwrap();
    for lease in &leases {
        let _done = rx.complete(lease).await.unwrap();
    }
    assert_eq!(send_until_full(broker.clone()).await, leases.len() as u64);
    assert_eq!(live().await, bound);
}

async fn send_until_full(broker: Broker) -> u64 {
    let mut admitted = 0;
    for n in 0.. {
        // WHY: more than a turnstile lets through, and less.
        let count = [1, 30, 3][n % 3];
        let tasks: Vec<NewTask> = (0..count).map(|_| NewTask::new("k", "x")).collect();
        let outcomes = broker.enqueue(&queue("mail"), &tasks).await.unwrap();
        admitted += outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        if let Some(Err(full)) = outcomes.last() {
            assert_eq!(full.kind(), ErrorKind::QueueFull);
            break;
        }
    }
    admitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_dedup_key_makes_one_task_however_many_send_it() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("&connections=16").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let mut senders = Vec::new();
    for sender in 0..8 {
        senders.push(tokio::spawn(send_unique(broker.clone(), sender)));
    }
    let mut ids: BTreeMap<String, BTreeSet<_>> = BTreeMap::new();
    let mut firsts = 0;
    for sender in senders {
        for (key, sent) in sender.await.unwrap() {
            firsts += usize::from(!sent.deduplicated);
            ids.entry(key).or_default().insert(sent.id);
        }
    }
    assert_eq!((ids.len(), firsts), (40, 40));
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

async fn send_unique(broker: Broker, sender: usize) -> Vec<(String, tidegate_core::Enqueued)> {
    let mut answers = Vec::new();
    for n in 0..10 {
        // WHY: forwards and backwards, so that batches would wait for each other if keys had no order.
        let mut keys: Vec<String> = (0..4).map(|k| format!("key {}", n * 4 + k)).collect();
        if sender % 2 == 1 {
            keys.reverse();
        }
        let unique = |key: &String| NewTask::new("k", "x").dedup(key.clone(), Unique::UntilDone);
        let tasks: Vec<NewTask> = keys.iter().map(unique).collect();
        let outcomes = broker.enqueue(&queue("mail"), &tasks).await.unwrap();
        answers.extend(keys.into_iter().zip(outcomes.into_iter().map(Result::unwrap)));
    }
    answers
}

/// What the turnstiles promise, without luck: sixteen senders whose transactions are open, and one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turnstile_lets_one_sender_through_with_a_share() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    let spec = QueueSpec { capacity: Capacity::Bounded(128), ..spec("mail") };
    broker.declare(&spec).await.unwrap();
    let tasks: Vec<NewTask> = (0..96).map(|_| NewTask::new("k", "x")).collect();
    broker.enqueue(&spec.name, &tasks).await.unwrap();
    let enqueue = |count: usize| {
        format!(
            "SELECT unnest(outcomes) FROM enqueue((SELECT id FROM queues), 0::smallint,
                 ARRAY(SELECT gen_random_uuid() FROM generate_series(1, {count})),
                 array_fill('k'::text, ARRAY[{count}]), array_fill('x'::bytea, ARRAY[{count}]),
                 array_fill(NULL::text, ARRAY[{count}]), array_fill(0::bigint, ARRAY[{count}]),
                 array_fill(0::smallint, ARRAY[{count}]), array_fill(NULL::text, ARRAY[{count}]),
                 array_fill(NULL::text, ARRAY[{count}]), array_fill(NULL::bigint, ARRAY[{count}]))"
        )
    };
    const DONE: i16 = 0;
    const ASK_ALONE: i16 = 3;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let client = stage.client().await;
        client.batch_execute("BEGIN").await.unwrap();
        let more: i16 =
            client.query_one(&format!("{} LIMIT 1", enqueue(3)), &[]).await.unwrap().get(0);
        assert_eq!(more, ASK_ALONE, "a share is 2 of 128");
        client.batch_execute("ROLLBACK; BEGIN").await.unwrap();
        for row in client.query(&enqueue(2), &[]).await.unwrap() {
            assert_eq!(row.get::<_, i16>(0), DONE);
        }
        clients.push(client);
    }
    let one_more = stage.client().await;
    one_more.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
    let waits = one_more.query(&enqueue(1), &[]).await.unwrap_err();
    assert!(waits.to_string().contains("db error"), "{waits}");
    for client in &clients {
        client.batch_execute("COMMIT").await.unwrap();
    }
    let more: i16 = one_more.query_one(&enqueue(1), &[]).await.unwrap().get(0);
    assert_eq!(more, ASK_ALONE);
    let stats = broker.inspect().unwrap().stats(&spec.name).await.unwrap();
    assert_eq!(stats.live(), 128);
}
