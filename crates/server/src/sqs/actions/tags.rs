//! `TagQueue`, `UntagQueue`, `ListQueueTags`.

use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::{TAG_NAME_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX};
use crate::sqs::service::Call;
use crate::sqs::shapes::{
    ListQueueTagsRequest, ListQueueTagsResult, Pairs, TagQueueRequest, UntagQueueRequest,
};
use crate::sqs::wire::{Answer, Request};

pub(super) async fn list(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let ListQueueTagsRequest { queue_url } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let name = path.in_broker(&call.service().options().own)?;
    let queue = call.service().queues().read(&path, &name).await?;
    request.answer(&ListQueueTagsResult { tags: queue.attributes.tags() })
}

pub(super) async fn add(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let TagQueueRequest { queue_url, tags } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let added = tags
        .map(|tags| tags.0)
        .filter(|tags| !tags.is_empty())
        .ok_or_else(|| Failure::missing("Tags"))?;
    let queues = call.service().queues();
    queues
        .update(&path, |attributes| {
            let mut tags = attributes.tags();
            tags.extend(added.clone());
            check(&tags)?;
            attributes.set_tags(&tags);
            Ok(Answer::NOTHING)
        })
        .await
}

pub(super) async fn remove(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let UntagQueueRequest { queue_url, tag_keys } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let removed =
        tag_keys.filter(|keys| !keys.is_empty()).ok_or_else(|| Failure::missing("TagKeys"))?;
    let queues = call.service().queues();
    queues
        .update(&path, |attributes| {
            let mut tags = attributes.tags();
            removed.iter().for_each(|key| drop(tags.remove(key)));
            attributes.set_tags(&tags);
            Ok(Answer::NOTHING)
        })
        .await
}

/// Checks all tags of a queue.
pub(super) fn check(tags: &Pairs) -> Result<(), Failure> {
    if tags.len() > TAGS_MAX {
        let why = format!("Too many tags added for queue. At most {TAGS_MAX} are allowed.");
        return Err(Code::InvalidParameterValue.because(why));
    }
    for (name, value) in tags {
        if name.is_empty() || name.chars().count() > TAG_NAME_CHARS_MAX {
            return Err(Failure::value(
                name,
                "Key",
                "Tag keys must be between 1 and 128 characters in length.",
            ));
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            return Err(Failure::value(
                value,
                "Value",
                "Tag values must be between 0 and 256 characters in length.",
            ));
        }
    }
    Ok(())
}
