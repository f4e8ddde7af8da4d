//! One directory, several brokers on it: the first holds the engine, the others attach, and one of them
//! takes over when it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::{
    Broker, ErrorKind, Lease, Lost, NewTask, QueueName, QueueSpec, ReceiveOptions, Receiver,
    SessionOptions, Settled, State, connect,
};
use tokio::task::JoinHandle;

const DONE: Settled = Settled::Done { state: State::Done };
/// How soon another must have taken over.
const SOON: Duration = Duration::from_secs(1);

async fn open(dir: &Path) -> Broker {
    connect(&format!("embedded:{}", dir.display())).await.unwrap()
}

fn mail() -> QueueName {
    QueueName::new("mail").unwrap()
}

async fn declared(broker: &Broker) -> Receiver {
    broker.declare(&QueueSpec::new(mail())).await.unwrap();
    broker.open(&mail(), &SessionOptions::default()).await.unwrap()
}

async fn send(broker: &Broker, text: &'static str) {
    broker.enqueue_one(&mail(), NewTask::new("mail", text)).await.unwrap();
}

async fn receive(from: &Receiver) -> Lease {
    let options = ReceiveOptions::up_to(1).waiting(Duration::from_secs(20));
    from.receive(&options).await.unwrap().pop().unwrap()
}

/// Completes a task, and again where the answer was lost with the holder.
async fn complete(by: &Receiver, lease: &Lease) -> Settled {
    let begun = Instant::now();
    loop {
        match by.complete(lease).await {
            Ok(settled) => return settled,
            Err(lost) => assert!(lost.is_retryable() && begun.elapsed() < SOON * 5, "{lost}"),
        }
    }
}

fn text(lease: &Lease) -> &str {
    std::str::from_utf8(&lease.task.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_sends_another_receives_whoever_holds_the_engine() {
    let dir = TempDir::new().unwrap();
    let holder = open(dir.path()).await;
    let attached = open(dir.path()).await;
    let (here, there) = (declared(&holder).await, declared(&attached).await);
    send(&holder, "from the holder").await;
    let lease = receive(&there).await;
    assert_eq!(text(&lease), "from the holder");
    assert_eq!(here.complete(&lease).await.unwrap(), DONE);
    send(&attached, "from the attached").await;
    let lease = receive(&here).await;
    assert_eq!(text(&lease), "from the attached");
    assert_eq!(there.complete(&lease).await.unwrap(), DONE);
    let stats = attached.inspect().unwrap().stats(&mail()).await.unwrap();
    assert_eq!((stats.live(), stats.dead), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_wakes_at_what_another_sends() {
    let dir = TempDir::new().unwrap();
    let holder = open(dir.path()).await;
    let attached = open(dir.path()).await;
    let (here, there) = (declared(&holder).await, declared(&attached).await);
    let ((), lease) = tokio::join!(send(&holder, "a"), receive(&there));
    assert_eq!(text(&lease), "a");
    let ((), lease) = tokio::join!(send(&attached, "b"), receive(&here));
    assert_eq!(text(&lease), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_holder_closes_another_holds_the_engine_and_no_lease_is_broken() {
    let dir = TempDir::new().unwrap();
    let holder = open(dir.path()).await;
    let (first, second) = (open(dir.path()).await, open(dir.path()).await);
    let held_by_holder = declared(&holder).await;
    let (one, two) = (declared(&first).await, declared(&second).await);
    for text in ["a", "b", "c"] {
        send(&first, text).await;
    }
    let (a, b) = (receive(&one).await, receive(&two).await);
    let c = receive(&held_by_holder).await;
    assert_eq!(held_by_holder.complete(&c).await.unwrap(), DONE);
    let begun = Instant::now();
    holder.close().await.unwrap();
    send(&first, "d").await;
    send(&second, "e").await;
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    let next = [receive(&one).await, receive(&two).await];
    let mut texts: Vec<_> = next.iter().map(text).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["d", "e"], "the leases of `a` and `b` have time left");
    assert_eq!(one.complete(&a).await.unwrap(), DONE);
    assert_eq!(one.complete(&b).await.unwrap(), DONE);
    assert!(matches!(two.complete(&c).await.unwrap(), Settled::AlreadyDone));
    let refused = holder.enqueue_one(&mail(), NewTask::new("mail", "late")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_stale_before_stays_stale_under_the_next_holder() {
    let dir = TempDir::new().unwrap();
    let holder = open(dir.path()).await;
    let attached = open(dir.path()).await;
    let (here, there) = (declared(&holder).await, declared(&attached).await);
    send(&holder, "a").await;
    let short = ReceiveOptions::up_to(1).leased_for(Duration::from_millis(1));
    let stale = here.receive(&short).await.unwrap().pop().unwrap();
    let fresh = receive(&there).await;
    drop((here, holder));
    assert_eq!(complete(&there, &stale).await, Settled::Lost(Lost::Superseded));
    assert_eq!(complete(&there, &fresh).await, DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_and_declarations_outlive_the_holder_that_was_asked() {
    let dir = TempDir::new().unwrap();
    let holder = open(dir.path()).await;
    drop(declared(&holder).await);
    let attached = open(dir.path()).await;
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let ask = async |attached: Broker, over: Arc<AtomicBool>, asked: Arc<AtomicU64>| {
        while !over.load(Ordering::Relaxed) {
            drop(declared(&attached).await);
            attached.inspect().unwrap().stats(&mail()).await.unwrap();
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    let each = (0..32).map(|_| tokio::spawn(ask(attached.clone(), over.clone(), asked.clone())));
    let askers: Vec<_> = each.collect();
    let all_have_asked_again = async || {
        let enough = asked.load(Ordering::Relaxed) + 100;
        while asked.load(Ordering::Relaxed) < enough && !askers.iter().any(JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
    };
    all_have_asked_again().await;
    drop(holder);
    all_have_asked_again().await;
    over.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_dropped_makes_room_for_the_next() {
    let dir = TempDir::new().unwrap();
    for round in 0..5 {
        let broker = open(dir.path()).await;
        let receiver = declared(&broker).await;
        if round > 0 {
            let lease = receive(&receiver).await;
            assert_eq!(text(&lease), "again");
            assert_eq!(receiver.complete(&lease).await.unwrap(), DONE);
        }
        send(&broker, "again").await;
    }
}
