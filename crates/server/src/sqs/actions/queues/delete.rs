//! `DeleteQueue` and `PurgeQueue`.

use tidegate_core::ErrorKind;

use crate::sqs::account::QueuePath;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::RULE_SECONDS;
use crate::sqs::service::{Call, Service};
use crate::sqs::shapes::{DeleteQueueRequest, PurgeQueueRequest};
use crate::sqs::wire::{Answer, Request};

/// How often it is tried to delete a dead-letter queue that others name again.
const TRIES: usize = 8;

pub(in crate::sqs::actions) async fn delete(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let DeleteQueueRequest { queue_url } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let service = call.service();
    let name = path.in_broker(&service.options().own)?;
    for _ in 0..TRIES {
        match service.broker().admin()?.delete(&name).await {
            Ok(()) => {
                service.queues().forget(&name);
                if service.options().sixty_second_rules {
                    let now = service.now();
                    let mut deleted = service.deleted();
                    deleted.retain(|_, at| now.since(*at).as_secs() < RULE_SECONDS);
                    deleted.insert(name, now);
                }
                return Ok(Answer::NOTHING);
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                unlink_sources(service, &path).await?
            }
            Err(error) => return service.queues().seen(&name, Err(error.into())),
        }
    }
    Err(Code::ServiceUnavailable.because("Others name this dead-letter queue again; try again."))
}

/// WHY: a dead-letter queue can be deleted, and what its sources have set stays: their messages come
/// back until it is made again, or their retention ends.
async fn unlink_sources(service: &Service, path: &QueuePath) -> Result<(), Failure> {
    for (source, _) in service.queues().sources(path).await? {
        let unlinked = service.queues().update(&source, |attributes| attributes.link(None));
        match unlinked.await {
            Err(failure) if failure.code != Code::QueueDoesNotExist => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}

pub(in crate::sqs::actions) async fn purge(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let PurgeQueueRequest { queue_url } = request.parse()?;
    let path = call.path(queue_url.as_deref())?;
    let service = call.service();
    let name = path.in_broker(&service.options().own)?;
    if service.options().sixty_second_rules {
        mark_purged(service, &path).await?;
    }
    let purged = service.broker().admin()?.purge(&name).await.map_err(Failure::from);
    service.queues().seen(&name, purged)?;
    Ok(Answer::NOTHING)
}

async fn mark_purged(service: &Service, path: &QueuePath) -> Result<(), Failure> {
    let now = service.now();
    let marked = service.queues().update(path, |attributes| {
        if attributes.purged().is_some_and(|at| now.since(at).as_secs() < RULE_SECONDS) {
            let why = format!(
                "Only one PurgeQueue operation on {} is allowed every 60 seconds.",
                path.name
            );
            return Err(Code::PurgeQueueInProgress.because(why));
        }
        attributes.set_purged(now);
        Ok(())
    });
    marked.await
}
