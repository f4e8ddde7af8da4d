//! What listens, over real sockets: who is let in, what is bounded, and how it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{FutureExt, stream};
use hyper_util::rt::TokioIo;
use tidegate_core::clock::Sleep;
use tidegate_core::{
    Action, Broker, Clock, DeadFilter, Error, ErrorKind, Inspect, ListOptions, Member, NewTask,
    Operation, Pattern, QueueName, QueueSpec, QueueStats, ReceiveOptions, Result, Right,
    SessionOptions, SystemClock, TaskId, TaskView, Timestamp, queueing,
};
use tidegate_remote::client::{self, Target};
use tidegate_remote::listen::{Digest, Options, Server, Tcp, Tls, Tokens};
use tidegate_remote::proto::broker_client::BrokerClient;
use tidegate_remote::proto::hello_response::Event;
use tidegate_remote::proto::{self, HelloRequest, ListQueuesRequest};
use tidegate_remote::service::Limits;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SECRET: &str = "a-secret-of-the-mailer";
/// Long enough that nothing but a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

fn memory() -> Broker {
    tidegate_core::memory::broker(Arc::new(SystemClock::new()))
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn open() -> Tcp {
    Tcp::open(anywhere())
}

async fn serve(options: Options, tcp: Tcp) -> (Server, SocketAddr) {
    let server = Server::new(memory(), options);
    let address = server.listen_tcp(tcp).await.unwrap();
    (server, address)
}

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

fn tokens() -> Tcp {
    let mut tokens = Tokens::new();
    let queues = Pattern::new("mail.*").unwrap();
    let rights = vec![Right { queues, actions: vec![Action::Inspect] }];
    tokens.add("mailer", Digest::of(SECRET).unwrap(), rights).unwrap();
    Tcp { tokens: Some(Arc::new(tokens)), ..open() }
}

fn health_of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

fn stats_of(queue: &str) -> proto::GetStatsRequest {
    proto::GetStatsRequest { queue: queue.into() }
}

/// A client that has said hello, and what it hears.
async fn greeted(address: SocketAddr) -> (BrokerClient<Channel>, Streaming<proto::HelloResponse>) {
    let mut client = BrokerClient::new(channel(address).await);
    let mut hello = client.hello(HelloRequest::default()).await.unwrap().into_inner();
    let event = hello.message().await.unwrap().unwrap().event;
    assert!(matches!(event, Some(Event::Welcome(_))));
    (client, hello)
}

/// Waits until the other side closes.
async fn closes(connection: &mut TcpStream) {
    let end = async { while matches!(connection.read(&mut [0; 256]).await, Ok(1..)) {} };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
}

#[tokio::test]
async fn calls_are_answered_over_tcp_and_over_a_unix_socket() {
    let (server, address) = serve(Options::default(), open()).await;
    let mut over_tcp = BrokerClient::new(channel(address).await);
    assert!(over_tcp.list_queues(ListQueuesRequest {}).await.is_ok());

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    server.listen_unix(&path).await.unwrap();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://tidegate");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    assert!(BrokerClient::new(channel).list_queues(ListQueuesRequest {}).await.is_ok());
    assert!(server.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_call_needs_a_token_that_is_known_and_has_the_right() {
    let (_server, address) = serve(Options::default(), tokens()).await;
    let mut client = BrokerClient::new(channel(address).await);
    let missing = client.list_queues(ListQueuesRequest {}).await.unwrap_err();
    let request = with_token(ListQueuesRequest {}, "a-secret-of-the-mailor");
    let wrong = client.list_queues(request).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unauthenticated);
    assert_eq!((wrong.code(), wrong.message()), (missing.code(), missing.message()));
    assert!(missing.message().contains("authorization: Bearer TOKEN"), "{missing}");

    assert!(client.list_queues(with_token(ListQueuesRequest {}, SECRET)).await.is_ok());
    let allowed = client.get_stats(with_token(stats_of("mail.in"), SECRET)).await.unwrap_err();
    assert_eq!(allowed.code(), Code::NotFound);
    let denied = client.get_stats(with_token(stats_of("orders"), SECRET)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn health_needs_no_token_and_reflection_does() {
    let (_server, address) = serve(Options::default(), tokens()).await;
    let channel = channel(address).await;
    for service in ["tidegate.v1.Broker", ""] {
        let health = HealthClient::new(channel.clone()).check(health_of(service)).await.unwrap();
        assert_eq!(health.into_inner().status, SERVING);
    }
    let list = MessageRequest::ListServices(String::new());
    let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = ServerReflectionClient::new(channel);
    let request = Request::new(stream::iter([list.clone()]));
    let refused = reflection.server_reflection_info(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let request = with_token(stream::iter([list]), SECRET);
    let mut answers = reflection.server_reflection_info(request).await.unwrap().into_inner();
    let services = format!("{:?}", answers.message().await.unwrap());
    assert!(services.contains("tidegate.v1.Broker"), "{services}");
    assert!(services.contains("grpc.health.v1.Health"), "{services}");
}

#[tokio::test]
async fn an_open_port_without_tokens_is_refused_unless_it_is_meant() {
    let server = Server::new(memory(), Options::default());
    let everywhere = Tcp::open("0.0.0.0:0".parse().unwrap());
    let refused = server.listen_tcp(everywhere.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let meant = Tcp { insecure: true, ..everywhere };
    assert!(server.listen_tcp(meant).await.is_ok());
}

fn certificate() -> (String, Tls) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let pem = made.cert.pem();
    let key = made.signing_key.serialize_pem().into_bytes();
    (pem.clone(), Tls { certificates: pem.into_bytes(), key })
}

#[tokio::test]
async fn tls_is_spoken_with_those_who_trust_the_certificate() {
    let (pem, tls) = certificate();
    let tcp = Tcp { tls: Some(tls), ..tokens() };
    let (_server, address) = serve(Options::default(), tcp).await;
    let trusting = |pem: &str| {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        endpoint.tls_config(config.domain_name("localhost")).unwrap()
    };
    let mut client = BrokerClient::new(trusting(&pem).connect().await.unwrap());
    assert!(client.list_queues(with_token(ListQueuesRequest {}, SECRET)).await.is_ok());
    let refused = client.list_queues(ListQueuesRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(trusting(&certificate().0).connect().await.is_err());
    let plain = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    assert!(BrokerClient::new(plain).list_queues(ListQueuesRequest {}).await.is_err());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named_as_such() {
    let server = Server::new(memory(), Options::default());
    let (_, good) = certificate();
    let another_key = Tls { key: certificate().1.key, ..good.clone() };
    let no_key = Tls { key: b"nothing".to_vec(), ..good.clone() };
    let no_certificate = Tls { certificates: b"nothing".to_vec(), ..good };
    for tls in [another_key, no_key, no_certificate] {
        let tcp = Tcp { tls: Some(tls), ..open() };
        let error = server.listen_tcp(tcp).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("must be PEM"), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let limits = Limits { request_bytes_max: 1_024, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let (_server, address) = serve(options, open()).await;
    let mut client = BrokerClient::new(channel(address).await);
    let long = client.get_stats(stats_of(&"q".repeat(2_000))).await.unwrap_err();
    assert_eq!(long.code(), Code::OutOfRange);

    let with_header = |bytes: usize| {
        let mut request = Request::new(ListQueuesRequest {});
        request.metadata_mut().insert("x-filler", "x".repeat(bytes).parse().unwrap());
        request
    };
    assert!(client.list_queues(with_header(15 << 10)).await.is_ok());
    assert!(client.list_queues(with_header(17 << 10)).await.is_err());
}

#[tokio::test]
async fn a_call_ends_in_time_and_a_stream_does_not() {
    let options = Options { call_timeout: Duration::from_millis(50), ..Options::default() };
    let (_server, address) = serve(options, open()).await;
    let channel = channel(address).await;
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut streams = BrokerClient::new(channel.clone());
    let mut answers = streams.enqueue(requests).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().id, 0);

    // A plain call whose request never comes to its end.
    let mut calls = tonic::client::Grpc::new(channel);
    calls.ready().await.unwrap();
    let path = PathAndQuery::from_static("/tidegate.v1.Broker/ListQueues");
    let codec = tonic_prost::ProstCodec::<ListQueuesRequest, proto::ListQueuesResponse>::default();
    let never = Request::new(stream::pending());
    let late = tokio::time::timeout(PATIENCE, calls.client_streaming(never, path, codec));
    assert_eq!(late.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);

    let request = proto::EnqueueRequest { id: 7, queue: "none".into(), tasks: Vec::new() };
    send.send(request).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().id, 7);
}

#[tokio::test]
async fn a_connection_without_a_call_is_closed_and_one_with_a_call_is_not() {
    let options = Options { first_call_within: Duration::from_millis(200), ..Options::default() };
    let (_server, address) = serve(options, open()).await;
    let (_client, mut hello) = greeted(address).await;
    // It comes later, so its time is over later.
    closes(&mut TcpStream::connect(address).await.unwrap()).await;
    assert!(hello.message().now_or_never().is_none());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let options = Options { connections_max: 1, ..Options::default() };
    let (_server, address) = serve(options, open()).await;
    let (_client, mut hello) = greeted(address).await;
    let closed = async { closes(&mut TcpStream::connect(address).await.unwrap()).await };
    // Long before a connection without a call is closed.
    tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
    assert!(hello.message().now_or_never().is_none());
}

#[tokio::test]
async fn one_stream_too_many_waits() {
    let options = Options { streams_max: 1, ..Options::default() };
    let (_server, address) = serve(options, open()).await;
    let (mut client, hello) = greeted(address).await;
    let waiting = tokio::spawn(async move { client.list_queues(ListQueuesRequest {}).await });
    let mut other = BrokerClient::new(channel(address).await);
    other.list_queues(ListQueuesRequest {}).await.unwrap();
    assert!(!waiting.is_finished());
    drop(hello);
    tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}

/// A clock that notes which threads ask it, and whether requests stand in line for them.
#[derive(Debug, Default)]
struct Noting {
    clock: SystemClock,
    asked_by: Mutex<HashSet<ThreadId>>,
    in_line: Mutex<HashSet<bool>>,
}

impl Clock for Noting {
    fn now(&self) -> Timestamp {
        self.asked_by.lock().unwrap().insert(thread::current().id());
        self.in_line.lock().unwrap().insert(queueing::is_in_line());
        self.clock.now()
    }

    fn sleep_until(&self, until: Timestamp) -> Sleep {
        self.clock.sleep_until(until)
    }
}

#[tokio::test]
async fn each_connection_is_answered_by_the_one_thread_that_it_was_given_to() {
    let clock = Arc::new(Noting::default());
    let (threads, first_call_within) = (NonZeroUsize::new(2), Duration::from_secs(3_600));
    let options = Options { threads, first_call_within, ..Options::default() };
    let server = Server::new(tidegate_core::memory::broker(clock.clone()), options);
    let address = server.listen_tcp(open()).await.unwrap();
    let queue = QueueName::new("mail").unwrap();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let client = client::connect(Target::tcp(address.to_string())).await.unwrap();
        client.declare(&QueueSpec::new(queue.clone())).await.unwrap();
        clients.push(client);
    }
    let mut answered_by = Vec::new();
    for client in &clients {
        clock.asked_by.lock().unwrap().clear();
        for _ in 0..10 {
            client.enqueue_one(&queue, NewTask::new("mail", "payload")).await.unwrap();
        }
        answered_by.push(std::mem::take(&mut *clock.asked_by.lock().unwrap()));
    }
    let (first, second) = (&answered_by[0], &answered_by[1]);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert!(first.is_disjoint(second) && !first.contains(&thread::current().id()));
    let mut idle = TcpStream::connect(address).await.unwrap();
    // WHY: the server speaks first, once it has taken the connection; until then a stop resets it.
    let mut told = vec![idle.read_u8().await.unwrap()];
    assert!(server.stop(PATIENCE).await);
    let ends = idle.read_to_end(&mut told);
    tokio::time::timeout(PATIENCE, ends).await.expect("it stays open").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_together_stand_in_line_for_their_thread() {
    let clock = Arc::new(Noting::default());
    let options = Options { threads: NonZeroUsize::new(1), ..Options::default() };
    let broker = tidegate_core::memory::broker(clock.clone());
    let spec = QueueSpec::new(QueueName::new("mail").unwrap());
    broker.declare(&spec).await.unwrap();
    let server = Server::new(broker, options);
    let address = server.listen_tcp(open()).await.unwrap();
    let mut calls = BrokerClient::new(channel(address).await);
    let task = proto::NewTask { kind: "mail".into(), ..proto::NewTask::default() };
    let request =
        move |id| proto::EnqueueRequest { id, queue: "mail".into(), tasks: vec![task.clone()] };
    let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
    let requests = tokio_stream::wrappers::UnboundedReceiverStream::new(requests);
    let mut receipts = calls.enqueue(requests).await.unwrap().into_inner();
    let credit = receipts.message().await.unwrap().unwrap();
    assert!(credit.credit_bytes > 0);
    clock.in_line.lock().unwrap().clear();
    (1..=500).for_each(|id| sender.send(request(id)).unwrap());
    for _ in 1..=500 {
        receipts.message().await.unwrap().unwrap();
    }
    assert!(clock.in_line.lock().unwrap().contains(&true));
    for id in 501.. {
        clock.in_line.lock().unwrap().clear();
        sender.send(request(id)).unwrap();
        receipts.message().await.unwrap().unwrap();
        if clock.in_line.lock().unwrap().contains(&false) {
            break;
        }
        assert!(id < 1_000, "one that comes alone is never seen to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settles_and_plain_calls_stand_in_line_as_sends_do() {
    let clock = Arc::new(Noting::default());
    let options = Options { threads: NonZeroUsize::new(1), ..Options::default() };
    let server = Server::new(tidegate_core::memory::broker(clock.clone()), options);
    let address = server.listen_tcp(open()).await.unwrap();
    let client = client::connect(Target::tcp(address.to_string())).await.unwrap();
    // WHY: of queues of their own, so that no two settles go out as one message.
    let queues: Vec<_> = (0..50).map(|n| QueueName::new(format!("q{n}")).unwrap()).collect();
    let mut held = Vec::new();
    for queue in &queues {
        client.declare(&QueueSpec::new(queue.clone())).await.unwrap();
        client.enqueue_one(queue, NewTask::new("mail", "payload")).await.unwrap();
        let receiver = client.open(queue, &SessionOptions::default()).await.unwrap();
        let lease = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap().pop().unwrap();
        held.push((receiver, lease));
    }
    let were_in_line = || std::mem::take(&mut *clock.in_line.lock().unwrap()).contains(&true);
    were_in_line();
    let settles = held.iter().map(|(receiver, lease)| receiver.complete(lease));
    join_all(settles).await.into_iter().for_each(|settled| assert!(settled.is_ok()));
    assert!(were_in_line(), "settles are not counted");
    let inspect = client.inspect().unwrap();
    let views = queues.iter().map(|queue| inspect.stats(queue));
    join_all(views).await.into_iter().for_each(|stats| assert!(stats.is_ok()));
    assert!(were_in_line(), "plain calls are not counted");
}

/// A broker whose list of queues comes when it is let go.
#[derive(Debug)]
struct Held {
    asked: Semaphore,
    let_go: Semaphore,
}

impl Held {
    /// A server of such a broker, and a call to it that has begun.
    async fn serve() -> (Arc<Self>, Server, SocketAddr, Call) {
        let held = Arc::new(Self { asked: Semaphore::new(0), let_go: Semaphore::new(0) });
        let mut parts = memory().parts().clone();
        parts.inspect = Some(held.clone());
        let server = Server::new(Broker::new(parts), Options::default());
        let address = server.listen_tcp(open()).await.unwrap();
        let mut client = BrokerClient::new(channel(address).await);
        let call = tokio::spawn(async move {
            client.list_queues(ListQueuesRequest {}).await.map(|answer| answer.into_inner().queues)
        });
        held.asked.acquire().await.unwrap().forget();
        (held, server, address, call)
    }
}

type Call = tokio::task::JoinHandle<Result<Vec<String>, tonic::Status>>;

fn unasked<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, Operation::Inspect, "nobody asks for this"))
}

#[async_trait]
impl Inspect for Held {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.asked.add_permits(1);
        self.let_go.acquire().await.unwrap().forget();
        Ok(vec![QueueName::new("mail").unwrap()])
    }

    async fn spec(&self, _: &QueueName) -> Result<QueueSpec> {
        unasked()
    }

    async fn stats(&self, _: &QueueName) -> Result<QueueStats> {
        unasked()
    }

    async fn peek(&self, _: &QueueName, _: usize) -> Result<Vec<TaskView>> {
        unasked()
    }

    async fn list(&self, _: &QueueName, _: &ListOptions) -> Result<Vec<TaskView>> {
        unasked()
    }

    async fn get(&self, _: &QueueName, _: TaskId) -> Result<Option<TaskView>> {
        unasked()
    }

    async fn dead(&self, _: &QueueName, _: &DeadFilter) -> Result<Vec<TaskView>> {
        unasked()
    }

    async fn members(&self, _: &QueueName) -> Result<Vec<Member>> {
        unasked()
    }
}

/// The next change of the broker's health.
async fn next_health(watched: &mut Streaming<HealthCheckResponse>) -> i32 {
    let next = tokio::time::timeout(PATIENCE, watched.message());
    next.await.unwrap().unwrap().unwrap().status
}

#[tokio::test]
async fn a_stop_tells_everybody_and_waits_for_what_has_begun() {
    let (held, server, address, call) = Held::serve().await;
    let mut health = HealthClient::new(channel(address).await);
    let watched = health.watch(health_of("tidegate.v1.Broker")).await.unwrap();
    let mut watched = watched.into_inner();
    assert_eq!(next_health(&mut watched).await, SERVING);
    let (mut client, mut hello) = greeted(address).await;

    let stopping = tokio::spawn({
        let server = server.clone();
        async move { server.stop(PATIENCE).await }
    });
    assert_eq!(next_health(&mut watched).await, NOT_SERVING);
    let event = hello.message().await.unwrap().unwrap().event;
    assert!(matches!(event, Some(Event::Draining(_))));
    let refused = client.list_queues(ListQueuesRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(!stopping.is_finished());
    held.let_go.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), ["mail"]);
    assert!(stopping.await.unwrap());
    assert!(hello.message().await.is_ok_and(|end| end.is_none()));
    assert!(TcpStream::connect(address).await.is_err());
    let again = server.listen_tcp(open()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_it_was_told() {
    let (_held, server, address, call) = Held::serve().await;
    assert!(!server.stop(Duration::from_millis(20)).await);
    assert!(tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap().is_err());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_dropped_ends_at_once() {
    let (_held, server, address, call) = Held::serve().await;
    drop(server);
    assert!(tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap().is_err());
    assert!(TcpStream::connect(address).await.is_err());
}
