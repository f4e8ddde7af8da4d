//! Tower layers around every handler. They see the request below and never the handler's types.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{self, Poll};

use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt};

use super::Worker;
use crate::context::Context;
use crate::handler::Work;
use crate::outcome::Outcome;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stack = BoxCloneService<TaskRequest, Outcome, BoxError>;

/// An attempt on its way through the layers to its handler. It cannot be cloned: trying again is
/// the queue's business.
pub struct TaskRequest {
    context: Context,
    work: Work,
}

impl TaskRequest {
    /// The context of the attempt: the task, its lease, whether to stop.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

impl fmt::Debug for TaskRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskRequest").field(&self.context).finish()
    }
}

/// The innermost service: runs the handler of the request's task.
#[derive(Clone, Copy, Debug, Default)]
pub struct HandlerService;

impl Service<TaskRequest> for HandlerService {
    type Response = Outcome;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: TaskRequest) -> Self::Future {
        Box::pin(async move { Ok(request.work.await) })
    }
}

impl Worker {
    /// Puts a tower layer around every handler; a later one goes around those before.
    ///
    /// A layer's error is a failed attempt with its text. A layer that holds requests back (a rate
    /// or concurrency limit) holds them in their slots, with their leases renewed.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<BoxCloneService<TaskRequest, Outcome, BoxError>>,
        L::Service: Service<TaskRequest, Response = Outcome> + Clone + Send + 'static,
        <L::Service as Service<TaskRequest>>::Error: Into<BoxError> + 'static,
        <L::Service as Service<TaskRequest>>::Future: Send + 'static,
    {
        let inside = self.layers.take().unwrap_or_else(|| {
            let handlers = HandlerService.map_err(|never: Infallible| match never {});
            BoxCloneService::new(handlers)
        });
        let outside = layer.layer(inside).map_err(Into::into);
        self.layers = Layers(Mutex::new(Some(BoxCloneService::new(outside))));
        self
    }
}

/// The layers of a worker, if it has any.
#[derive(Default)]
pub(super) struct Layers(Mutex<Option<Stack>>);

impl Layers {
    fn take(&self) -> Option<Stack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The work with the layers around it.
    pub(super) fn wrap(&self, context: &Context, work: Work) -> Work {
        let stack = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(stack) = stack else {
            return work;
        };
        let request = TaskRequest { context: context.clone(), work };
        Box::pin(async move { stack.oneshot(request).await.unwrap_or_else(Outcome::retry) })
    }
}
