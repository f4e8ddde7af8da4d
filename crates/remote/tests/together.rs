//! Calls that are under way at the same time travel together and are carried out together, and each has
//! the answer that it would have had alone.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_core::{
    Broker, BrokerParts, Capabilities, Driver, Enqueued, Error, ErrorKind, Lease, LeaseToken,
    NewTask, Operation, Ordering, QueueName, QueueSpec, ReceiveOptions, Receiver, Result, Session,
    SessionOptions, Settled, SystemClock, Verdict, memory,
};
use tidegate_remote::client::{self, Target};
use tidegate_remote::listen::{Options, Server, Tcp};

/// Long enough for a machine that does other things too; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// A memory broker that notes how many tasks came in a batch, and takes no batch with a payload `bad`.
#[derive(Debug)]
struct Picky {
    memory: Arc<dyn Driver>,
    batches: Mutex<Vec<usize>>,
}

#[async_trait::async_trait]
impl Driver for Picky {
    fn capabilities(&self) -> &Capabilities {
        self.memory.capabilities()
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.memory.declare(spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        self.batches.lock().unwrap().push(tasks.len());
        if tasks.iter().any(|task| task.payload == "bad") {
            return Err(Error::new(ErrorKind::Invalid, Operation::Enqueue, "a bad payload"));
        }
        self.memory.enqueue(queue, tasks).await
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        self.memory.open(queue, options).await
    }

    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}

/// A client of a server in this test's one thread: calls that begin in one step of it go out together.
struct Stand {
    client: Broker,
    queue: QueueName,
    picky: Arc<Picky>,
    _server: Server,
}

impl Stand {
    async fn new(ordering: Ordering) -> Self {
        let memory = memory::broker(Arc::new(SystemClock::new())).parts().driver.clone();
        let picky = Arc::new(Picky { memory, batches: Mutex::default() });
        let broker = Broker::new(BrokerParts::driver_only("picky", picky.clone()));
        let server = Server::new(broker, Options::default());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = server.listen_tcp(Tcp::open(address)).await.unwrap();
        let client = client::connect(Target::tcp(bound.to_string())).await.unwrap();
        let queue = QueueName::new("mail").unwrap();
        let spec = QueueSpec { ordering, ..QueueSpec::new(queue.clone()) };
        client.declare(&spec).await.unwrap();
        let stand = Self { client, queue, picky, _server: server };
        stand.send("first").await.unwrap();
        let receiver = stand.receiver().await;
        for first in receive(&receiver, ReceiveOptions::up_to(1)).await {
            let done = receiver.complete(&first).await.unwrap();
            assert!(matches!(done, Settled::Done { .. }));
        }
        stand.picky.batches.lock().unwrap().clear();
        stand
    }

    async fn receiver(&self) -> Receiver {
        self.client.open(&self.queue, &SessionOptions::default()).await.unwrap()
    }

    async fn send(&self, payload: &'static str) -> Result<Enqueued> {
        self.client.enqueue_one(&self.queue, NewTask::new("mail", payload)).await
    }

    async fn send_of_key(&self, key: &str) {
        let task = NewTask { ordering_key: Some(key.into()), ..NewTask::new("mail", "of a key") };
        self.client.enqueue_one(&self.queue, task).await.unwrap();
    }
}

async fn receive(from: &Receiver, options: ReceiveOptions) -> Vec<Lease> {
    tokio::time::timeout(PATIENCE, from.receive(&options)).await.unwrap().unwrap()
}

#[tokio::test]
async fn sends_that_travel_together_are_one_batch_of_the_broker_in_their_order() {
    let stand = Stand::new(Ordering::None).await;
    let (a, b, c) = tokio::join!(stand.send("a"), stand.send("b"), stand.send("c"));
    let sequences = [a, b, c].map(|sent| sent.unwrap().sequence);
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert_eq!(*stand.picky.batches.lock().unwrap(), [3]);
}

#[tokio::test]
async fn a_send_that_is_refused_takes_none_of_its_companions_with_it() {
    let stand = Stand::new(Ordering::None).await;
    let (a, bad, b) = tokio::join!(stand.send("a"), stand.send("bad"), stand.send("b"));
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    let receiver = stand.receiver().await;
    assert_eq!(receive(&receiver, ReceiveOptions::up_to(9)).await.len(), 2, "each of them once");
}

#[tokio::test]
async fn a_send_to_no_queue_is_told_so_beside_others() {
    let stand = Stand::new(Ordering::None).await;
    let missing = QueueName::new("missing").unwrap();
    let nowhere = stand.client.enqueue_one(&missing, NewTask::new("mail", "a"));
    let (a, nowhere) = tokio::join!(stand.send("a"), nowhere);
    assert_eq!(nowhere.unwrap_err().kind(), ErrorKind::NotFound);
    a.unwrap();
}

#[tokio::test]
async fn settles_that_travel_together_have_their_own_outcomes() {
    let stand = Stand::new(Ordering::None).await;
    let receiver = stand.receiver().await;
    tokio::try_join!(stand.send("a"), stand.send("b"), stand.send("c"), stand.send("d")).unwrap();
    let leases = receive(&receiver, ReceiveOptions::up_to(9)).await;
    let tokens: Vec<_> = leases.into_iter().map(|lease| lease.token).collect();
    let [a, b, c, d] = tokens.as_slice() else { panic!("{tokens:?}") };
    let done = |token: &LeaseToken| (token.clone(), Verdict::Complete);
    receiver.settle(&[done(d)]).await.unwrap();
    let (one, two) = ([done(a)], [done(b), done(d)]);
    let bad = [done(c), done(&LeaseToken::from_bytes(b"no token".as_slice()))];
    let (one, bad, two) =
        tokio::join!(receiver.settle(&one), receiver.settle(&bad), receiver.settle(&two));
    assert!(matches!(one.unwrap()[..], [Settled::Done { .. }]));
    assert!(matches!(two.unwrap()[..], [Settled::Done { .. }, Settled::AlreadyDone]));
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(matches!(receiver.settle(&[done(c)]).await.unwrap()[..], [Settled::Done { .. }]));
}

#[tokio::test]
async fn receives_that_travel_together_get_what_each_asked_for_and_wait_for_the_rest() {
    let stand = Stand::new(Ordering::None).await;
    let receiver = stand.receiver().await;
    tokio::try_join!(stand.send("a"), stand.send("b"), stand.send("c")).unwrap();
    let waiting = || ReceiveOptions::up_to(1).waiting(PATIENCE);
    let (at_once, two) = (ReceiveOptions::up_to(1), ReceiveOptions::up_to(2));
    let late = async {
        let last = receive(&receiver, waiting()).await;
        last.into_iter().map(|lease| lease.task.payload).collect::<Vec<_>>()
    };
    let send = async {
        // The others have been answered, or there would be something left for the last one.
        let stats = async || receive(&receiver, ReceiveOptions::up_to(1)).await.len();
        assert_eq!(stats().await, 0);
        stand.send("d").await.unwrap();
    };
    let (one, two, late, ()) =
        tokio::join!(receive(&receiver, at_once), receive(&receiver, two), late, send);
    assert_eq!((one.len(), two.len()), (1, 2));
    assert_eq!(late, ["d"]);
}

#[tokio::test]
async fn receives_that_travel_together_never_share_a_key() {
    let stand = Stand::new(Ordering::Key).await;
    let receiver = stand.receiver().await;
    for key in ["a", "a", "b", "b", "c", "c"] {
        stand.send_of_key(key).await;
    }
    let keys = async || -> BTreeSet<_> {
        let leases = receive(&receiver, ReceiveOptions::up_to(3).per_key(2)).await;
        leases.into_iter().map(|lease| lease.task.ordering_key.unwrap().to_string()).collect()
    };
    let (first, second) = tokio::join!(keys(), keys());
    assert!(!first.is_empty() && !second.is_empty());
    assert!(first.is_disjoint(&second), "{first:?} and {second:?}");
}
