//! Requests that are well framed in HTTP/2 and broken within.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use prost::Message;
use tidegate_remote::listen::Options;
use tidegate_remote::proto;
use tidegate_remote::service::Limits;
use tonic::Code;
use tonic::codegen::http::{HeaderMap, Method, Request, StatusCode};

use crate::frames::message;
use crate::stand::{PATIENCE, Stand, options};

const REQUEST_BYTES_MAX: u32 = 64 << 10;

/// A connection that speaks sound HTTP/2.
struct Connection(SendRequest<Bytes>);

impl Connection {
    async fn to(stand: &Stand) -> Self {
        let (send, connection) = h2::client::handshake(stand.tcp().await).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    async fn begin(&mut self, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        self.0 = self.0.clone().ready().await.unwrap();
        self.0.send_request(request, false).unwrap()
    }
}

fn request(path: &str) -> Request<()> {
    let builder = Request::builder().method(Method::POST).uri(format!("http://tidegate{path}"));
    builder.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn broker(method: &str) -> Request<()> {
    request(&format!("/tidegate.v1.Broker/{method}"))
}

/// How a call ended: the status of HTTP, and that of gRPC.
async fn ended(answer: ResponseFuture) -> (StatusCode, Option<Code>) {
    let ended = async {
        let answer = answer.await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            let length = data.unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        (status, code(&headers).or_else(|| code(&trailers)))
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the call is answered")
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

/// What is sent, and whether it is all.
struct Sent(Vec<u8>, bool);

impl Sent {
    fn all(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into(), true)
    }

    /// The rest never comes, and neither does an end.
    fn half(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into(), false)
    }
}

async fn stand() -> Stand {
    let limits = Limits { request_bytes_max: REQUEST_BYTES_MAX, ..Limits::default() };
    Stand::new(Options { limits, ..options() }).await
}

fn declare() -> Vec<u8> {
    let spec = proto::QueueSpec { name: "mail".into(), ..Default::default() };
    message(&proto::DeclareRequest { spec: Some(spec) })
}

/// With another length before it.
fn said_to_have(bytes: u32, mut framed: Vec<u8>) -> Vec<u8> {
    framed[1..5].copy_from_slice(&bytes.to_be_bytes());
    framed
}

fn compressed(mut framed: Vec<u8>) -> Vec<u8> {
    framed[0] = 1;
    framed
}

/// What is wrong with the bytes of a request, whatever it is about.
fn broken() -> Vec<(&'static str, Sent, Code)> {
    let long = REQUEST_BYTES_MAX + 1;
    vec![
        ("too long, half sent", Sent::half(said_to_have(long, declare())), Code::OutOfRange),
        ("4 GiB announced", Sent::half(said_to_have(u32::MAX, declare())), Code::OutOfRange),
        ("longer than what comes", Sent::all(said_to_have(1_000, declare())), Code::Internal),
        ("shorter than what comes", Sent::all(said_to_have(3, declare())), Code::Internal),
        ("a header cut short", Sent::all(declare()[..3].to_vec()), Code::Internal),
        ("compressed by nothing", Sent::all(compressed(declare())), Code::Internal),
        ("a flag that is none", Sent::all([&[9][..], &declare()[1..]].concat()), Code::Internal),
        ("no message", Sent::all([0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]), Code::Internal),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_request_ends_its_call_and_no_other() {
    let stand = stand().await;
    let mut connection = Connection::to(&stand).await;
    for method in ["Declare", "Enqueue", "Work", "Hello"] {
        for (what, Sent(bytes, is_all), expected) in broken() {
            let (answer, mut body) = connection.begin(broker(method)).await;
            body.send_data(bytes.into(), is_all).unwrap();
            let (http, grpc) = ended(answer).await;
            assert_eq!((http, grpc), (StatusCode::OK, Some(expected)), "{method}, {what}");
        }
    }
    drop(connection);
    stand.ends_unharmed().await;
}

/// Two bytes each on the wire, and some hundred once they are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_end_is_refused_before_it_is_read() {
    let stand = stand().await;
    let mut connection = Connection::to(&stand).await;
    let sent = |count: usize| {
        let tasks = vec![proto::NewTask::default(); count];
        message(&proto::EnqueueRequest { id: 7, queue: "mail".into(), tasks })
    };
    let step = |step| message(&proto::WorkRequest { id: 7, session: 1, step: Some(step) });
    let settled = |count: usize| {
        let decisions = vec![proto::Decision::default(); count];
        step(proto::work_request::Step::Settle(proto::Settle { decisions }))
    };
    let extended = |count: usize| {
        let extensions = vec![proto::Extension::default(); count];
        step(proto::work_request::Step::Extend(proto::Extend { extensions }))
    };
    let with_follow_ups = |count: usize| {
        let follow_ups = vec![proto::FollowUp::default(); count];
        message(&proto::SettleAndEnqueueRequest { follow_ups, ..Default::default() })
    };
    let long = 10_001;
    for (method, bytes) in [
        ("Enqueue", sent(long)),
        ("Work", settled(long)),
        ("Work", extended(long)),
        ("SettleAndEnqueue", with_follow_ups(long)),
    ] {
        let (answer, mut body) = connection.begin(broker(method)).await;
        body.send_data(bytes.into(), true).unwrap();
        let (_, code) = ended(answer).await;
        assert_eq!(code, Some(Code::InvalidArgument), "{method}");
    }
    // One that is too long for a batch and no longer is answered, and the stream goes on.
    for (method, bytes) in [("Enqueue", sent(10_000)), ("Work", settled(10_000))] {
        let (answer, mut body) = connection.begin(broker(method)).await;
        body.send_data(bytes.into(), true).unwrap();
        assert_eq!(ended(answer).await.1, Some(Code::Ok), "{method}");
    }
    drop(connection);
    stand.ends_unharmed().await;
}

/// None of them would ever come to its end, had it no end.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_requests_that_fill_the_room_are_refused_in_time() {
    const BYTES: usize = 32 << 10;
    let limits = Limits { connection_bytes: 2 * BYTES, ..Limits::default() };
    let part_within = Duration::from_millis(200);
    let stand = Stand::new(Options { limits, part_within, ..options() }).await;
    let mut connection = Connection::to(&stand).await;
    let task = proto::NewTask { payload: vec![7; BYTES].into(), ..proto::NewTask::default() };
    let request = proto::EnqueueRequest { id: 7, queue: "mail".into(), tasks: vec![task] };
    let request = message(&request);
    let (mut answers, mut bodies) = (FuturesUnordered::new(), Vec::new());
    for _ in 0..8 {
        let (answer, mut body) = connection.begin(broker("Enqueue")).await;
        body.send_data(request[..BYTES / 2].to_vec().into(), false).unwrap();
        answers.push(ended(answer));
        bodies.push(body);
    }
    assert_eq!(answers.next().await.unwrap().1, Some(Code::ResourceExhausted));
    stand.serves().await;
    for body in &mut bodies {
        // It may have been refused.
        let _ = body.send_data(request[BYTES / 2..].to_vec().into(), true);
    }
    while let Some((_, code)) = answers.next().await {
        assert!(matches!(code, Some(Code::Ok | Code::ResourceExhausted)), "{code:?}");
    }
    let (answer, mut last) = connection.begin(broker("Enqueue")).await;
    last.send_data(request.into(), true).unwrap();
    assert_eq!(ended(answer).await.1, Some(Code::Ok), "the room is there again");
    drop((connection, bodies, last));
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_broken_request_is_answered() {
    let stand = stand().await;
    let mut connection = Connection::to(&stand).await;
    let (answer, mut body) = connection.begin(broker("Enqueue")).await;
    let task = proto::NewTask { kind: "mail".into(), ..Default::default() };
    let good = proto::EnqueueRequest { id: 7, queue: "mail".into(), tasks: vec![task] };
    let both = [message(&good), vec![0, 0, 0, 0, 1, 0xff]].concat();
    body.send_data(both.into(), false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    let mut answers = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = answers.data().await {
        bytes.extend(data.unwrap());
    }
    let (_, receipt) = split(&bytes);
    let (_, receipt) = split_message::<proto::EnqueueResponse>(receipt);
    assert_eq!((receipt.id, receipt.outcomes.len(), receipt.error), (7, 1, None));
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(code(&trailers), Some(Code::Internal));
    drop((connection, body, answers));
    stand.ends_unharmed().await;
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    bytes.split_at(5 + length)
}

fn split_message<M: Message + Default>(bytes: &[u8]) -> (&[u8], M) {
    let (first, rest) = split(bytes);
    (rest, M::decode(&first[5..]).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_nothing_that_is_here_are_told_so() {
    let stand = stand().await;
    let mut connection = Connection::to(&stand).await;
    let with = |name: &'static str, value: &'static str| {
        let mut request = broker("Declare");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let unimplemented = (StatusCode::OK, Some(Code::Unimplemented));
    let all = [
        (request("/tidegate.v1.Broker/Explode"), unimplemented),
        (request("/tidegate.v9.Broker/Declare"), unimplemented),
        (request("/"), unimplemented),
        (with("grpc-encoding", "gzip"), unimplemented),
    ];
    for (request, expected) in all {
        let what = format!("{request:?}");
        let (answer, mut body) = connection.begin(request).await;
        // It may be answered before that.
        let _ = body.send_data(declare().into(), true);
        assert_eq!(ended(answer).await, expected, "{what}");
    }
    drop(connection);
    stand.ends_unharmed().await;
}
