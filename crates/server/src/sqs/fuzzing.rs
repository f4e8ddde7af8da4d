//! What the fuzz targets see: how a request is read, in both wire forms.

use std::fmt;

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

use super::action::Action;
use super::errors::Failure;
use super::shapes::*;
use super::wire::{self, Asked, Request};

/// A request that was read.
#[derive(Debug)]
pub struct Read<'a> {
    /// What is asked for, if it is an action.
    pub action: Option<Action>,
    /// What it is asked with: shows the same for the same in both forms.
    pub shape: &'a dyn fmt::Debug,
    /// The JSON that a form stands for.
    pub folded: Option<&'a Value>,
}

/// Reads a request whole and tells it. What is refused is answered in its form, as a client would have it.
///
/// # Errors
/// What is told to the client.
pub fn read<T>(
    parts: &Parts,
    body: &Bytes,
    tell: impl FnOnce(&Read<'_>) -> T,
) -> Result<T, Failure> {
    let form = wire::form(parts);
    let read = match wire::read(parts, body) {
        Ok(Asked::Action(request)) => shape(&request, tell),
        Ok(asked) => Ok(tell(&Read { action: None, shape: &asked, folded: None })),
        Err((_, failure)) => Err(failure),
    };
    read.inspect_err(|failure| drop(wire::error(form, failure, "")))
}

fn shape<T>(request: &Request<'_>, tell: impl FnOnce(&Read<'_>) -> T) -> Result<T, Failure> {
    macro_rules! shapes {
        ($($action:ident $shape:ty),* $(,)?) => {
            match request.action {
                $(Action::$action => {
                    let shape: $shape = request.parse()?;
                    let (action, folded) = (Some(request.action), request.folded());
                    Ok(tell(&Read { action, shape: &shape, folded }))
                })*
            }
        };
    }
    shapes! {
        AddPermission AddPermissionRequest,
        CancelMessageMoveTask CancelMessageMoveTaskRequest,
        ChangeMessageVisibility ChangeMessageVisibilityRequest<'_>,
        ChangeMessageVisibilityBatch ChangeMessageVisibilityBatchRequest<'_>,
        CreateQueue CreateQueueRequest,
        DeleteMessage DeleteMessageRequest<'_>,
        DeleteMessageBatch DeleteMessageBatchRequest<'_>,
        DeleteQueue DeleteQueueRequest,
        GetQueueAttributes GetQueueAttributesRequest,
        GetQueueUrl GetQueueUrlRequest,
        ListDeadLetterSourceQueues ListDeadLetterSourceQueuesRequest,
        ListMessageMoveTasks ListMessageMoveTasksRequest,
        ListQueueTags ListQueueTagsRequest,
        ListQueues ListQueuesRequest,
        PurgeQueue PurgeQueueRequest,
        ReceiveMessage ReceiveMessageRequest<'_>,
        RemovePermission RemovePermissionRequest,
        SendMessage SendMessageRequest<'_>,
        SendMessageBatch SendMessageBatchRequest<'_>,
        SetQueueAttributes SetQueueAttributesRequest,
        StartMessageMoveTask StartMessageMoveTaskRequest,
        TagQueue TagQueueRequest,
        UntagQueue UntagQueueRequest,
    }
}
