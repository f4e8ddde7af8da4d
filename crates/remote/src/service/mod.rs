//! The protocol over a broker: what a server answers.
//!
//! `sends` and `work` are the two streams, `arrivals` reads them as far as the connection's `room`
//! goes, `views` are the plain calls. Who is asking is in the request's
//! extensions, as an [`Access`] that the listener put there; a request without one is refused.

mod arrivals;
mod drain;
mod room;
mod sends;
mod views;
mod work;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use tidegate_core::{Access, Broker, Error, queueing};
use tonic::{Request, Response, Status, Streaming};

use crate::proto::{self, broker_server, hello_response::Event};
use crate::wire::capabilities::capabilities_to;
use crate::wire::error::status_to;
use drain::Drain;

pub(crate) use room::{Call, Room, Wait};

/// What one client may have under way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest request in bytes, told in the hello. The listener enforces it.
    pub request_bytes_max: u32,
    /// Bytes of requests on one stream that are not answered; more are not read until some are.
    pub credit_bytes: u32,
    /// Bytes of requests on all calls and streams of a connection that are not answered, those that have come in
    /// part among them, and what their elements take in memory beside. More are not read until some are; one that
    /// has come in part is read to its end all the same, one at a time. The listener enforces it.
    pub connection_bytes: usize,
    /// Sessions of one stream, those among them that are about to open.
    pub sessions_max: usize,
    /// Credits of one stream that are not used up.
    pub credits_max: usize,
}

impl Default for Limits {
    /// 20 MiB a request (the longest payload, and room), 16 MiB of them unanswered on a stream and 64 MiB on a
    /// connection, 1,024 sessions and 4,096 credits.
    fn default() -> Self {
        Self {
            request_bytes_max: 20 << 20,
            credit_bytes: 16 << 20,
            connection_bytes: 64 << 20,
            sessions_max: 1_024,
            credits_max: 4_096,
        }
    }
}

/// A broker as a server shows it. Cheap to clone; clones are the same service.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    broker: Broker,
    limits: Limits,
    drain: Drain,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.shared.broker).finish()
    }
}

impl Service {
    /// A service over `broker`.
    pub fn new(broker: Broker, limits: Limits) -> Self {
        Self { shared: Arc::new(Shared { broker, limits, drain: Drain::new() }) }
    }

    /// Tells all clients that the end is near: new connections and streams are refused, credits are
    /// answered with what there is, and all else that has begun goes on.
    pub fn drain(&self) {
        self.shared.drain.begin();
    }

    /// Returns once the service drains and nothing that has begun is unanswered.
    pub async fn drained(&self) {
        self.shared.drain.done().await;
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<Access, Status> {
        if self.shared.drain.has_begun() {
            return Err(Status::unavailable("the server is about to end; connect again"));
        }
        let access = request.extensions().get::<Access>().cloned();
        access.ok_or_else(|| Status::unauthenticated("nobody said who is asking"))
    }

    /// Answers a plain call.
    async fn answer<Q, A, F>(
        &self,
        request: Request<Q>,
        call: impl FnOnce(Broker, Access, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Error>> + Send,
    {
        let access = self.admit(&request)?;
        queueing::request_came();
        // Its part of the room is its own until it is answered.
        let room = call_of(&request);
        room.whole_call();
        let _begun = self.shared.drain.enter();
        let answer = call(self.shared.broker.clone(), access, request.into_inner()).await;
        answer.map(Response::new).map_err(|error| status_to(&error))
    }

    fn welcome(&self) -> proto::Welcome {
        let Shared { broker, limits, drain: _ } = &*self.shared;
        let parts = broker.parts();
        proto::Welcome {
            broker: parts.label.clone(),
            capabilities: Some(capabilities_to(broker.capabilities())),
            inspects: parts.inspect.is_some(),
            administers: parts.admin.is_some(),
            is_atomic: parts.atomic.is_some(),
            request_bytes_max: limits.request_bytes_max,
        }
    }
}

/// A request's part of its connection's room.
fn call_of<T>(request: &Request<T>) -> Call {
    request.extensions().get::<Call>().cloned().unwrap_or_default()
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A list as a stream, one message for each.
fn streamed<T: Send + 'static>(list: Response<Vec<T>>) -> Response<Answers<T>> {
    list.map(|list| stream::iter(list.into_iter().map(Ok)).boxed() as Answers<T>)
}

#[tonic::async_trait]
impl broker_server::Broker for Service {
    type HelloStream = Answers<proto::HelloResponse>;
    type EnqueueStream = Answers<proto::EnqueueResponse>;
    type WorkStream = Answers<proto::WorkResponse>;
    type PeekStream = Answers<proto::TaskView>;
    type ListTasksStream = Answers<proto::TaskView>;
    type ListDeadStream = Answers<proto::TaskView>;

    async fn hello(
        &self,
        request: Request<proto::HelloRequest>,
    ) -> Result<Response<Self::HelloStream>, Status> {
        let access = self.admit(&request)?;
        let proto::HelloRequest { client } = request.into_inner();
        tracing::debug!(%client, ?access, "a client connected");
        let event = |event| Ok(proto::HelloResponse { event: Some(event) });
        let hello = event(Event::Welcome(self.welcome()));
        let draining =
            self.shared.drain.begun().map(move |()| event(Event::Draining(proto::Draining {})));
        // WHY: its end tells the client that the server has gone.
        let shared = self.shared.clone();
        let end = stream::once(async move { shared.drain.done().await });
        let events = stream::iter([hello]).chain(stream::once(draining));
        let events = events.chain(end.filter_map(|()| std::future::ready(None)));
        Ok(Response::new(events.boxed()))
    }

    async fn enqueue(
        &self,
        request: Request<Streaming<proto::EnqueueRequest>>,
    ) -> Result<Response<Self::EnqueueStream>, Status> {
        let (access, call) = (self.admit(&request)?, call_of(&request));
        let receipts = sends::receipts(self.shared.clone(), access, call, request.into_inner());
        Ok(Response::new(receipts.boxed()))
    }

    async fn work(
        &self,
        request: Request<Streaming<proto::WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (access, call) = (self.admit(&request)?, call_of(&request));
        let answers = work::answers(self.shared.clone(), access, call, request.into_inner());
        Ok(Response::new(answers.boxed()))
    }

    async fn peek(
        &self,
        request: Request<proto::PeekRequest>,
    ) -> Result<Response<Answers<proto::TaskView>>, Status> {
        let call =
            |broker, access, message| async move { views::peek(&broker, &access, message).await };
        self.answer(request, call).await.map(streamed)
    }

    async fn list_tasks(
        &self,
        request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<Answers<proto::TaskView>>, Status> {
        let call = |broker, access, message| async move {
            views::list_tasks(&broker, &access, message).await
        };
        self.answer(request, call).await.map(streamed)
    }

    async fn list_dead(
        &self,
        request: Request<proto::ListDeadRequest>,
    ) -> Result<Response<Answers<proto::TaskView>>, Status> {
        let call = |broker, access, message| async move {
            views::list_dead(&broker, &access, message).await
        };
        self.answer(request, call).await.map(streamed)
    }

    async fn declare(
        &self,
        request: Request<proto::DeclareRequest>,
    ) -> Result<Response<proto::DeclareResponse>, Status> {
        let call = |broker, access, message| async move {
            views::declare(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn settle_and_enqueue(
        &self,
        request: Request<proto::SettleAndEnqueueRequest>,
    ) -> Result<Response<proto::SettleAndEnqueueResponse>, Status> {
        let follow_ups = request.get_ref().follow_ups.len();
        call_of(&request).begin(follow_ups * size_of::<proto::FollowUp>());
        let call = |broker, access, message| async move {
            views::settle_and_enqueue(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn list_queues(
        &self,
        request: Request<proto::ListQueuesRequest>,
    ) -> Result<Response<proto::ListQueuesResponse>, Status> {
        let call = |broker, access, message| async move {
            views::list_queues(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn get_spec(
        &self,
        request: Request<proto::GetSpecRequest>,
    ) -> Result<Response<proto::GetSpecResponse>, Status> {
        let call = |broker, access, message| async move {
            views::get_spec(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn get_stats(
        &self,
        request: Request<proto::GetStatsRequest>,
    ) -> Result<Response<proto::GetStatsResponse>, Status> {
        let call = |broker, access, message| async move {
            views::get_stats(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn get_task(
        &self,
        request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        let call = |broker, access, message| async move {
            views::get_task(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn list_members(
        &self,
        request: Request<proto::ListMembersRequest>,
    ) -> Result<Response<proto::ListMembersResponse>, Status> {
        let call = |broker, access, message| async move {
            views::list_members(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn update_queue(
        &self,
        request: Request<proto::UpdateQueueRequest>,
    ) -> Result<Response<proto::UpdateQueueResponse>, Status> {
        let call = |broker, access, message| async move {
            views::update_queue(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn delete_queue(
        &self,
        request: Request<proto::DeleteQueueRequest>,
    ) -> Result<Response<proto::DeleteQueueResponse>, Status> {
        let call = |broker, access, message| async move {
            views::delete_queue(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn purge_queue(
        &self,
        request: Request<proto::PurgeQueueRequest>,
    ) -> Result<Response<proto::PurgeQueueResponse>, Status> {
        let call = |broker, access, message| async move {
            views::purge_queue(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn purge_dead(
        &self,
        request: Request<proto::PurgeDeadRequest>,
    ) -> Result<Response<proto::PurgeDeadResponse>, Status> {
        let call = |broker, access, message| async move {
            views::purge_dead(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn pause_queue(
        &self,
        request: Request<proto::PauseQueueRequest>,
    ) -> Result<Response<proto::PauseQueueResponse>, Status> {
        let call = |broker, access, message| async move {
            views::pause_queue(&broker, &access, message).await
        };
        self.answer(request, call).await
    }

    async fn redrive(
        &self,
        request: Request<proto::RedriveRequest>,
    ) -> Result<Response<proto::RedriveResponse>, Status> {
        let call = |broker, access, message| async move {
            views::redrive(&broker, &access, message).await
        };
        self.answer(request, call).await
    }
}
