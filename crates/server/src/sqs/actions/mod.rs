//! What each action does: read the request, do it, answer.

mod batch;
mod delete;
pub(crate) mod moves;
mod permissions;
mod queues;
mod receive;
mod send;
mod send_checks;
mod tags;
mod visibility;

use super::action::Action;
use super::errors::{Code, Failure};
use super::service::Call;
use super::wire::{Answer, Request};

/// Does what is asked.
pub(crate) async fn perform(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    match request.action {
        Action::SendMessage => send::send(call, request).await,
        Action::ReceiveMessage => receive::receive(call, request).await,
        Action::DeleteMessage => delete::delete(call, request).await,
        Action::SendMessageBatch => send::send_batch(call, request).await,
        Action::DeleteMessageBatch => delete::delete_batch(call, request).await,
        Action::ChangeMessageVisibility => visibility::change(call, request).await,
        Action::ChangeMessageVisibilityBatch => visibility::change_batch(call, request).await,
        // WHY: in a box, so that a receive that waits has no room for what others need.
        action => Box::pin(perform_rare(action, call, request)).await,
    }
}

async fn perform_rare(
    action: Action,
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    match action {
        Action::AddPermission => permissions::add(call, request).await,
        Action::RemovePermission => permissions::remove(call, request).await,
        Action::CreateQueue => queues::create::create(call, request).await,
        Action::DeleteQueue => queues::delete::delete(call, request).await,
        Action::GetQueueAttributes => queues::attributes::get(call, request).await,
        Action::SetQueueAttributes => queues::attributes::set(call, request).await,
        Action::GetQueueUrl => queues::list::url(call, request).await,
        Action::ListQueues => queues::list::list(call, request).await,
        Action::ListDeadLetterSourceQueues => queues::list::sources(call, request).await,
        Action::PurgeQueue => queues::delete::purge(call, request).await,
        Action::ListQueueTags => tags::list(call, request).await,
        Action::TagQueue => tags::add(call, request).await,
        Action::UntagQueue => tags::remove(call, request).await,
        Action::StartMessageMoveTask => moves::start(call, request).await,
        Action::CancelMessageMoveTask => moves::cancel(call, request).await,
        Action::ListMessageMoveTasks => moves::list(call, request).await,
        Action::SendMessage
        | Action::ReceiveMessage
        | Action::DeleteMessage
        | Action::SendMessageBatch
        | Action::DeleteMessageBatch
        | Action::ChangeMessageVisibility
        | Action::ChangeMessageVisibilityBatch => {
            Err(Code::InternalFailure.because("The action is done elsewhere."))
        }
    }
}
