//! Queues: made, looked at, changed, emptied and deleted.

pub(super) mod attributes;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod list;

use crate::sqs::account::QueuePath;
use crate::sqs::attributes::redrive::RedrivePolicy;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::service::Service;

/// Whether the queue may have the dead-letter queue that a policy names. One that others could not
/// receive from, or that is not there, is refused.
async fn check_redrive(
    service: &Service,
    source: &QueuePath,
    policy: &RedrivePolicy,
) -> Result<(), Failure> {
    let wrong = |why: &str| Err(Failure::value(policy.to_json(), "RedrivePolicy", why));
    let target = &policy.target;
    if target.namespace != source.namespace {
        return wrong("The dead-letter queue must be in the account and region of its source.");
    }
    if target == source {
        return wrong("A queue cannot be its own dead-letter queue.");
    }
    let dead_letters = match service.queues().get(target).await {
        Ok(queue) => queue,
        Err(failure) if failure.code == Code::QueueDoesNotExist => {
            return wrong("Dead letter target does not exist.");
        }
        Err(failure) => return Err(failure),
    };
    if dead_letters.hot.is_fifo != source.is_fifo() {
        return wrong("Dead-letter queue must be same type of queue as the source.");
    }
    if !dead_letters.attributes.redrive_allow().allows(source) {
        return wrong(
            "The redrive allow policy of the dead-letter queue does not allow this source.",
        );
    }
    Ok(())
}

/// The policy among values that were checked, if one is set.
fn redrive_of(values: &[(&'static str, Option<String>)]) -> Result<Option<RedrivePolicy>, Failure> {
    let policy = values.iter().find(|(name, _)| *name == "RedrivePolicy");
    policy.and_then(|(_, value)| value.as_deref()).map(RedrivePolicy::read).transpose()
}
