//! A bare gRPC stream of the same messages: what a queue over this transport can do at most. The server
//! keeps payloads in a list in memory and answers each message at once; the client has one stream for
//! sends and one for the rest, which all share.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::Ipv4Addr;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tidegate::Bytes;
use tidegate_remote::proto::broker_client::BrokerClient;
use tidegate_remote::proto::{self, work_request::Step, work_response::Answer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::codegen::http;
use tonic::codegen::{Body, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};
use tidegate_conformance::services::{Service, free_port};

pub(crate) const KIND: Kind = Kind {
    name: "bare grpc stream",
    program: None,
    setting: |durability| (durability == Durability::Never).then_some("no queue at all"),
    start: |dir, _, _| Box::pin(start(dir)),
};

/// As long as a token of the engine.
const TOKEN: [u8; 33] = [7; 33];
const ID: [u8; 16] = [7; 16];

type Payloads = Arc<Mutex<VecDeque<Bytes>>>;

/// Serves until the process is killed.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let incoming = TcpListenerStream::new(listener).map(|connection| {
        connection.and_then(|connection| connection.set_nodelay(true).map(|()| connection))
    });
    let bare = Bare(Payloads::default());
    Ok(Server::builder().add_service(bare).serve_with_incoming(incoming).await?)
}

/// The two streams of the protocol.
#[derive(Clone)]
struct Bare(Payloads);

impl NamedService for Bare {
    const NAME: &'static str = "tidegate.v1.Broker";
}

impl<B> tower::Service<http::Request<B>> for Bare
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let payloads = self.0.clone();
        let is_send = request.uri().path().ends_with("/Enqueue");
        Box::pin(async move {
            Ok(if is_send {
                Grpc::new(ProstCodec::default()).streaming(Sends(payloads), request).await
            } else {
                Grpc::new(ProstCodec::default()).streaming(Work(payloads), request).await
            })
        })
    }
}

struct Sends(Payloads);

impl StreamingService<proto::EnqueueRequest> for Sends {
    type Response = proto::EnqueueResponse;
    type ResponseStream = BoxStream<'static, Result<proto::EnqueueResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<proto::EnqueueRequest>>) -> Self::Future {
        let payloads = self.0.clone();
        let answers = request.into_inner().map(move |request| {
            let proto::EnqueueRequest { id, tasks, .. } = request?;
            let id_of_task = Bytes::from_static(&ID);
            let enqueued = proto::Enqueued { id: id_of_task, sequence: 7, ..Default::default() };
            let outcomes = vec![enqueued; tasks.len()];
            let new = tasks.into_iter().map(|task| task.payload);
            payloads.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
            Ok(proto::EnqueueResponse { id, outcomes, ..Default::default() })
        });
        ready(Ok(Response::new(answers.boxed())))
    }
}

struct Work(Payloads);

impl StreamingService<proto::WorkRequest> for Work {
    type Response = proto::WorkResponse;
    type ResponseStream = BoxStream<'static, Result<proto::WorkResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<proto::WorkRequest>>) -> Self::Future {
        let payloads = self.0.clone();
        let answers = request.into_inner().map(move |request| {
            let proto::WorkRequest { id, step, .. } = request?;
            let answer = match step {
                Some(Step::Credit(credit)) => Answer::Leases(leases(&payloads, credit.limit)),
                Some(Step::Settle(settle)) => Answer::Outcomes(proto::Outcomes {
                    outcomes: vec![proto::Outcome::Done.into(); settle.decisions.len()],
                }),
                _ => Answer::Opened(proto::Opened {}),
            };
            Ok(proto::WorkResponse { id, answer: Some(answer) })
        });
        ready(Ok(Response::new(answers.boxed())))
    }
}

fn leases(payloads: &Payloads, limit: u32) -> proto::Leases {
    let mut payloads = payloads.lock().unwrap_or_else(PoisonError::into_inner);
    let count = payloads.len().min(limit as usize);
    let lease = |payload| proto::Lease {
        task: Some(proto::Task {
            id: Bytes::from_static(&ID),
            kind: "bench".into(),
            payload,
            sequence: 7,
            deliveries: 1,
            attempt: 1,
            enqueued_at_ms: 1_800_000_000_000,
            ..Default::default()
        }),
        token: Bytes::from_static(&TOKEN),
        until_ms: 1_800_000_000_000,
        duration_us: 30_000_000,
    };
    proto::Leases { leases: payloads.drain(..count).map(lease).collect(), more: false }
}

struct BarePeer {
    service: Service,
    sends: Line<proto::EnqueueRequest, proto::EnqueueResponse>,
    work: Line<proto::WorkRequest, proto::WorkResponse>,
}

/// A stream on which answers come in the order of what was asked.
struct Line<Q, A> {
    asked: Arc<Mutex<Asked<Q, A>>>,
}

struct Asked<Q, A> {
    requests: mpsc::UnboundedSender<Q>,
    waiting: Arc<Mutex<VecDeque<oneshot::Sender<A>>>>,
}

impl<Q, A> Clone for Line<Q, A> {
    fn clone(&self) -> Self {
        Self { asked: self.asked.clone() }
    }
}

impl<Q, A: Send + 'static> Line<Q, A> {
    fn new(requests: mpsc::UnboundedSender<Q>, mut answers: Streaming<A>) -> Self {
        let waiting = Arc::new(Mutex::new(VecDeque::<oneshot::Sender<A>>::new()));
        let asked = Asked { requests, waiting: waiting.clone() };
        tokio::spawn(async move {
            while let Some(Ok(answer)) = answers.next().await {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                if let Some(tell) = next {
                    // Nobody may be waiting any more.
                    let _ = tell.send(answer);
                }
            }
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Self { asked: Arc::new(Mutex::new(asked)) }
    }

    async fn ask(&self, request: Q) -> Result<A> {
        let (tell, told) = oneshot::channel();
        {
            let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(tell);
            asked.requests.send(request).map_err(|_| "the stream has ended")?;
        }
        Ok(told.await?)
    }
}

async fn start(dir: &Path) -> Result<Box<dyn Peer>> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "bare", &port.to_string()]);
    let service = Service::start(command, port, &dir.join("log")).await?;
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
    let mut calls = BrokerClient::new(endpoint.connect().await?);
    let (requests, outgoing) = mpsc::unbounded_channel();
    let answers = calls.enqueue(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
    let sends = Line::new(requests, answers);
    let (requests, outgoing) = mpsc::unbounded_channel();
    let answers = calls.work(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
    let work = Line::new(requests, answers);
    Ok(Box::new(BarePeer { service, sends, work }))
}

#[async_trait]
impl Peer for BarePeer {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let (sends, work) = (self.sends.clone(), self.work.clone());
        Ok(Box::new(BareClient { sends, work, held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        Some(self.service.process())
    }
}

struct BareClient {
    sends: Line<proto::EnqueueRequest, proto::EnqueueResponse>,
    work: Line<proto::WorkRequest, proto::WorkResponse>,
    held: Vec<Bytes>,
}

#[async_trait]
impl Client for BareClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let task = |payload: &Vec<u8>| proto::NewTask {
            id: Bytes::from_static(&ID),
            kind: "bench".into(),
            payload: payload.clone().into(),
            ..Default::default()
        };
        let tasks = payloads.iter().map(task).collect();
        self.sends.ask(proto::EnqueueRequest { id: 7, queue: "bench".into(), tasks }).await?;
        Ok(())
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let credit = proto::Credit { limit: most as u32, wait_us: Some(0), ..Default::default() };
        let answer = self.step(Step::Credit(credit)).await?;
        let Some(Answer::Leases(leases)) = answer else { return Ok(Vec::new()) };
        let mut payloads = Vec::with_capacity(leases.leases.len());
        for lease in leases.leases {
            self.held.push(lease.token);
            payloads.push(lease.task.unwrap_or_default().payload.into());
        }
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        let decision = |token| {
            let kind = Some(proto::verdict::Kind::Complete(proto::Complete {}));
            proto::Decision { token, verdict: Some(proto::Verdict { kind }) }
        };
        let decisions = self.held.drain(..).map(decision).collect();
        self.step(Step::Settle(proto::Settle { decisions })).await?;
        Ok(())
    }
}

impl BareClient {
    async fn step(&self, step: Step) -> Result<Option<Answer>> {
        let request = proto::WorkRequest { id: 7, session: 1, step: Some(step) };
        Ok(self.work.ask(request).await?.answer)
    }
}
