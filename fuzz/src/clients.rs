//! A service, the clients that talk to it, and what each of them may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use prost::Message;
use tidegate_core::{
    Access, Action, Broker, Capacity, ManualClock, Pattern, QueueName, QueueSpec, Right, memory,
};
use tidegate_remote::proto;
use tidegate_remote::proto::broker_server::BrokerServer;
use tidegate_remote::proto::work_request::Step;
use tidegate_remote::proto::work_response::Answer;
use tidegate_remote::service::{Limits, Service};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::ServiceExt;

use crate::draw::Draw;
use crate::ledger::{KEPT, Ledger};
use crate::messages;

const REQUEST_BYTES_MAX: usize = 4_096;
const LIMITS: Limits = Limits {
    request_bytes_max: REQUEST_BYTES_MAX as u32,
    credit_bytes: 2_000,
    connection_bytes: 5_000,
    sessions_max: 2,
    credits_max: 3,
};
/// Streams at once.
const LINES_MAX: usize = 4;
/// Steps of one conversation.
const STEPS_MAX: usize = 120;
/// By a clock that moves when nothing else does: whatever takes as long hangs.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets clients do what the bytes say, and checks what must hold.
pub async fn talk(bytes: &[u8]) {
    let mut clients = Clients::new().await;
    let mut draw = Draw(bytes);
    for _ in 0..STEPS_MAX {
        if draw.is_empty() {
            break;
        }
        clients.step(&mut draw).await;
    }
    clients.end().await;
}

struct Clients {
    broker: Broker,
    clock: ManualClock,
    service: Service,
    lines: Vec<Line>,
    ledger: Ledger,
    last: u64,
}

/// A stream that is open.
struct Line {
    is_work: bool,
    outgoing: Option<mpsc::UnboundedSender<Result<Frame, tonic::Status>>>,
    /// Sent, and not a whole message yet.
    unread: Vec<u8>,
    /// Whether what was sent cannot be read any more.
    is_broken: bool,
    sends: BTreeMap<u64, proto::EnqueueRequest>,
    steps: BTreeMap<u64, proto::WorkRequest>,
    /// Numbers that were used twice, after damage.
    in_doubt: BTreeSet<u64>,
    /// Those that are open.
    sessions: BTreeSet<u32>,
    cancelled: BTreeSet<u64>,
    tokens: BTreeSet<Vec<u8>>,
    answers: Answers,
}

type Frame = http_body::Frame<tonic::codegen::Bytes>;

/// The answers of a call, as they come.
struct Answers {
    body: Body,
    bytes: Vec<u8>,
    status: Option<Code>,
}

impl Clients {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let broker = memory::broker(Arc::new(clock.clone()));
        for queue in KEPT.into_iter().chain(["c"]) {
            let name = QueueName::new(queue).expect("a name");
            let (lease, capacity) = (Duration::from_secs(1), Capacity::Bounded(30));
            let spec = QueueSpec { lease, capacity, ..QueueSpec::new(name) };
            broker.declare(&spec).await.expect("a queue");
        }
        let service = Service::new(broker.clone(), LIMITS);
        let (lines, ledger) = (Vec::new(), Ledger::default());
        Self { broker, clock, service, lines, ledger, last: 0 }
    }

    async fn step(&mut self, draw: &mut Draw<'_>) {
        match draw.below(16) {
            0 if self.lines.len() < LINES_MAX => self.open(draw.flag()).await,
            1 => self.plain(draw).await,
            2 => {
                self.hear_all().await;
                let times = [1, 999, 1_000, 1_001, 61_000];
                self.clock.advance(Duration::from_millis(draw.of(&times)));
            }
            3 => tokio::time::advance(Duration::from_millis(100)).await,
            4 => self.vanish(draw),
            5 => {
                if let Some(line) = self.line(draw) {
                    line.outgoing = None;
                }
            }
            6 => self.say_anything(draw),
            // Without a word in between, so that much arrives together.
            7..11 => return self.say(draw),
            _ => self.say(draw),
        }
        self.hear_all().await;
    }

    fn line(&mut self, draw: &mut Draw<'_>) -> Option<&mut Line> {
        let count = self.lines.len().max(1);
        self.lines.get_mut(usize::from(draw.below(count as u8)))
    }

    async fn open(&mut self, is_work: bool) {
        let (outgoing, sent) = mpsc::unbounded_channel();
        let body = http_body_util::StreamBody::new(UnboundedReceiverStream::new(sent));
        let method = if is_work { "Work" } else { "Enqueue" };
        let response = call(&self.service, method, Body::new(body)).await;
        self.lines.push(Line::new(is_work, outgoing, Answers::of(response)));
    }

    /// Says something on a stream, most often something sound.
    fn say(&mut self, draw: &mut Draw<'_>) {
        self.last += 1;
        let id = self.last;
        let tokens = self.ledger.tokens.clone();
        let Some(line) = self.line(draw) else { return };
        let message = match line.is_work {
            true => messages::step(id, draw, &tokens).encode_to_vec(),
            false => messages::send(id, draw).encode_to_vec(),
        };
        let framed = messages::framed(message, draw);
        line.send(framed);
        self.read_sent();
    }

    fn say_anything(&mut self, draw: &mut Draw<'_>) {
        let Some(line) = self.line(draw) else { return };
        line.send(draw.bytes(200).to_vec());
        self.read_sent();
    }

    /// Reads what was sent, as the service is to.
    fn read_sent(&mut self) {
        for line in &mut self.lines {
            line.read_sent(&mut self.ledger);
        }
    }

    /// A client that is gone, with whatever it waits for.
    fn vanish(&mut self, draw: &mut Draw<'_>) {
        let count = self.lines.len();
        if count > 0 {
            let line = self.lines.swap_remove(usize::from(draw.below(count as u8)));
            line.forget(&mut self.ledger);
        }
    }

    /// Hears what is said on all streams, until nothing more is.
    async fn hear_all(&mut self) {
        let now_ms = self.broker.clock().now().as_millis();
        let mut quiet = 0;
        while quiet < 2 {
            tokio::task::yield_now().await;
            let mut heard = false;
            for line in &mut self.lines {
                heard |= line.answers.hear().await;
            }
            quiet = if heard { 0 } else { quiet + 1 };
        }
        let mut leases = Vec::new();
        for line in &mut self.lines {
            line.take_in(&mut self.ledger, &mut leases, now_ms);
        }
        // WHY: after what was settled, which may have been leased again since.
        for lease in leases {
            self.ledger.leased(&lease, now_ms);
        }
        let mut index = 0;
        while let Some(line) = self.lines.get(index) {
            line.check_limits();
            if line.answers.status.is_some() {
                self.lines.swap_remove(index).check_end(&mut self.ledger);
            } else {
                index += 1;
            }
        }
    }

    async fn plain(&mut self, draw: &mut Draw<'_>) {
        let method = draw.of(&messages::CALLS);
        let message = messages::plain(method, draw, &self.ledger.tokens);
        let framed = messages::framed(message, draw);
        let body = Body::new(http_body_util::Full::new(framed.clone().into()));
        let mut answers = Answers::of(call(&self.service, method, body).await);
        if method == "Hello" {
            // It ends with the service.
            answers.hear().await;
            return;
        }
        answers.hear_out().await;
        let settles = method == "SettleAndEnqueue" && answers.status == Some(Code::Ok);
        if let (true, Some((message, _))) = (settles, read(&framed)) {
            let asked = proto::SettleAndEnqueueRequest::decode(message).expect("it was read");
            let answer = answers.next::<proto::SettleAndEnqueueResponse>().expect("an answer");
            self.ledger.settled(&asked.token, answer.outcome);
            for (follow_up, enqueued) in asked.follow_ups.iter().zip(&answer.enqueued) {
                self.ledger.enqueued(&follow_up.queue, enqueued);
            }
        }
    }

    /// Ends everything: each stream with a status, and all that began with an answer.
    async fn end(mut self) {
        self.hear_all().await;
        for mut line in std::mem::take(&mut self.lines) {
            line.outgoing = None;
            line.answers.hear_out().await;
            self.lines.push(line);
        }
        self.hear_all().await;
        assert!(self.lines.is_empty());
        self.service.drain();
        let drained = tokio::time::timeout(FOR_EVER, self.service.drained()).await;
        assert!(drained.is_ok(), "something that began has not ended");
        self.ledger.check(&self.broker).await;
    }
}

async fn call(service: &Service, method: &str, body: Body) -> Response<Body> {
    let server = BrokerServer::new(service.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
    let request = Request::post(format!("http://fuzz/tidegate.v1.Broker/{method}"))
        .header("content-type", "application/grpc")
        .extension(access())
        .body(body)
        .expect("a request");
    let answer = tokio::time::timeout(FOR_EVER, server.oneshot(request)).await;
    answer.expect("a call is answered").expect("a call has an answer")
}

/// Everything with "c", all but to change them with those that are kept, nothing with others.
fn access() -> Access {
    let right = |queues: &str, actions: &[Action]| Right {
        queues: Pattern::new(queues).expect("a pattern"),
        actions: actions.to_vec(),
    };
    let most = [Action::Send, Action::Receive, Action::Inspect];
    let rights = [right("a", &most), right("b", &most), right("c", &Action::ALL)];
    Access::of("fuzz", rights)
}

/// The first message of what was sent, and the rest; none if there is none to be read.
fn read(sent: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = sent.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
    let is_sound = head[0] == 0 && length <= REQUEST_BYTES_MAX;
    is_sound.then(|| rest.split_at_checked(length))?
}

impl Line {
    fn new(
        is_work: bool,
        outgoing: mpsc::UnboundedSender<Result<Frame, tonic::Status>>,
        answers: Answers,
    ) -> Self {
        Self {
            is_work,
            outgoing: Some(outgoing),
            unread: Vec::new(),
            is_broken: false,
            sends: BTreeMap::new(),
            steps: BTreeMap::new(),
            in_doubt: BTreeSet::new(),
            sessions: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            tokens: BTreeSet::new(),
            answers,
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        let Some(outgoing) = &self.outgoing else { return };
        let is_heard = outgoing.send(Ok(Frame::data(bytes.clone().into()))).is_ok();
        if is_heard && !self.is_broken {
            self.unread.extend(bytes);
        }
    }

    fn read_sent(&mut self, ledger: &mut Ledger) {
        let unread = std::mem::take(&mut self.unread);
        let mut left = &unread[..];
        while let Some((message, rest)) = read(left).filter(|_| !self.is_broken) {
            left = rest;
            self.is_broken = match self.is_work {
                true => proto::WorkRequest::decode(message)
                    .map(|request| self.asked(request, ledger))
                    .is_err(),
                false => proto::EnqueueRequest::decode(message)
                    .map(|request| self.sent(request, ledger))
                    .is_err(),
            };
        }
        self.unread = left.to_vec();
    }

    fn sent(&mut self, request: proto::EnqueueRequest, ledger: &mut Ledger) {
        let id = request.id;
        if self.sends.insert(id, request).is_some() || id == 0 || self.in_doubt.contains(&id) {
            self.in_doubt.insert(id);
            self.sends.remove(&id);
            ledger.doubt_send();
        }
    }

    fn asked(&mut self, request: proto::WorkRequest, ledger: &mut Ledger) {
        let proto::WorkRequest { id, session: _, step } = &request;
        match step {
            Some(Step::Close(close)) if !close.keep => ledger.released(&self.tokens),
            Some(Step::Cancel(proto::Cancel { credit })) => {
                self.cancelled.insert(*credit);
                return;
            }
            _ => {}
        }
        let (id, step) = (*id, step.clone());
        let before = self.steps.insert(id, request);
        if before.is_some() || self.in_doubt.contains(&id) {
            self.in_doubt.insert(id);
            self.steps.remove(&id);
            ledger.doubt_step(step.as_ref());
            ledger.doubt_step(before.and_then(|before| before.step).as_ref());
        }
    }

    /// Takes in what was heard.
    fn take_in(&mut self, ledger: &mut Ledger, leases: &mut Vec<proto::Lease>, now_ms: u64) {
        if self.is_work {
            while let Some(answer) = self.answers.next::<proto::WorkResponse>() {
                self.told(answer, ledger, leases, now_ms);
            }
            return;
        }
        while let Some(receipt) = self.answers.next::<proto::EnqueueResponse>() {
            if receipt.credit_bytes != 0 || self.in_doubt.contains(&receipt.id) {
                continue;
            }
            let request = self.sends.remove(&receipt.id).expect("a receipt for what was sent");
            if receipt.error.is_none() {
                assert_eq!(receipt.outcomes.len(), request.tasks.len());
            }
            receipt.outcomes.iter().for_each(|outcome| ledger.enqueued(&request.queue, outcome));
        }
    }

    fn told(
        &mut self,
        answer: proto::WorkResponse,
        ledger: &mut Ledger,
        leases: &mut Vec<proto::Lease>,
        now_ms: u64,
    ) {
        let proto::WorkResponse { id, answer } = answer;
        let answer = answer.expect("an answer says something");
        if self.in_doubt.contains(&id) {
            // What it answers is not known; leases are leases.
            if let Answer::Leases(pushed) = answer {
                self.tokens.extend(pushed.leases.iter().map(|lease| lease.token.to_vec()));
                leases.extend(pushed.leases);
            }
            return;
        }
        let request = self.steps.get(&id).expect("an answer to what was asked").clone();
        let step = request.step.clone();
        match (answer, step) {
            (Answer::Opened(_), Some(Step::Open(_))) => {
                self.sessions.insert(request.session);
            }
            (Answer::Leases(pushed), Some(Step::Credit(_))) => {
                self.tokens.extend(pushed.leases.iter().map(|lease| lease.token.to_vec()));
                leases.extend(pushed.leases);
                if pushed.more {
                    return;
                }
            }
            (Answer::Outcomes(told), Some(Step::Settle(settle))) => {
                assert_eq!(told.outcomes.len(), settle.decisions.len());
                for (decision, outcome) in settle.decisions.iter().zip(told.outcomes) {
                    ledger.settled(&decision.token, outcome);
                }
            }
            (Answer::Outcomes(told), Some(Step::Extend(extend))) => {
                assert_eq!(told.outcomes.len(), extend.extensions.len());
                for (extension, outcome) in extend.extensions.iter().zip(told.outcomes) {
                    let until = now_ms.saturating_add(extension.duration_us.div_ceil(1_000));
                    ledger.extended(&extension.token, outcome, until);
                }
            }
            (Answer::Closed(_), Some(Step::Close(_))) => {
                self.sessions.remove(&request.session);
            }
            (Answer::Error(_), _) => {}
            (answer, step) => panic!("{answer:?} to {step:?}"),
        }
        self.steps.remove(&id);
    }

    fn check_limits(&self) {
        assert!(self.sessions.len() <= LIMITS.sessions_max, "{:?}", self.sessions);
        let waits = |(id, request): &(&u64, &proto::WorkRequest)| {
            matches!(request.step, Some(Step::Credit(_))) && !self.cancelled.contains(id)
        };
        assert!(self.steps.iter().filter(waits).count() <= LIMITS.credits_max);
    }

    /// After the end: it had a status, and all that was asked had an answer.
    fn check_end(self, ledger: &mut Ledger) {
        let status = self.answers.status;
        if !self.is_broken && self.unread.is_empty() {
            assert_eq!(status, Some(Code::Ok));
        } else if self.is_broken || self.unread.len() != 5 {
            // WHY: a length without a single byte behind it is taken for the end by tonic.
            assert_ne!(status, Some(Code::Ok), "{:?} was not read", self.unread);
        }
        assert!(self.sends.is_empty() && self.steps.is_empty(), "something has no answer");
        self.forget(ledger);
    }

    /// Nobody hears what is still to be said.
    fn forget(self, ledger: &mut Ledger) {
        if !self.sends.is_empty() {
            ledger.doubt_send();
        }
        for request in self.steps.values() {
            ledger.doubt_step(request.step.as_ref());
        }
    }
}

impl Answers {
    fn of(response: Response<Body>) -> Self {
        let status = status(response.headers());
        Self { body: response.into_body(), bytes: Vec::new(), status }
    }

    /// Hears what is said now. Whether anything was.
    async fn hear(&mut self) -> bool {
        let mut heard = false;
        while self.status.is_none() {
            let frame = poll_fn(|cx| match self.body.frame().poll_unpin(cx) {
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
                Poll::Pending => Poll::Ready(None),
            });
            let Some(frame) = frame.await else { return heard };
            self.take(frame);
            heard = true;
        }
        heard
    }

    /// Hears everything, up to the end.
    async fn hear_out(&mut self) {
        while self.status.is_none() {
            let frame = tokio::time::timeout(FOR_EVER, self.body.frame()).await;
            self.take(frame.expect("a call comes to its end"));
        }
    }

    fn take(&mut self, frame: Option<Result<Frame, tonic::Status>>) {
        let frame = frame.expect("a status comes before the end").expect("a body does not break");
        match frame.into_data() {
            Ok(data) => self.bytes.extend(data),
            Err(frame) => {
                let trailers = frame.into_trailers().expect("data or trailers");
                self.status = Some(status(&trailers).expect("trailers have a status"));
            }
        }
    }

    /// The next whole message.
    fn next<M: Message + Default>(&mut self) -> Option<M> {
        let head: [u8; 5] = self.bytes.get(..5)?.try_into().ok()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let message = M::decode(self.bytes.get(5..5 + length)?).expect("the service's own message");
        self.bytes.drain(..5 + length);
        Some(message)
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}
