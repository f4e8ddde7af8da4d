//! While nobody takes over, and while replicas are missing.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::{
    Broker, DeadLetterPolicy, Lease, NewTask, Partitions, QueueName, QueueSpec, ReceiveOptions,
    SessionOptions, Settled, State, Verdict,
};

use super::{
    GUARD, LEASE, ask, broker, cluster, connection, insist, is_away, named, number, queue_at,
    replica_of, send, slot,
};

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
    let Halves { mail, graves, there, away } = halves(&cluster, &broker).await;
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
    for key in [&there; 10].into_iter().chain([&away]) {
        send(key).await.unwrap();
    }
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
    let lease = any(async || insist(|| receive(1)).await).await;
    assert_eq!(lease.task.ordering_key.as_deref(), Some(&*away));
    let _ = insist(|| receiver.complete(&lease)).await;
    let session = SessionOptions::default();
    let buried = insist(|| broker.open(&graves, &session)).await;
    let options = ReceiveOptions::up_to(1);
    any(async || {
        // Whoever asks for anything finishes what was cut short.
        let _ = insist(|| receive(1)).await;
        insist(|| buried.receive(&options)).await
    })
    .await;
}

/// A call that waits for the server that hangs is not saved by the end of its patience.
const LONGER_THAN_GUARD: &str = "response_timeout_ms=600000";

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_of_a_dead_letter_queue_hangs_its_source_is_served() {
    let Some(mut cluster) = cluster().await else { return };
    serve_in_part(&cluster);
    let broker = broker(&cluster, LONGER_THAN_GUARD).await;
    let (graves, _) = queue_at(&cluster, 0);
    let (mail, _) = queue_at(&cluster, 1);
    let dead_letters =
        DeadLetterPolicy { queue: Some(graves.clone()), ..DeadLetterPolicy::default() };
    let spec = QueueSpec { dead_letters, lease: LEASE, ..QueueSpec::new(mail.clone()) };
    broker.declare(&spec).await.unwrap();
    let receiver = broker.open(&mail, &SessionOptions::default()).await.unwrap();
    let buried = broker.open(&graves, &SessionOptions::default()).await.unwrap();
    for number in 0..20 {
        send(&broker, &mail, number).await.unwrap();
    }
    let leases = receiver.receive(&ReceiveOptions::up_to(20)).await.unwrap();
    let (dead, alive) = leases.split_at(10);
    cluster.kill(replica_of(&cluster, 0));
    cluster.freeze(0).unwrap();

    let source = async {
        for lease in dead {
            let reason = Verdict::DeadLetter { reason: "of no use".into() };
            let settled = receiver.settle_one(&lease.token, reason).await.unwrap();
            assert_eq!(settled, Settled::Done { state: State::Dead });
        }
        for lease in alive {
            let settled = receiver.complete(lease).await.unwrap();
            assert_eq!(settled, Settled::Done { state: State::Done });
        }
        send(&broker, &mail, 20).await.unwrap();
        assert_eq!(receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().len(), 1);
    };
    tokio::time::timeout(GUARD, source).await.expect("a call that waits for another's server");

    cluster.unfreeze(0).unwrap();
    let (mut arrived, options) =
        (Vec::new(), ReceiveOptions::up_to(20).waiting(Duration::from_secs(1)));
    let all = async {
        while arrived.len() < dead.len() {
            arrived.extend(insist(|| buried.receive(&options)).await);
        }
    };
    tokio::time::timeout(2 * GUARD, all).await.expect("dead tasks that never arrive");
    let ids = |leases: &[Lease]| leases.iter().map(|it| it.task.id).collect::<BTreeSet<_>>();
    assert_eq!((arrived.len(), ids(&arrived)), (dead.len(), ids(dead)));
}

/// A queue of two partitions of which one is at the first server, and so is its dead-letter queue.
struct Halves {
    mail: QueueName,
    graves: QueueName,
    /// A key of the partition that is elsewhere.
    there: String,
    /// A key of the one at the first server.
    away: String,
}

async fn halves(cluster: &PrivateCluster, broker: &Broker) -> Halves {
    let at = |queue: &QueueName, partition| cluster.serving(slot(cluster, queue, partition));
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
    Halves { mail, graves, there, away }
}

/// The first that is received.
async fn any(mut receive: impl AsyncFnMut() -> Vec<Lease>) -> Lease {
    loop {
        if let Some(lease) = receive().await.pop() {
            return lease;
        }
    }
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
