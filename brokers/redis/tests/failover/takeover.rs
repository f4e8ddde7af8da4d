//! Who was there before goes on with the replica that took over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_core::{
    Lease, Ordering, QueueSpec, ReceiveOptions, Receiver, SessionOptions, Settled, Verdict,
};

use super::{GUARD, LEASE, broker, cluster, insist, number, queue_at, replicated, send};

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
        let told = told_of_a_task(&receiver, || send(&broker, &mail, 0)).await;
        let _ = receiver.complete(&told).await.unwrap();

        cluster.bring_back(place).await.unwrap();
        place = next;
    }
}

/// A task that is sent while a receive waits for it.
async fn told_of_a_task<F>(receiver: &Receiver, send: impl Fn() -> F) -> Lease
where
    F: Future<Output = tidegate_core::Result<()>>,
{
    let options = ReceiveOptions::up_to(1).waiting(GUARD);
    let both = async { tokio::join!(receiver.receive(&options), insist(send)) };
    // Before it looks by itself, when its wait is over.
    let (leases, ()) = tokio::time::timeout(GUARD / 2, both).await.expect("nobody told of it");
    leases.unwrap().pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_is_left_for_the_replica_that_took_over() {
    let Some(mut cluster) = cluster().await else { return };
    // What it is not told it does not see.
    let broker = broker(&cluster, "response_timeout_ms=1000&block_timeout_ms=600000").await;
    let (mail, slot) = queue_at(&cluster, 0);
    broker.declare(&QueueSpec { lease: LEASE, ..QueueSpec::new(mail.clone()) }).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let told = told_of_a_task(&receiver, || send(&broker, &mail, 7)).await;
    let _ = receiver.complete(&told).await.unwrap();
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
    let last = insist(|| receiver.receive(&options)).await;
    assert_eq!(last.iter().map(number).collect::<Vec<_>>(), [4]);
    // Who listened to the one that hangs is told all the same.
    let told = told_of_a_task(&receiver, || send(&broker, &mail, 5)).await;
    assert_eq!(number(&told), 5);
    cluster.thaw(0).await.unwrap();
    insist(|| send(&broker, &mail, 6)).await;
    let last = insist(|| receiver.receive(&options)).await;
    assert_eq!(last.iter().map(number).collect::<Vec<_>>(), [6]);
}
