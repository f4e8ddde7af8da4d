//! One connection, from its hello to its end.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt;
use tidegate_core::{Capabilities, Error, ErrorKind, Operation, Result};
use tokio::sync::{OnceCell, watch};
use tonic::Streaming;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::sends::Sends;
use super::target::{Credentials, PATIENCE, Target};
use super::work::Work;
use crate::proto::broker_client::BrokerClient;
use crate::proto::{self, hello_response::Event};
use crate::wire::capabilities::capabilities_from;
use crate::wire::error::status_from;

/// The calls of the protocol.
pub(super) type Calls = BrokerClient<InterceptedService<Channel, Credentials>>;

/// One connection to a broker. Ends when the server goes, says that it will, or cannot be heard. When it
/// is dropped the connection closes, once what was open on it is answered.
pub struct Line {
    calls: Calls,
    hello: Hello,
    sends: OnceCell<Sends>,
    work: OnceCell<Work>,
    sessions: AtomicU32,
    ended: watch::Receiver<bool>,
}

/// What the server said first.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) capabilities: Capabilities,
    pub(super) inspects: bool,
    pub(super) administers: bool,
    pub(super) is_atomic: bool,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("open", &self.is_open()).finish()
    }
}

impl Line {
    /// Connects once. Gives up after five seconds.
    ///
    /// # Errors
    /// `Unavailable` if nothing answers or the server is about to end; `Denied` if the token is not
    /// one of the server's; `Invalid` if the target makes no sense.
    pub async fn dial(target: &Target) -> Result<Self> {
        let silent = || {
            let why = format!("{target} did not answer within {:?}", PATIENCE);
            Error::new(ErrorKind::Unavailable, Operation::Open, why)
        };
        tokio::time::timeout(PATIENCE, Self::connect(target)).await.map_err(|_| silent())?
    }

    async fn connect(target: &Target) -> Result<Self> {
        const OPEN: Operation = Operation::Open;
        let channel = target.channel().await?;
        let mut calls = BrokerClient::with_interceptor(channel, target.credentials()?)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let client = concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned();
        let events = calls.hello(proto::HelloRequest { client }).await;
        let mut events = events.map_err(|status| status_from(status, OPEN))?.into_inner();
        let first = events.next().await.transpose().map_err(|status| status_from(status, OPEN))?;
        let hello = match first.and_then(|first| first.event) {
            Some(Event::Welcome(welcome)) => read_hello(&welcome)?,
            _ => return Err(Error::new(ErrorKind::Unavailable, OPEN, "the server is ending")),
        };
        let (end, ended) = watch::channel(false);
        tokio::spawn(listen_for_the_end(events, end));
        let (sends, work) = (OnceCell::new(), OnceCell::new());
        Ok(Self { calls, hello, sends, work, sessions: AtomicU32::new(1), ended })
    }

    /// Whether calls can still begin on it.
    pub fn is_open(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Returns once no more calls can begin on it.
    pub async fn ended(&self) {
        // A sender that is gone has ended too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Drops every call that waits for its answer.
    pub(super) fn hang_up(&self) {
        if let Some(sends) = self.sends.get() {
            sends.end();
        }
        if let Some(work) = self.work.get() {
            work.end();
        }
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    pub(super) fn calls(&self) -> Calls {
        self.calls.clone()
    }

    pub(super) async fn sends(&self) -> Result<&Sends> {
        self.sends.get_or_try_init(|| Sends::start(self.calls(), self.batch_max())).await
    }

    pub(super) async fn work(&self) -> Result<&Work> {
        self.work.get_or_try_init(|| Work::start(self.calls(), self.batch_max())).await
    }

    /// Most tasks or leases of one message.
    const fn batch_max(&self) -> usize {
        self.hello.capabilities.batch_max
    }

    /// A number for a session, new on this line.
    pub(super) fn next_session(&self) -> u32 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }
}

/// The connection is gone in the middle of a call.
pub(super) fn lost(doing: Operation) -> Error {
    let why = "the connection to the server was lost; whether it was carried out is not known";
    Error::new(ErrorKind::Unavailable, doing, why)
}

/// Tells when no more calls can begin, and holds the stream of the hello until the server or the line
/// ends.
async fn listen_for_the_end(events: Streaming<proto::HelloResponse>, end: watch::Sender<bool>) {
    tokio::select! {
        () = hear(events, &end) => {}
        // WHY: it is an open call, and as long as there is one the connection stays.
        () = end.closed() => {}
    }
}

async fn hear(mut events: Streaming<proto::HelloResponse>, end: &watch::Sender<bool>) {
    let draining = |event: &proto::HelloResponse| matches!(event.event, Some(Event::Draining(_)));
    while let Some(Ok(event)) = events.next().await {
        if draining(&event) {
            break;
        }
    }
    // Nobody may be listening any more.
    let _ = end.send(true);
    // WHY: the stream is kept until the server ends it, so that what is open can still finish.
    while let Some(Ok(_)) = events.next().await {}
}

fn read_hello(welcome: &proto::Welcome) -> Result<Hello> {
    let proto::Welcome {
        broker: _,
        capabilities,
        inspects,
        administers,
        is_atomic,
        request_bytes_max: _,
    } = welcome;
    let capabilities = capabilities.as_ref().ok_or_else(|| lost(Operation::Open))?;
    let capabilities = capabilities_from(capabilities)?;
    let (inspects, administers, is_atomic) = (*inspects, *administers, *is_atomic);
    Ok(Hello { capabilities, inspects, administers, is_atomic })
}

/// Credentials on every call.
impl Interceptor for Credentials {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(bearer) = self.bearer() {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}
