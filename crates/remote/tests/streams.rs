//! The two streams as a client of another language sees them, and what becomes of calls when a caller
//! or the server goes away.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_core::{
    Broker, BrokerParts, Capabilities, Capacity, Driver, Enqueued, ErrorKind, Lease, NewTask,
    QueueName, QueueSpec, ReceiveOptions, Result, Session, SessionOptions, SystemClock, memory,
};
use tidegate_remote::client::{self, Target};
use tidegate_remote::listen::{Options, Server, Tcp};
use tidegate_remote::proto::broker_client::BrokerClient;
use tidegate_remote::proto::{self, work_request::Step, work_response::Answer};
use tidegate_remote::service::Limits;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

/// Long enough for a machine that does other things too; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

fn mail() -> QueueName {
    QueueName::new("mail").unwrap()
}

async fn broker() -> Broker {
    let broker = memory::broker(Arc::new(SystemClock::new()));
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(mail()) };
    broker.declare(&spec).await.unwrap();
    broker
}

async fn serve(broker: &Broker, limits: Limits, port: u16) -> (Server, SocketAddr) {
    let server = Server::new(broker.clone(), Options { limits, ..Options::default() });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let bound = server.listen_tcp(Tcp::open(address)).await.unwrap();
    (server, bound)
}

/// A stream of work, a message at a time.
struct Raw {
    broker: Broker,
    steps: mpsc::UnboundedSender<proto::WorkRequest>,
    answers: Streaming<proto::WorkResponse>,
    last: u64,
    _server: Server,
}

impl Raw {
    async fn new(limits: Limits) -> Self {
        let broker = broker().await;
        let (server, address) = serve(&broker, limits, 0).await;
        let mut calls = BrokerClient::connect(format!("http://{address}")).await.unwrap();
        let (steps, outgoing) = mpsc::unbounded_channel();
        let answers = calls.work(UnboundedReceiverStream::new(outgoing)).await.unwrap();
        let answers = answers.into_inner();
        Self { broker, steps, answers, last: 0, _server: server }
    }

    /// With session 1 open.
    async fn opened(limits: Limits) -> Self {
        let mut raw = Self::new(limits).await;
        let open = raw.open(1);
        assert_eq!(raw.answer().await, (open, Answer::Opened(proto::Opened {})));
        raw
    }

    fn step(&mut self, session: u32, step: Step) -> u64 {
        self.last += 1;
        let request = proto::WorkRequest { id: self.last, session, step: Some(step) };
        self.steps.send(request).unwrap();
        self.last
    }

    fn open(&mut self, session: u32) -> u64 {
        self.step(session, Step::Open(proto::Open { queue: "mail".into(), member: None }))
    }

    fn credit(&mut self, limit: u32, wait_us: Option<u64>) -> u64 {
        self.step(1, Step::Credit(proto::Credit { limit, wait_us, ..proto::Credit::default() }))
    }

    fn complete(&mut self, tokens: &[&[u8]]) -> u64 {
        let kind = Some(proto::verdict::Kind::Complete(proto::Complete {}));
        let decision = |token: &&[u8]| proto::Decision {
            token: token.to_vec().into(),
            verdict: Some(proto::Verdict { kind: kind.clone() }),
        };
        let decisions = tokens.iter().map(decision).collect();
        self.step(1, Step::Settle(proto::Settle { decisions }))
    }

    async fn answer(&mut self) -> (u64, Answer) {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        let answer = answer.unwrap().unwrap().unwrap();
        (answer.id, answer.answer.unwrap())
    }

    async fn leases(&mut self, credit: u64) -> proto::Leases {
        match self.answer().await {
            (id, Answer::Leases(leases)) if id == credit => leases,
            other => panic!("{other:?}"),
        }
    }

    async fn send(&self, payload: impl Into<bytes::Bytes>) {
        self.broker.enqueue_one(&mail(), NewTask::new("mail", payload)).await.unwrap();
    }

    async fn ready(&self) -> u64 {
        self.broker.inspect().unwrap().stats(&mail()).await.unwrap().ready
    }
}

fn kind(answer: &Answer) -> Option<proto::ErrorKind> {
    match answer {
        Answer::Error(error) => Some(error.kind()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_credit_is_pushed_leases_until_it_is_used_up() {
    let mut raw = Raw::opened(Limits::default()).await;
    let credit = raw.credit(3, None);
    for left in [2, 1, 0] {
        raw.send("a").await;
        let leases = raw.leases(credit).await;
        assert_eq!((leases.leases.len(), leases.more), (1, left > 0));
    }
    raw.send("b").await;
    let next = raw.credit(1, Some(0));
    assert_eq!(raw.leases(next).await.leases.len(), 1, "nobody else took it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_that_is_taken_back_is_answered_and_takes_nothing_more() {
    let mut raw = Raw::opened(Limits::default()).await;
    let credit = raw.credit(3, None);
    raw.step(1, Step::Cancel(proto::Cancel { credit }));
    let leases = raw.leases(credit).await;
    assert_eq!((leases.leases.len(), leases.more), (0, false));
    raw.send("a").await;
    assert_eq!(raw.ready().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bytes_come_in_parts() {
    let mut raw = Raw::opened(Limits::default()).await;
    for _ in 0..12 {
        raw.send(vec![7; 200 << 10]).await;
    }
    let credit = raw.credit(12, Some(0));
    let (mut parts, mut count) = (0, 0);
    loop {
        let leases = raw.leases(credit).await;
        (parts, count) = (parts + 1, count + leases.leases.len());
        if !leases.more {
            break;
        }
    }
    assert_eq!((parts, count), (2, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_are_settled_together_are_answered_each_for_itself() {
    let mut raw = Raw::opened(Limits::default()).await;
    raw.send("a").await;
    raw.send("b").await;
    let credit = raw.credit(2, Some(0));
    let leases = raw.leases(credit).await.leases;
    let tokens: Vec<_> = leases.into_iter().map(|lease| lease.token).collect();
    let [a, b] = tokens.as_slice() else { panic!("{tokens:?}") };
    let good = raw.complete(&[a]);
    let bad = raw.complete(&[b"no token", b]);
    let also_good = raw.complete(&[b, a]);
    let mut answers = [raw.answer().await, raw.answer().await, raw.answer().await];
    answers.sort_by_key(|(id, _)| *id);
    let done = |outcomes: &[proto::Outcome]| {
        let outcomes = outcomes.iter().map(|outcome| i32::from(*outcome)).collect();
        Answer::Outcomes(proto::Outcomes { outcomes })
    };
    let [first, second, third] = answers;
    assert_eq!(first, (good, done(&[proto::Outcome::Done])));
    assert_eq!((second.0, kind(&second.1)), (bad, Some(proto::ErrorKind::Invalid)));
    let both = done(&[proto::Outcome::Done, proto::Outcome::AlreadyDone]);
    assert_eq!(third, (also_good, both), "the bad step carried nothing out");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_limits_is_refused_and_the_stream_goes_on() {
    let limits = Limits { sessions_max: 1, credits_max: 1, ..Limits::default() };
    let mut raw = Raw::opened(limits).await;
    let second = raw.open(2);
    let (id, answer) = raw.answer().await;
    assert_eq!((id, kind(&answer)), (second, Some(proto::ErrorKind::Invalid)));
    let stands = raw.credit(1, None);
    let too_many = raw.credit(1, None);
    let (id, answer) = raw.answer().await;
    assert_eq!((id, kind(&answer)), (too_many, Some(proto::ErrorKind::Invalid)));
    let unknown = raw.step(9, Step::Close(proto::Close { keep: false }));
    let (id, answer) = raw.answer().await;
    assert_eq!((id, kind(&answer)), (unknown, Some(proto::ErrorKind::Closed)));
    raw.send("a").await;
    assert_eq!(raw.leases(stands).await.leases.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_about_to_open_count() {
    let mut raw = Raw::new(Limits { sessions_max: 2, ..Limits::default() }).await;
    for session in 1..=10 {
        raw.open(session);
    }
    let mut opened = 0;
    for _ in 0..10 {
        opened += usize::from(matches!(raw.answer().await.1, Answer::Opened(_)));
    }
    assert_eq!(opened, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_in_use_are_refused() {
    let mut raw = Raw::opened(Limits::default()).await;
    let again = raw.open(1);
    let (id, answer) = raw.answer().await;
    assert_eq!((id, kind(&answer)), (again, Some(proto::ErrorKind::Invalid)));
    let credit = raw.credit(2, None);
    raw.last -= 1;
    assert_eq!(raw.credit(2, None), credit);
    let (id, answer) = raw.answer().await;
    assert_eq!((id, kind(&answer)), (credit, Some(proto::ErrorKind::Invalid)));
    raw.send("a").await;
    let leases = raw.leases(credit).await;
    assert_eq!((leases.leases.len(), leases.more), (1, true), "the first one stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_more_leases_than_the_broker_takes_at_once_are_refused_or_settled_apart() {
    let mut raw = Raw::opened(Limits::default()).await;
    raw.send("a").await;
    let credit = raw.credit(1, Some(0));
    let token = raw.leases(credit).await.leases.remove(0).token;
    let most = raw.broker.capabilities().batch_max;
    let many = vec![&token[..]; most + 1];
    let too_many = raw.complete(&many);
    let (id, answer) = raw.answer().await;
    assert_eq!((id, kind(&answer)), (too_many, Some(proto::ErrorKind::Invalid)));

    let good = raw.complete(&[&token]);
    // One token among them is none: nothing of this step is carried out, and nothing else is undone.
    let mut with_bad = vec![&token[..]; most - 1];
    with_bad.push(b"no token");
    let bad = raw.complete(&with_bad);
    let mut answers = [raw.answer().await, raw.answer().await];
    answers.sort_by_key(|(id, _)| *id);
    let done = Answer::Outcomes(proto::Outcomes { outcomes: vec![proto::Outcome::Done.into()] });
    assert_eq!(answers[0], (good, done));
    assert_eq!((answers[1].0, kind(&answers[1].1)), (bad, Some(proto::ErrorKind::Invalid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_the_credit_are_read_when_others_are_answered() {
    let limits = Limits { credit_bytes: 1_000, ..Limits::default() };
    let broker = broker().await;
    let (_server, address) = serve(&broker, limits, 0).await;
    let client = client::connect(Target::tcp(address.to_string())).await.unwrap();
    let queue = mail();
    let task = || [NewTask::new("mail", vec![7; 700])];
    let sends = (0..20).map(|_| async { client.enqueue(&queue, &task()).await.unwrap().len() });
    let sent: usize = futures_util::future::join_all(sends).await.into_iter().sum();
    assert_eq!(sent, 20);
    let large = client.enqueue(&queue, &[NewTask::new("mail", vec![7; 5_000])]).await.unwrap();
    assert!(large[0].is_ok(), "one that is larger than the credit goes alone");
}

/// A memory broker that answers a moment after it has enqueued, and takes two tasks at once.
#[derive(Debug)]
struct Slow {
    memory: Arc<dyn Driver>,
    capabilities: Capabilities,
}

#[async_trait::async_trait]
impl Driver for Slow {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.memory.declare(spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        let outcomes = self.memory.enqueue(queue, tasks).await;
        tokio::task::yield_now().await;
        outcomes
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        self.memory.open(queue, options).await
    }

    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_of_one_stream_keep_their_order_however_many_have_arrived_together() {
    const REQUESTS: u64 = 5_000;
    let memory = memory::broker(Arc::new(SystemClock::new())).parts().driver.clone();
    let capabilities = Capabilities { batch_max: 2, ..memory.capabilities().clone() };
    let parts = BrokerParts::driver_only("slow", Arc::new(Slow { memory, capabilities }));
    let broker = Broker::new(parts);
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(mail()) };
    broker.declare(&spec).await.unwrap();
    let (_server, address) = serve(&broker, Limits::default(), 0).await;
    let mut calls = BrokerClient::connect(format!("http://{address}")).await.unwrap();
    let task = proto::NewTask { kind: "mail".into(), ..proto::NewTask::default() };
    let request =
        move |id| proto::EnqueueRequest { id, queue: "mail".into(), tasks: vec![task.clone()] };
    let requests = futures_util::stream::iter((1..=REQUESTS).map(request));
    let mut receipts = calls.enqueue(requests).await.unwrap().into_inner();
    let mut sequences = Vec::new();
    while let Some(receipt) =
        tokio::time::timeout(PATIENCE, receipts.message()).await.unwrap().unwrap()
    {
        sequences.extend(receipt.outcomes.iter().map(|outcome| (receipt.id, outcome.sequence)));
    }
    sequences.sort_unstable();
    assert_eq!(sequences.len(), REQUESTS as usize);
    assert!(
        sequences.is_sorted_by_key(|(_, sequence)| *sequence),
        "later ones overtook earlier ones"
    );
}

async fn receive(from: &tidegate_core::Receiver) -> Lease {
    let options = ReceiveOptions::up_to(1).waiting(PATIENCE);
    from.receive(&options).await.unwrap().pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_is_dropped_strands_nothing() {
    let broker = broker().await;
    let (_server, address) = serve(&broker, Limits::default(), 0).await;
    let client = client::connect(Target::tcp(address.to_string())).await.unwrap();
    let receiver = client.open(&mail(), &SessionOptions::default()).await.unwrap();
    {
        let mut dropped = pin!(receive(&receiver));
        assert!(dropped.as_mut().now_or_never().is_none());
    }
    let queue = mail();
    let (lease, sent) =
        tokio::join!(receive(&receiver), broker.enqueue_one(&queue, NewTask::new("mail", "a")),);
    sent.unwrap();
    assert_eq!(lease.task.attempt, 1, "nobody's receive costs no attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_out_when_the_server_goes_is_unavailable_and_the_next_one_waits_for_it() {
    let broker = broker().await;
    let (server, address) = serve(&broker, Limits::default(), 0).await;
    let client = client::connect(Target::tcp(address.to_string())).await.unwrap();
    let receiver = client.open(&mail(), &SessionOptions::default()).await.unwrap();
    broker.enqueue_one(&mail(), NewTask::new("mail", "a")).await.unwrap();
    let lease = receive(&receiver).await;
    let waiting = receiver.clone();
    let options = ReceiveOptions::up_to(1).waiting(PATIENCE);
    let waiting = tokio::spawn(async move { waiting.receive(&options).await });
    // Dropped without a stop: cut off, whatever was going on.
    drop(server);
    match waiting.await.unwrap() {
        Ok(leases) => assert!(leases.is_empty()),
        Err(lost) => assert_eq!(lost.kind(), ErrorKind::Unavailable),
    }
    let (completed, (_server, _)) =
        tokio::join!(receiver.complete(&lease), serve(&broker, Limits::default(), address.port()));
    let completed = match completed {
        Err(lost) if lost.kind() == ErrorKind::Unavailable => receiver.complete(&lease).await,
        completed => completed,
    };
    assert!(format!("{:?}", completed.unwrap()).starts_with("Done"), "by the next connection");
}
