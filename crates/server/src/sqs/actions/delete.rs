//! `DeleteMessage` and `DeleteMessageBatch`.

use std::time::Duration;

use tidegate_core::{Lost, Settled, Verdict};

use super::batch;
use crate::sqs::errors::Failure;
use crate::sqs::limits::BATCH_MAX;
use crate::sqs::queues::Queue;
use crate::sqs::receipt::Receipt;
use crate::sqs::service::Call;
use crate::sqs::shapes::{
    DeleteMessageBatchRequest, DeleteMessageBatchRequestEntry, DeleteMessageRequest, IdOnly, Text,
};
use crate::sqs::wire::{Answer, Request};

const ENTRY: &str = "DeleteMessageBatchRequestEntry";
/// What a lease is given to see whether it still lives, before its message is deleted.
const ALIVE: Duration = Duration::from_secs(1);

pub(super) async fn delete(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let DeleteMessageRequest { queue_url, receipt_handle } = request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    let receipt = read(call, &queue, receipt_handle.as_ref()).await?;
    let settled = queue.place.settle(vec![(receipt.token, Verdict::Complete)]).await;
    // WHY: whatever became of it, the message is gone, or another receiver's. AWS calls both a success.
    let _ = call.service().queues().seen(&queue.name, settled)?;
    Ok(Answer::NOTHING)
}

pub(super) async fn delete_batch(
    call: &Call<'_>,
    request: &Request<'_>,
) -> Result<Answer, Failure> {
    let DeleteMessageBatchRequest { queue_url, entries } = request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    batch::check(entries.as_ref(), ENTRY, |entry| entry.id.as_ref())?;
    let (mut done, mut verdicts) = (Vec::with_capacity(BATCH_MAX), Vec::with_capacity(BATCH_MAX));
    for DeleteMessageBatchRequestEntry { id, receipt_handle } in entries.unwrap_or_default().first {
        let receipt = read(call, &queue, receipt_handle.as_ref()).await;
        let entry = receipt.map(|receipt| verdicts.push((receipt.token, Verdict::Complete)));
        done.push((id.unwrap_or_default(), entry));
    }
    if !verdicts.is_empty() {
        let settled = queue.place.settle(verdicts).await;
        let _ = call.service().queues().seen(&queue.name, settled)?;
    }
    request.answer_often(&batch::result(done, |id, ()| IdOnly { id }))
}

/// The receipt of a handle that may delete its message.
async fn read(
    call: &Call<'_>,
    queue: &Queue,
    handle: Option<&Text<'_>>,
) -> Result<Receipt, Failure> {
    let handle =
        handle.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("ReceiptHandle"))?;
    let receipt = Receipt::read(handle, &queue.name)?;
    if queue.hot.is_fifo && receipt.until <= call.service().now() {
        check_alive(queue, &receipt, handle).await?;
    }
    Ok(receipt)
}

/// A FIFO queue refuses a handle whose time is over. WHY: asked only after the time that the handle
/// itself says: before it, nobody else can have the message unless it was given back.
async fn check_alive(queue: &Queue, receipt: &Receipt, handle: &str) -> Result<(), Failure> {
    match queue.place.receiver.extend_one(&receipt.token, ALIVE).await? {
        Settled::Lost(Lost::Expired | Lost::Superseded) => {
            Err(Failure::value(handle, "ReceiptHandle", "The receipt handle has expired."))
        }
        Settled::Done { .. } | Settled::AlreadyDone | Settled::Lost(Lost::NotFound) => Ok(()),
    }
}
