//! `SendMessage` and `SendMessageBatch`.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidegate_core::Enqueued;

use super::batch;
use super::send_checks as checks;
use crate::sqs::digests;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::{BATCH_MAX, DELAY_SECONDS_MAX, MESSAGE_BYTES_MAX};
use crate::sqs::lists::SentAttributes;
use crate::sqs::message::{Deduplication, Outgoing};
use crate::sqs::queues::Queue;
use crate::sqs::service::Call;
use crate::sqs::shapes::{
    Hex, SendMessageBatchRequest, SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
    SendMessageRequest, SendMessageResult, Text,
};
use crate::sqs::wire::{Answer, Request};

const ENTRY: &str = "SendMessageBatchRequestEntry";

/// A message as a client sends it, alone or in a batch.
struct Sent<'a> {
    body: Option<Text<'a>>,
    md5_of_body: Hex<32>,
    delay_seconds: Option<i64>,
    attributes: SentAttributes,
    system_attributes: SentAttributes,
    deduplication_id: Option<String>,
    group_id: Option<String>,
}

/// A message that is ready, and what is answered about it but for its id.
struct Ready {
    message: Outgoing,
    answer: SendMessageResult,
    bytes: usize,
}

pub(super) async fn send(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let SendMessageRequest {
        queue_url,
        message_body,
        delay_seconds,
        message_attributes,
        message_system_attributes,
        message_deduplication_id,
        message_group_id,
    } = request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    let sent = Sent {
        md5_of_body: md5s(&[&message_body]).into_iter().next().unwrap_or_default(),
        body: message_body,
        delay_seconds,
        attributes: message_attributes.unwrap_or_default(),
        system_attributes: message_system_attributes.unwrap_or_default(),
        deduplication_id: message_deduplication_id,
        group_id: message_group_id,
    };
    let Ready { message, answer, bytes } = ready(call, &queue, sent)?;
    let most = most(call, &queue);
    if bytes > most {
        let why = format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        );
        return Err(Code::InvalidParameterValue.because(why));
    }
    let outcomes = queue.place.enqueue(vec![message.into_task()]).await;
    let outcomes = call.service().queues().seen(&queue.name, outcomes)?;
    let enqueued = outcomes.into_iter().next().unwrap_or_else(|| Err(unknown()));
    request.answer_often(&told(&queue, answer, &enqueued?))
}

pub(super) async fn send_batch(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let SendMessageBatchRequest { queue_url, entries } = request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    batch::check(entries.as_ref(), ENTRY, |entry| entry.id.as_ref())?;
    let mut done = Vec::with_capacity(BATCH_MAX);
    let (mut tasks, mut bytes_of_all) = (Vec::with_capacity(BATCH_MAX), 0);
    let entries = entries.unwrap_or_default().first;
    let bodies: Vec<_> = entries.iter().map(|entry| &entry.message_body).collect();
    let md5s = md5s(&bodies);
    for (entry, md5_of_body) in entries.into_iter().zip(md5s) {
        let (id, sent) = sent(entry, md5_of_body);
        let ready = match ready(call, &queue, sent) {
            Ok(ready) => ready,
            Err(failure) => {
                done.push((id, Err(in_batch(failure))));
                continue;
            }
        };
        let Ready { message, answer, bytes } = ready;
        bytes_of_all += bytes;
        let most = most(call, &queue);
        if bytes > most {
            let why = format!(
                "One or more parameters cannot be validated. Reason: Message must be shorter than \
                 {most} bytes."
            );
            done.push((id, Err(Code::InvalidParameterValue.because(why))));
            continue;
        }
        tasks.push(message.into_task());
        done.push((id, Ok(answer)));
    }
    if bytes_of_all > MESSAGE_BYTES_MAX {
        let why = format!(
            "Batch requests cannot be longer than {MESSAGE_BYTES_MAX} bytes. You have sent \
             {bytes_of_all} bytes."
        );
        return Err(Code::BatchRequestTooLong.because(why));
    }
    let mut outcomes = Vec::new();
    if !tasks.is_empty() {
        let enqueued = queue.place.enqueue(tasks).await;
        outcomes = call.service().queues().seen(&queue.name, enqueued)?;
    }
    let mut outcomes = outcomes.into_iter();
    let done = done.into_iter().map(|(id, checked)| {
        let entry = checked.and_then(|answer| {
            let enqueued = outcomes.next().unwrap_or_else(|| Err(unknown()))?;
            Ok(told(&queue, answer, &enqueued))
        });
        (id, entry)
    });
    let entry = |id, sent| SendMessageBatchResultEntry { id, sent };
    request.answer_often(&batch::result(done.collect(), entry))
}

/// The MD5s of bodies, those of none included.
fn md5s(bodies: &[&Option<Text<'_>>]) -> Vec<Hex<32>> {
    let texts = bodies.iter().map(|body| body.as_deref().unwrap_or_default().as_bytes());
    digests::of_bodies(&texts.collect::<Vec<_>>())
}

fn sent(entry: SendMessageBatchRequestEntry<'_>, md5_of_body: Hex<32>) -> (Text<'_>, Sent<'_>) {
    let SendMessageBatchRequestEntry {
        id,
        message_body,
        delay_seconds,
        message_attributes,
        message_system_attributes,
        message_deduplication_id,
        message_group_id,
    } = entry;
    let sent = Sent {
        body: message_body,
        md5_of_body,
        delay_seconds,
        attributes: message_attributes.unwrap_or_default(),
        system_attributes: message_system_attributes.unwrap_or_default(),
        deduplication_id: message_deduplication_id,
        group_id: message_group_id,
    };
    (id.unwrap_or_default(), sent)
}

/// What is missing in an entry is a wrong value of the batch.
fn in_batch(failure: Failure) -> Failure {
    match failure.code {
        Code::MissingParameter => Failure { code: Code::InvalidParameterValue, ..failure },
        _ => failure,
    }
}

fn unknown() -> Failure {
    Code::InternalFailure.because("The broker has not said what became of the message.")
}

fn ready(call: &Call<'_>, queue: &Queue, sent: Sent<'_>) -> Result<Ready, Failure> {
    let Sent {
        body,
        md5_of_body,
        delay_seconds,
        attributes,
        system_attributes,
        deduplication_id,
        group_id,
    } = sent;
    let body =
        body.filter(|body| !body.is_empty()).ok_or_else(|| Failure::missing("MessageBody"))?;
    checks::body(&body)?;
    let delay = delay(queue, delay_seconds)?;
    let attributes = checks::attributes(&attributes)?;
    let system = checks::system_attributes(&system_attributes)?;
    let group = checks::group(queue.hot.is_fifo, group_id)?;
    let deduplication = deduplication(queue, &body, deduplication_id, group.as_deref())?;
    let bytes = body.len() + checks::bytes_of(&attributes);
    let answer = SendMessageResult {
        md5_of_message_body: md5_of_body,
        md5_of_message_attributes: digests::of_attributes(&attributes),
        md5_of_message_system_attributes: digests::of_attributes(&system),
        message_id: Hex::default(),
        sequence_number: None,
    };
    let trace = system.into_values().next().and_then(|attribute| match attribute.value {
        crate::sqs::message::Value::Text(text) => Some(text),
        crate::sqs::message::Value::Binary(_) => None,
    });
    let is_own = call.namespace.account == queue.path.namespace.account;
    let sender = (!is_own).then(|| call.namespace.account.clone());
    let body = Bytes::from(body.0.into_owned());
    let message = Outgoing { body, attributes, trace, sender, group, deduplication, delay };
    Ok(Ready { message, answer, bytes })
}

fn told(queue: &Queue, mut answer: SendMessageResult, enqueued: &Enqueued) -> SendMessageResult {
    answer.message_id = enqueued.id.into();
    answer.sequence_number = queue.hot.is_fifo.then(|| sequence_number(enqueued.sequence));
    answer
}

fn most(call: &Call<'_>, queue: &Queue) -> usize {
    queue.hot.message_bytes_max.min(call.service().options().message_bytes_max)
}

/// Twenty digits, as AWS writes it.
pub(super) fn sequence_number(sequence: u64) -> String {
    format!("{sequence:020}")
}

/// WHY: an ordered queue takes no delay per task, so that of a FIFO queue is kept where its messages are
/// received.
fn delay(queue: &Queue, asked: Option<i64>) -> Result<Duration, Failure> {
    match asked {
        None if queue.hot.is_fifo => Ok(Duration::ZERO),
        None => Ok(queue.hot.delay),
        Some(seconds) if !(0..=DELAY_SECONDS_MAX).contains(&seconds) => {
            let why = format!("DelaySeconds must be >= 0 and <= {DELAY_SECONDS_MAX}.");
            Err(Failure::value(seconds, "DelaySeconds", why))
        }
        Some(seconds) if queue.hot.is_fifo && seconds != 0 => {
            let why = "The request include parameter that is not valid for this queue type.";
            Err(Failure::value(seconds, "DelaySeconds", why))
        }
        Some(seconds) => Ok(Duration::from_secs(seconds.unsigned_abs())),
    }
}

fn deduplication(
    queue: &Queue,
    body: &str,
    id: Option<String>,
    group: Option<&str>,
) -> Result<Option<Deduplication>, Failure> {
    let hot = &queue.hot;
    let id = match checks::deduplication_id(hot.is_fifo, id)? {
        Some(id) => id,
        None if !hot.is_fifo => return Ok(None),
        None if hot.dedup_by_content => digests::hex(&Sha256::digest(body.as_bytes())),
        None => {
            let why = "The queue should either have ContentBasedDeduplication enabled or \
                       MessageDeduplicationId provided explicitly";
            return Err(Code::InvalidParameterValue.because(why));
        }
    };
    let key = match group {
        // WHY: two of the longest ids do not fit into a key, and no id has the other's beginning.
        Some(group) if hot.dedup_per_group => {
            let both = Sha256::new()
                .chain_update([group.len() as u8])
                .chain_update(group)
                .chain_update(&id);
            digests::hex(&both.finalize())
        }
        _ => id.clone(),
    };
    Ok(Some(Deduplication { id, key, window: hot.dedup_window }))
}
