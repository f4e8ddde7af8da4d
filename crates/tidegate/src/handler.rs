//! What works on a task: an async function of the task and its context.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use tidegate_core::Task;

use crate::context::Context;
use crate::outcome::Outcome;
use crate::typed::{TypedTask, decode};

/// A handler at work. Dropping it stops the work where it waits.
pub(crate) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What works on a `T`: an `async fn(T, Context)` that returns `()`, a `Result` or an
/// [`Outcome`]. It is for [`crate::Worker::handle`] to call; write a function instead of
/// implementing it.
///
/// It may run more than once for one task, and must not block its thread for long.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot handle a `{T}`",
    label = "not a handler of `{T}`",
    note = "a handler is `async fn(task: {T}, context: Context)`, both by value and in this order",
    note = "it returns `()`, `Result<(), E>` with `E: Display`, `Result<(), Failure>` or `Outcome`",
    note = "its future must be `Send`: hold no `Rc`, `RefCell` borrow or lock guard across an `.await`"
)]
pub trait Handler<T>: Send + Sync + 'static {
    /// Works on one task.
    fn call(&self, input: T, context: Context) -> impl Future<Output = Outcome> + Send;
}

impl<T, F, Fut, O> Handler<T> for F
where
    T: Send + 'static,
    F: Fn(T, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send,
    O: Into<Outcome>,
{
    async fn call(&self, input: T, context: Context) -> Outcome {
        self(input, context).await.into()
    }
}

/// A handler of any type.
pub(crate) trait AnyHandler: Send + Sync {
    /// The work on a task, or the outcome of one whose payload cannot be read.
    fn prepare(&self, context: &Context) -> Result<Work, Outcome>;
}

/// A handler that is given what the payload says.
pub(crate) struct Typed<T, H> {
    handler: Arc<H>,
    task: PhantomData<fn(T)>,
}

impl<T: TypedTask, H: Handler<T>> Typed<T, H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler), task: PhantomData }
    }
}

impl<T: TypedTask, H: Handler<T>> AnyHandler for Typed<T, H> {
    fn prepare(&self, context: &Context) -> Result<Work, Outcome> {
        let input: T = decode(context.task()).map_err(Outcome::dead_letter)?;
        let (handler, context) = (self.handler.clone(), context.clone());
        Ok(Box::pin(async move { handler.call(input, context).await }))
    }
}

/// A handler that is given the task as it was received.
pub(crate) struct Raw<H> {
    handler: Arc<H>,
}

impl<H: Handler<Task>> Raw<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler) }
    }
}

impl<H: Handler<Task>> AnyHandler for Raw<H> {
    fn prepare(&self, context: &Context) -> Result<Work, Outcome> {
        let (handler, context) = (self.handler.clone(), context.clone());
        let input = context.task().clone();
        Ok(Box::pin(async move { handler.call(input, context).await }))
    }
}
