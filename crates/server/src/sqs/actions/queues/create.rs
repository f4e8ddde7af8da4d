//! `CreateQueue`.

use tidegate_core::{ErrorKind, Timestamp};

use super::{check_redrive, redrive_of};
use crate::sqs::account::{FIFO_END, NAME_CHARS_MAX, QueuePath};
use crate::sqs::actions::tags;
use crate::sqs::attributes::Attributes;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::RULE_SECONDS;
use crate::sqs::service::{Call, Service};
use crate::sqs::shapes::{CreateQueueRequest, Pairs, QueueUrlResult};
use crate::sqs::wire::{Answer, Request};

/// How often it is tried to make a queue that others make and delete at the same time.
const TRIES: usize = 8;

pub(in crate::sqs::actions) async fn create(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let CreateQueueRequest { queue_name, attributes, tags } = request.parse()?;
    let name =
        queue_name.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("QueueName"))?;
    let (given, tags) = (attributes.unwrap_or_default().0, tags.unwrap_or_default().0);
    let path = path(call, &name, &given)?;
    call.admit(&path)?;
    let values = Attributes::check(&given, path.is_fifo())?;
    tags::check(&tags)?;
    if let Some(policy) = redrive_of(&values)? {
        call.admit(&policy.target)?;
    }
    for _ in 0..TRIES {
        match existing(call, &path).await? {
            Some(attributes) => same(&attributes, &values)?,
            None if !make(call.service(), &path, &values, &tags).await? => continue,
            None => {}
        }
        return request.answer(&QueueUrlResult { queue_url: call.url(&path) });
    }
    Err(Code::ServiceUnavailable.because("The queue is made and deleted by others; try again."))
}

fn path(call: &Call<'_>, name: &str, given: &Pairs) -> Result<QueuePath, Failure> {
    let is_fifo = given.get("FifoQueue").is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let path = call.namespace.queue(name).filter(|path| path.is_fifo() == is_fifo);
    path.ok_or_else(|| {
        let why = if is_fifo {
            format!(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or \
                 underscores, must end with {FIFO_END} suffix and be 1 to {NAME_CHARS_MAX} in length."
            )
        } else {
            format!(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to \
                 {NAME_CHARS_MAX} in length"
            )
        };
        Code::InvalidParameterValue.because(why)
    })
}

async fn existing(call: &Call<'_>, path: &QueuePath) -> Result<Option<Attributes>, Failure> {
    let (queues, own) = (call.service().queues(), &call.service().options().own);
    match queues.read(path, &path.in_broker(own)?).await {
        Ok(queue) => Ok(Some(queue.attributes.clone())),
        Err(failure) if failure.code == Code::QueueDoesNotExist => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Making a queue again is a success where nothing that is asked for is another.
fn same(attributes: &Attributes, values: &[(&'static str, Option<String>)]) -> Result<(), Failure> {
    let other = values.iter().find(|(name, value)| attributes.get(name) != *value);
    other.map_or(Ok(()), |(name, _)| {
        let why = format!(
            "A queue already exists with the same name and a different value for attribute {name}"
        );
        Err(Code::QueueNameExists.because(why))
    })
}

/// Whether it was made. It was not if another was faster.
async fn make(
    service: &Service,
    path: &QueuePath,
    values: &[(&'static str, Option<String>)],
    tags: &Pairs,
) -> Result<bool, Failure> {
    let options = service.options();
    let (now, name) = (service.now(), path.in_broker(&options.own)?);
    if options.sixty_second_rules {
        check_deleted(service.deleted().get(&name).copied(), now)?;
    }
    if let Some(policy) = redrive_of(values)? {
        check_redrive(service, path, &policy).await?;
    }
    let most = options.message_bytes_max;
    let mut attributes = Attributes::new(name, path.is_fifo(), &options.own, most, now);
    attributes.set(values.to_vec(), now)?;
    attributes.set_tags(tags);
    match service.broker().declare(attributes.spec()).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Conflict => {
            return declined(service, path, error).await;
        }
        Err(error) => return Err(error.into()),
    }
    link_sources(service, path).await?;
    Ok(true)
}

/// WHY: a conflict is that another has made it, or that its dead-letter queue has one itself.
async fn declined(
    service: &Service,
    path: &QueuePath,
    error: tidegate_core::Error,
) -> Result<bool, Failure> {
    let name = path.in_broker(&service.options().own)?;
    match service.broker().inspect()?.spec(&name).await {
        Ok(_) => Ok(false),
        Err(gone) if gone.kind() == ErrorKind::NotFound => {
            Err(Code::InvalidParameterValue.because(format!("Failed to {error}.")))
        }
        Err(other) => Err(other.into()),
    }
}

fn check_deleted(deleted: Option<Timestamp>, now: Timestamp) -> Result<(), Failure> {
    if deleted.is_none_or(|deleted| now.since(deleted).as_secs() >= RULE_SECONDS) {
        return Ok(());
    }
    let why = "You must wait 60 seconds after deleting a queue before you can create another with the \
               same name.";
    Err(Code::QueueDeletedRecently.because(why))
}

/// Queues whose dead-letter queue was deleted have it again when it is made again.
async fn link_sources(service: &Service, path: &QueuePath) -> Result<(), Failure> {
    let sources = service.queues().sources(path).await?;
    for (source, attributes) in sources {
        if attributes.spec().dead_letters.queue.is_some() {
            continue;
        }
        let linked = service.queues().update(&source, |attributes| {
            let policy = attributes.redrive_as_set();
            attributes.link(policy.as_ref())
        });
        match linked.await {
            Err(failure) if failure.code != Code::QueueDoesNotExist => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}
