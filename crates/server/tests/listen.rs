//! What comes over HTTP: golden bytes, limits, connections that break, TLS, and the end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Client, FORM, Form, JSON};
use rustls::pki_types::ServerName;
use serde_json::json;
use tidegate_core::capabilities::LeaseSupport;
use tidegate_core::{Broker, BrokerParts, Capabilities, ErrorKind, ManualClock, QueueName};
use tidegate_server::sqs::{Options, Service};
use tidegate_server::{Limits, Listen, Server, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Long enough that nothing but a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Stage {
    clock: ManualClock,
    broker: Broker,
    server: Server,
    client: Client,
}

async fn stage(limits: Limits) -> Stage {
    let clock = ManualClock::new();
    let broker = tidegate_core::memory::broker(Arc::new(clock.clone()));
    let server = Server::new(Service::new(broker.clone(), Options::default()).unwrap(), limits);
    let address = server.listen(Listen::open(LOOPBACK)).await.unwrap();
    Stage { clock, broker, server, client: Client::new(address, Form::Json) }
}

impl Stage {
    async fn ask(&self, action: &str, members: &str) -> Answer {
        let target = format!("AmazonSQS.{action}");
        self.client.send("POST", "/", &[("x-amz-target", &target), JSON], members.as_bytes()).await
    }

    async fn queue(&self) {
        assert_eq!(self.ask("CreateQueue", "{\"QueueName\":\"q\"}").await.status, 200);
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("waited for nothing: {what}"));
}

#[tokio::test]
async fn answers_in_json_are_these_bytes() {
    let stage = stage(Limits::default()).await;
    let address = stage.client.address;
    let made = stage.ask("CreateQueue", "{\"QueueName\":\"q\"}").await;
    assert_eq!(made.body, format!("{{\"QueueUrl\":\"http://{address}/000000000000/q\"}}"));
    assert_eq!(made.header("content-type"), Some("application/x-amz-json-1.0"));
    let none = stage.ask("ReceiveMessage", "{\"QueueUrl\":\"q\"}").await;
    assert_eq!((none.status, none.body.as_str()), (200, "{}"));
    let nothing = stage.ask("PurgeQueue", "{\"QueueUrl\":\"q\"}").await;
    assert_eq!((nothing.status, nothing.header("content-length")), (200, Some("0")));
    let gone = stage.ask("PurgeQueue", "{\"QueueUrl\":\"r\"}").await;
    let text = "{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"The specified queue does not \
                exist.\"}";
    assert_eq!((gone.status, gone.body.as_str()), (400, text));
    let told = "AWS.SimpleQueueService.NonExistentQueue;Sender";
    assert_eq!(gone.header("x-amzn-query-error"), Some(told));
    let unread = stage.ask("PurgeQueue", "{").await;
    assert!(
        unread.body.starts_with("{\"__type\":\"com.amazon.coral.service#SerializationException\"")
    );
    let unknown = stage.ask("Nothing", "{}").await;
    assert!(unknown.body.contains("com.amazon.coral.service#UnknownOperationException"));
}

#[tokio::test]
async fn a_queue_is_meant_by_its_address_in_either_form() {
    let stage = stage(Limits::default()).await;
    stage.queue().await;
    let target = ("x-amz-target", "AmazonSQS.SendMessage");
    let body = b"{\"QueueUrl\":\"q\",\"MessageBody\":\"json\"}";
    let path = "/000000000000/q";
    assert_eq!(stage.client.send("POST", path, &[target, JSON], body).await.status, 200);
    let body = b"Action=SendMessage&MessageBody=query";
    assert_eq!(stage.client.send("POST", path, &[FORM], body).await.status, 200);
    let got = stage.client.send("GET", "/000000000000/q?Action=ReceiveMessage", &[], b"").await;
    assert!(got.body.contains("<Body>json</Body>"), "{got:?}");
    let nothing = stage.client.send("GET", path, &[], b"").await;
    assert_eq!((nothing.status, nothing.body.as_str()), (404, "<UnknownOperationException/>"));
    for (path, action) in [(path, "ListQueues"), (path, "CreateQueue"), ("/", "FooBar")] {
        let path = format!("{path}?Action={action}");
        let invalid = stage.client.send("GET", &path, &[], b"").await;
        let why = format!("<Message>The action {action} is not valid for this endpoint.</Message>");
        assert!(invalid.body.contains(&why) && invalid.body.contains("<Code>InvalidAction</Code>"));
    }
}

#[tokio::test]
async fn an_address_echoes_how_the_client_came() {
    let stage = stage(Limits::default()).await;
    let head = "POST / HTTP/1.1\r\nhost: queues.example:80\r\nx-amz-target: AmazonSQS.CreateQueue\r\n\
                content-length: 17\r\n\r\n{\"QueueName\":\"q\"}";
    let mut stream = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
    stream.write_all(head.as_bytes()).await.unwrap();
    let made = client::answer(&mut stream).await;
    assert_eq!(made.body, "{\"QueueUrl\":\"http://queues.example:80/000000000000/q\"}");
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_read() {
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    let stage = stage(limits).await;
    let target = ("x-amz-target", "AmazonSQS.ListQueues");
    // The body never comes: nobody waits for it.
    let head = stage.client.head("POST", "/", &[target], 1_001);
    let mut stream = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(client::answer(&mut stream).await.status, 413);
    // One that does not say how long it is is read as far as may be.
    let head = head.replace("content-length: 1001", "transfer-encoding: chunked");
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let mut stream = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
    stream.write_all((head + &chunk + &chunk).as_bytes()).await.unwrap();
    assert_eq!(client::answer(&mut stream).await.status, 413);
    let headers: String = (0..101).map(|n| format!("h{n}: x\r\n")).collect();
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\n{headers}\r\n");
    let mut stream = TcpStream::connect(stage.client.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn clients_that_are_too_slow_are_let_go() {
    let soon = Duration::from_millis(50);
    let limits = Limits { head_within: soon, body_within: soon, ..Limits::default() };
    let stage = stage(limits).await;
    let target = ("x-amz-target", "AmazonSQS.ListQueues");
    let head = stage.client.head("POST", "/", &[target], 10);
    let mut stream = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(client::answer(&mut stream).await.status, 408);
    for begun in [&b""[..], b"POST / HTT"] {
        let mut stream = TcpStream::connect(stage.client.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{begun:?}");
    }
}

#[tokio::test]
async fn bodies_wait_for_room_and_nobody_is_lost() {
    let limits = Limits { short_bodies_bytes_max: 100, body_bytes_max: 100, ..Limits::default() };
    let stage = Arc::new(stage(limits).await);
    stage.queue().await;
    let sends: Vec<_> = (0..50)
        .map(|n| {
            let client = stage.client.another();
            let members = json!({ "QueueUrl": "q", "MessageBody": format!("{n}") });
            tokio::spawn(async move { client.ask("SendMessage", &members).await.unwrap() })
        })
        .collect();
    for send in sends {
        send.await.unwrap();
    }
    let stats = stage.broker.inspect().unwrap().stats(&QueueName::new("q").unwrap()).await.unwrap();
    assert_eq!(stats.ready, 50);
}

#[tokio::test]
async fn short_bodies_wait_behind_no_long_ones_and_who_finds_no_room_is_told() {
    let bytes = 100 << 10;
    let within = Duration::from_millis(50);
    let limits = Limits { bodies_bytes_max: bytes, body_within: within, ..Limits::default() };
    let stage = stage(limits).await;
    let head = stage.client.head("POST", "/", &[("x-amz-target", "AmazonSQS.SendMessage")], bytes);
    let (mut statuses, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut stream = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    stage.queue().await;
    for stream in &mut streams {
        statuses.push(client::answer(stream).await.status);
    }
    statuses.sort_unstable();
    assert!(statuses == [408, 408] || statuses == [408, 503], "{statuses:?}");
}

#[tokio::test]
async fn who_does_not_take_an_answer_is_let_go_and_its_room_is_free() {
    let limits = Limits { answer_within: Duration::from_millis(50), ..Limits::default() };
    let stage = stage(limits).await;
    stage.queue().await;
    let body = "x".repeat(1_000_000);
    for _ in 0..30 {
        let members = json!({ "QueueUrl": "q", "MessageBody": body }).to_string();
        assert_eq!(stage.ask("SendMessage", &members).await.status, 200);
    }
    let asked =
        json!({ "QueueUrl": "q", "MaxNumberOfMessages": 10, "VisibilityTimeout": 0 }).to_string();
    let target = ("x-amz-target", "AmazonSQS.ReceiveMessage");
    let head = stage.client.head("POST", "/", &[target], asked.len());
    for _ in 0..3 {
        let mut stream = TcpStream::connect(stage.client.address).await.unwrap();
        // More than the system takes for a client that reads nothing.
        let together = (head.clone() + &asked).repeat(20);
        stream.write_all(together.as_bytes()).await.unwrap();
        let is_over = || {
            stream
                .try_write(b"\r")
                .is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        };
        until("the connection is over", is_over).await;
        stage.clock.advance(Duration::from_secs(1));
    }
    assert!(stage.ask("ReceiveMessage", &asked).await.body.len() > 10_000_000);
}

#[tokio::test]
async fn a_receive_that_waits_holds_no_more_room_than_it_needs() {
    let limits = Limits { short_bodies_bytes_max: 100, body_bytes_max: 100, ..Limits::default() };
    let stage = stage(limits).await;
    stage.queue().await;
    // One that does not say how long it is takes room for the longest, until it is read.
    let body = "{\"QueueUrl\":\"q\",\"WaitTimeSeconds\":20}";
    let target = ("x-amz-target", "AmazonSQS.ReceiveMessage");
    let head = stage.client.head("POST", "/", &[target], 0);
    let head = head.replace("content-length: 0", "transfer-encoding: chunked");
    let chunked = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let mut polls = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
    polls.write_all(chunked.as_bytes()).await.unwrap();
    until("a receive waits", || stage.clock.next_wake().is_some()).await;
    let sent = stage.ask("SendMessage", "{\"QueueUrl\":\"q\",\"MessageBody\":\"x\"}");
    let sent = tokio::time::timeout(PATIENCE, sent).await.unwrap();
    assert_eq!(sent.status, 200);
    assert!(client::answer(&mut polls).await.body.contains("\"Body\":\"x\""));
}

#[tokio::test]
async fn one_more_connection_waits_until_another_goes() {
    let stage = stage(Limits { connections_max: 1, ..Limits::default() }).await;
    stage.queue().await;
    let second = stage.client.another();
    let asked = tokio::spawn(async move { second.ask("ListQueues", &json!({})).await });
    assert_eq!(stage.ask("ListQueues", "{}").await.status, 200);
    assert!(!asked.is_finished());
    drop(stage.client);
    let listed = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
    assert_eq!(listed["QueueUrls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_receive_whose_client_goes_takes_nothing_from_others() {
    let stage = stage(Limits::default()).await;
    stage.queue().await;
    let target = ("x-amz-target", "AmazonSQS.ReceiveMessage");
    let body = "{\"QueueUrl\":\"q\",\"WaitTimeSeconds\":20}";
    let head = stage.client.head("POST", "/", &[target], body.len());
    for _ in 0..20 {
        let mut stream = TcpStream::connect(stage.client.address).await.unwrap();
        stream.write_all((head.clone() + body).as_bytes()).await.unwrap();
        until("a receive waits", || stage.clock.next_wake().is_some()).await;
        drop(stream);
        until("the receive is over", || stage.clock.next_wake().is_none()).await;
    }
    stage.ask("SendMessage", "{\"QueueUrl\":\"q\",\"MessageBody\":\"x\"}").await;
    let received = stage.ask("ReceiveMessage", "{\"QueueUrl\":\"q\"}").await;
    assert!(received.body.contains("\"Body\":\"x\""), "{received:?}");
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let stage = stage(Limits::default()).await;
    stage.queue().await;
    let request = |n: u32| {
        let body = format!("{{\"QueueUrl\":\"q\",\"MessageBody\":\"{n}\"}}");
        let target = ("x-amz-target", "AmazonSQS.SendMessage");
        stage.client.head("POST", "/", &[target], body.len()) + &body
    };
    let together: String = (0..5).map(request).collect();
    let mut stream = BufReader::new(TcpStream::connect(stage.client.address).await.unwrap());
    stream.write_all(together.as_bytes()).await.unwrap();
    for n in 0..5 {
        let sent: serde_json::Value =
            serde_json::from_str(&client::answer(&mut stream).await.body).unwrap();
        let digest =
            ["cfcd208495d565ef66e7dff9f98764da", "c4ca4238a0b923820dcc509a6f75849b"].get(n);
        assert!(digest.is_none_or(|digest| sent["MD5OfMessageBody"] == *digest), "{sent}");
    }
}

#[tokio::test]
async fn the_end_answers_what_has_begun_and_lets_nobody_in() {
    let stage = stage(Limits::default()).await;
    stage.queue().await;
    let idle = TcpStream::connect(stage.client.address).await.unwrap();
    let waiting = stage.client.another().whose("000000000000", "us-east-1");
    let poll = json!({ "QueueUrl": "q", "WaitTimeSeconds": 20 });
    let polled = tokio::spawn(async move { waiting.ask("ReceiveMessage", &poll).await });
    until("a receive waits", || stage.clock.next_wake().is_some()).await;
    assert!(stage.server.stop(PATIENCE).await);
    assert_eq!(polled.await.unwrap().unwrap(), json!({}));
    assert!(TcpStream::connect(stage.client.address).await.is_err());
    let mut rest = Vec::new();
    assert_eq!(BufReader::new(idle).read_to_end(&mut rest).await.unwrap(), 0);
    let again = stage.server.listen(Listen::open(LOOPBACK)).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_that_is_given() {
    let stage = stage(Limits::default()).await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let tls = Tls {
        certificates: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
    };
    let listen = Listen { tls: Some(tls), ..Listen::open(LOOPBACK) };
    let address = stage.server.listen(listen).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = BufReader::new(connector.connect(name, stream).await.unwrap());
    let target = ("x-amz-target", "AmazonSQS.CreateQueue");
    let head = stage.client.head("POST", "/", &[target], 17);
    stream.write_all((head + "{\"QueueName\":\"q\"}").as_bytes()).await.unwrap();
    let made = client::answer(&mut stream).await;
    let url = format!("{{\"QueueUrl\":\"https://{}/000000000000/q\"}}", stage.client.address);
    assert_eq!(made.body, url);
    let wrong = Tls { certificates: b"x".to_vec(), key: b"x".to_vec() };
    let wrong = Listen { tls: Some(wrong), ..Listen::open(LOOPBACK) };
    assert_eq!(stage.server.listen(wrong).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_others_reach_is_refused_unless_it_is_meant() {
    let stage = stage(Limits::default()).await;
    let far = Listen::open("0.0.0.0:0".parse().unwrap());
    let refused = stage.server.listen(far.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("any credentials are accepted"), "{refused}");
    assert!(stage.server.listen(Listen { insecure: true, ..far.clone() }).await.is_ok());
    assert!(stage.server.listen(Listen { is_guarded: true, ..far }).await.is_ok());
    let taken = Listen::open(stage.client.address);
    assert_eq!(stage.server.listen(taken).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// A broker like another, but for what it says it can do.
#[derive(Debug)]
struct Lacking(Capabilities);

#[async_trait::async_trait]
impl tidegate_core::Driver for Lacking {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn declare(&self, _: &tidegate_core::QueueSpec) -> tidegate_core::Result<()> {
        unreachable!("it is refused")
    }

    async fn enqueue(
        &self,
        _: &QueueName,
        _: &[tidegate_core::NewTask],
    ) -> tidegate_core::Result<Vec<tidegate_core::Result<tidegate_core::Enqueued>>> {
        unreachable!("it is refused")
    }

    async fn open(
        &self,
        _: &QueueName,
        _: &tidegate_core::SessionOptions,
    ) -> tidegate_core::Result<Arc<dyn tidegate_core::Session>> {
        unreachable!("it is refused")
    }

    async fn close(&self) -> tidegate_core::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broker_that_lacks_something_is_refused_by_name() {
    use tidegate_core::capabilities::{DeliveryCount, Fencing};
    let whole = tidegate_core::memory::broker(Arc::new(ManualClock::new()));
    let able = || tidegate_core::memory::capabilities();
    let lease = LeaseSupport::WhileConnected(Duration::from_secs(1));
    let lacking = [
        (Capabilities { lease, ..able() }, "leases that end by time"),
        (Capabilities { fencing: Fencing::Advisory, ..able() }, "fencing that is enforced"),
        (Capabilities { lease_per_receive: false, ..able() }, "a lease per receive"),
        (
            Capabilities { deliveries: DeliveryCount::AtLeast, ..able() },
            "deliveries that are counted",
        ),
    ];
    let of = |capabilities: Capabilities, parts: BrokerParts| {
        let driver = Arc::new(Lacking(capabilities));
        let broker = Broker::new(BrokerParts { label: "lacking".into(), driver, ..parts });
        Service::new(broker, Options::default())
    };
    for (capabilities, what) in lacking {
        let refused = of(capabilities, whole.parts().clone()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains(&format!("lacking has not {what}")), "{refused}");
    }
    let blind = BrokerParts { inspect: None, ..whole.parts().clone() };
    assert!(of(able(), blind).unwrap_err().to_string().contains("look at its queues"));
    let fixed = BrokerParts { admin: None, ..whole.parts().clone() };
    assert!(of(able(), fixed).unwrap_err().to_string().contains("change its queues"));
    assert!(of(able(), whole.parts().clone()).is_ok());
}
