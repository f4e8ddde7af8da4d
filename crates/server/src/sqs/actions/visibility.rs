//! `ChangeMessageVisibility` and `ChangeMessageVisibilityBatch`.

use std::time::Duration;

use tidegate_core::{Lost, Settled, Verdict};

use super::batch;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::VISIBILITY_SECONDS_MAX;
use crate::sqs::queues::Queue;
use crate::sqs::receipt::Receipt;
use crate::sqs::service::{Call, Service};
use crate::sqs::shapes::{
    ChangeMessageVisibilityBatchRequest, ChangeMessageVisibilityBatchRequestEntry,
    ChangeMessageVisibilityRequest, IdOnly, Text,
};
use crate::sqs::wire::{Answer, Request};

const ENTRY: &str = "ChangeMessageVisibilityBatchRequestEntry";
/// What a lease is given to see whether it still lives, before it is given back.
const ALIVE: Duration = Duration::from_secs(1);

pub(super) async fn change(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let ChangeMessageVisibilityRequest { queue_url, receipt_handle, visibility_timeout } =
        request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    let timeout = visibility_timeout.ok_or_else(|| Failure::missing("VisibilityTimeout"))?;
    let changed = change_one(call.service(), &queue, receipt_handle.as_ref(), timeout).await;
    call.service().queues().seen(&queue.name, changed)?;
    Ok(Answer::NOTHING)
}

pub(super) async fn change_batch(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let ChangeMessageVisibilityBatchRequest { queue_url, entries } = request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    batch::check(entries.as_ref(), ENTRY, |entry| entry.id.as_ref())?;
    let mut done = Vec::new();
    for entry in entries.unwrap_or_default().first {
        let ChangeMessageVisibilityBatchRequestEntry { id, receipt_handle, visibility_timeout } =
            entry;
        let timeout = visibility_timeout.unwrap_or(0);
        let changed = change_one(call.service(), &queue, receipt_handle.as_ref(), timeout).await;
        if let Err(Failure { code: Code::QueueDoesNotExist, .. }) = &changed {
            call.service().queues().seen(&queue.name, changed)?;
            continue;
        }
        done.push((id.unwrap_or_default(), changed));
    }
    request.answer_often(&batch::result(done, |id, ()| IdOnly { id }))
}

async fn change_one(
    service: &Service,
    queue: &Queue,
    handle: Option<&Text<'_>>,
    timeout: i64,
) -> Result<(), Failure> {
    let handle =
        handle.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("ReceiptHandle"))?;
    if !(0..=VISIBILITY_SECONDS_MAX).contains(&timeout) {
        let why = "Must be between 0 and 43200.";
        return Err(Failure::value(timeout, "VisibilityTimeout", why));
    }
    let receipt = Receipt::read(handle, &queue.name)?;
    let now = service.now();
    let timeout_of = Duration::from_secs(timeout.unsigned_abs());
    let most = Duration::from_secs(VISIBILITY_SECONDS_MAX.unsigned_abs());
    if now.since(receipt.received_at) + timeout_of > most {
        let why = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        return Err(Failure::value(timeout, "VisibilityTimeout", why));
    }
    let receiver = &queue.place.receiver;
    let settled = if timeout > 0 {
        receiver.extend_one(&receipt.token, timeout_of).await?
    } else {
        give_back(queue, &receipt, receipt.until <= now).await?
    };
    match settled {
        Settled::Done { .. } => Ok(()),
        Settled::Lost(Lost::Expired | Lost::Superseded) => Err(not_in_flight(handle)),
        Settled::AlreadyDone if is_there(service, queue, &receipt).await? => {
            Err(not_in_flight(handle))
        }
        Settled::AlreadyDone | Settled::Lost(Lost::NotFound) => {
            let why = "Message does not exist or is not available for visibility timeout change.";
            Err(Failure::value(handle, "ReceiptHandle", why))
        }
    }
}

/// Zero gives the message back at once, and the receive counts. WHY: a lease that is over can still be
/// settled, and must not be here.
async fn give_back(
    queue: &Queue,
    receipt: &Receipt,
    may_be_over: bool,
) -> Result<Settled, Failure> {
    if may_be_over {
        let alive = queue.place.receiver.extend_one(&receipt.token, ALIVE).await?;
        if !matches!(alive, Settled::Done { .. }) {
            return Ok(alive);
        }
    }
    let back = Verdict::Retry { after: Duration::ZERO, error: None };
    let settled = queue.place.settle(vec![(receipt.token.clone(), back)]).await?;
    Ok(settled.into_iter().next().unwrap_or(Settled::AlreadyDone))
}

/// Whether the message is still there, in another's hands or in none.
async fn is_there(service: &Service, queue: &Queue, receipt: &Receipt) -> Result<bool, Failure> {
    Ok(service.broker().inspect()?.get(&queue.name, receipt.id).await?.is_some())
}

fn not_in_flight(handle: &str) -> Failure {
    let why = "The message referred to isn't in flight.";
    Code::MessageNotInflight
        .because(format!("Value {handle} for parameter ReceiptHandle is invalid. Reason: {why}"))
}
