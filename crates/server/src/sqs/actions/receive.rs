//! `ReceiveMessage`.

use std::time::Duration;

use tidegate_core::task::Task;
use tidegate_core::{AttemptId, Lease, LeaseToken, ReceiveOptions, Timestamp, Verdict};

use super::send::sequence_number;
use super::send_checks::{is_id, wrong_id};
use crate::sqs::account::QueuePath;
use crate::sqs::digests;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::{BATCH_MAX, VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX};
use crate::sqs::message;
use crate::sqs::queues::Queue;
use crate::sqs::receipt::Receipt;
use crate::sqs::room::{self, Taken};
use crate::sqs::service::{Call, Service};
use crate::sqs::shapes::{Message, Pairs, ReceiveMessageRequest, ReceiveMessageResult, Text};
use crate::sqs::wire::{Answer, Request};

/// The lease of a message whose visibility timeout is zero: the shortest there is.
const LEASE_FOR_NONE: Duration = Duration::from_millis(1);
/// How long a receive may go on when the server ends. WHY: one that is handing messages out comes to its
/// end in that time, and strands none.
const END_GRACE: Duration = Duration::from_millis(100);

/// The system attributes of a message.
const SYSTEM: &[&str] = &[
    "All",
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SenderId",
    "SentTimestamp",
    "SequenceNumber",
];

pub(super) async fn receive(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let ReceiveMessageRequest {
        queue_url,
        attribute_names,
        message_system_attribute_names,
        message_attribute_names,
        max_number_of_messages,
        visibility_timeout,
        wait_time_seconds,
        receive_request_attempt_id,
    } = request.parse()?;
    let queue = call.queue(queue_url.as_deref()).await?;
    let limit = limit(max_number_of_messages)?;
    let wait = wait(&queue, wait_time_seconds)?;
    let lease = lease(&queue, visibility_timeout)?;
    let system: Vec<Text<'_>> =
        [attribute_names, message_system_attribute_names].into_iter().flatten().flatten().collect();
    check_system(&system)?;
    let per_key = if queue.hot.is_fifo { limit } else { 1 };
    let attempt_id = attempt(call.service(), &queue, receive_request_attempt_id)?;
    let options = ReceiveOptions { limit, wait, lease, per_key, attempt_id };
    let asked = message_attribute_names.unwrap_or_default();
    let key = &call.identity.access_key;
    let _seat = (!wait.is_zero()).then(|| call.service().polls().sit(key)).transpose()?;
    let (leases, taken) = match queue.place.is_full().await? {
        true if queue.hot.is_fifo => (Vec::new(), None),
        true => {
            let why = "There are too many messages in flight; delete some before receiving more.";
            return Err(Code::OverLimit.because(why));
        }
        false => within_room(call.service(), &queue, &options).await?,
    };
    queue.place.handed_out(leases.len());
    let messages = messages(call, &queue, &leases, &system, &asked);
    Ok(request.answer_often(&ReceiveMessageResult { messages })?.within(taken))
}

/// Receives no more than there is room for. What is there is received once its room is taken; who waits for
/// what comes takes none, and gives back what comes when there is none, which costs no attempt.
async fn within_room(
    service: &Service,
    queue: &Queue,
    options: &ReceiveOptions,
) -> Result<(Vec<Lease>, Option<Taken>), Failure> {
    let (room, longest) = (service.room(), &queue.place.longest);
    let until = service.now().plus(options.wait);
    // WHY: what is received under an attempt's id, nothing included, is what it gets again.
    let is_once = options.attempt_id.is_some();
    let mut wait = if is_once { options.wait } else { Duration::ZERO };
    // WHY: one place where it waits, so that one that waits has no room for others.
    loop {
        let mut taken = None;
        if wait.is_zero() && !is_once {
            let most = longest.bytes_of(options.limit);
            taken = Some(room.take(most).await.ok_or_else(no_room)?);
        }
        let leases = hand_out(service, queue, &options.clone().waiting(wait)).await?;
        longest.see(&leases);
        if leases.is_empty() {
            let is_last = is_once || !wait.is_zero();
            wait = until.since(service.now()).min(options.wait);
            if is_last || wait.is_zero() {
                return Ok((leases, None));
            }
            continue;
        }
        let bytes = room::bytes_of(&leases);
        if is_once {
            let taken = Box::pin(room.take(bytes)).await.ok_or_else(no_room)?;
            return Ok((leases, Some(taken)));
        }
        match room.enough(taken, bytes) {
            Some(taken) => return Ok((leases, Some(taken))),
            None => Box::pin(give_back(queue, leases)).await?,
        }
        wait = Duration::ZERO;
    }
}

/// WHY: a client that asks again under the same attempt's id gets what was received for it.
fn no_room() -> Failure {
    let why = "Answers that their clients do not take leave no room for this one; try again.";
    Code::ServiceUnavailable.because(why)
}

async fn give_back(queue: &Queue, leases: Vec<Lease>) -> Result<(), Failure> {
    let back = |lease: Lease| (lease.token, Verdict::Release { after: Duration::ZERO });
    let back = leases.into_iter().map(back).collect();
    queue.place.settle(back).await.map(drop)
}

fn limit(asked: Option<i64>) -> Result<usize, Failure> {
    match asked.unwrap_or(1) {
        count if (1..=BATCH_MAX as i64).contains(&count) => Ok(count as usize),
        count => {
            let why = "Must be between 1 and 10, if provided.";
            Err(Failure::value(count, "MaxNumberOfMessages", why))
        }
    }
}

fn wait(queue: &Queue, asked: Option<i64>) -> Result<Duration, Failure> {
    match asked {
        None => Ok(queue.hot.wait),
        Some(seconds) if (0..=WAIT_SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs(seconds.unsigned_abs()))
        }
        Some(seconds) => {
            let why = "Must be >= 0 and <= 20, if provided.";
            Err(Failure::value(seconds, "WaitTimeSeconds", why))
        }
    }
}

fn lease(queue: &Queue, asked: Option<i64>) -> Result<Option<Duration>, Failure> {
    let lease = match asked {
        None if queue.hot.visibility.is_zero() => Duration::ZERO,
        None => return Ok(None),
        Some(seconds) if (0..=VISIBILITY_SECONDS_MAX).contains(&seconds) => {
            Duration::from_secs(seconds.unsigned_abs())
        }
        Some(seconds) => {
            let why = "Must be between 0 and 43200, if provided.";
            return Err(Failure::value(seconds, "VisibilityTimeout", why));
        }
    };
    Ok(Some(lease.max(LEASE_FOR_NONE)))
}

fn check_system(asked: &[Text<'_>]) -> Result<(), Failure> {
    match asked.iter().find(|name| !SYSTEM.contains(&name.0.as_ref())) {
        None => Ok(()),
        Some(name) => Err(Code::InvalidAttributeName.because(format!("Unknown Attribute {name}."))),
    }
}

/// The id under which a receive can be made again. Without effect on a broker that knows no receive by
/// its id: there, what a lost answer held comes back when its visibility timeout is over.
fn attempt(
    service: &Service,
    queue: &Queue,
    id: Option<String>,
) -> Result<Option<AttemptId>, Failure> {
    const NAME: &str = "ReceiveRequestAttemptId";
    let Some(id) = id else { return Ok(None) };
    if !queue.hot.is_fifo {
        let why = "The request include parameter that is not valid for this queue type.";
        return Err(Failure::value(id, NAME, why));
    }
    let known = AttemptId::new(&id).ok().filter(|_| is_id(&id));
    let known = known.ok_or_else(|| wrong_id(NAME, &id))?;
    Ok(service.broker().capabilities().attempt_memory.map(|_| known))
}

/// Waits for messages until the time is over, or the server ends.
async fn hand_out(
    service: &Service,
    queue: &Queue,
    options: &ReceiveOptions,
) -> Result<Vec<Lease>, Failure> {
    if options.wait.is_zero() || service.is_ending() {
        let options = options.clone().waiting(Duration::ZERO);
        return receive_due(service, queue, &options).await;
    }
    let receiving = receive_due(service, queue, options);
    tokio::pin!(receiving);
    tokio::select! {
        biased;
        received = &mut receiving => received,
        () = service.ending() => {
            tokio::time::timeout(END_GRACE, receiving).await.unwrap_or_else(|_| Ok(Vec::new()))
        }
    }
}

/// Messages whose delay is over. WHY: an ordered queue takes no delay per task; what is received too
/// early is given back until its time, which keeps its place and holds its group.
async fn receive_due(
    service: &Service,
    queue: &Queue,
    options: &ReceiveOptions,
) -> Result<Vec<Lease>, Failure> {
    let receiver = &queue.place.receiver;
    let until = service.now().plus(options.wait);
    loop {
        let options = options.clone().waiting(until.since(service.now()).min(options.wait));
        let received = receiver.receive(&options).await.map_err(Failure::from);
        let leases = service.queues().seen(&queue.name, received)?;
        if !queue.hot.is_fifo || queue.hot.delay.is_zero() || leases.is_empty() {
            return Ok(leases);
        }
        let now = service.now();
        let due = |lease: &Lease| lease.task.enqueued_at.plus(queue.hot.delay);
        let (due_now, early): (Vec<_>, Vec<_>) = leases.into_iter().partition(|it| due(it) <= now);
        let back: Vec<(LeaseToken, Verdict)> = early
            .iter()
            .map(|lease| (lease.token.clone(), Verdict::Release { after: due(lease).since(now) }))
            .collect();
        if !back.is_empty() {
            let _ = queue.place.settle(back).await?;
        }
        if !due_now.is_empty() || until <= service.now() {
            return Ok(due_now);
        }
    }
}

fn messages<'a>(
    call: &Call<'_>,
    queue: &Queue,
    leases: &'a [Lease],
    system: &[Text<'_>],
    asked: &[Text<'_>],
) -> Vec<Message<'a>> {
    let read: Vec<_> = leases.iter().map(|lease| message::read(&lease.task)).collect();
    let bodies: Vec<_> = read.iter().map(|(body, _)| body.as_bytes()).collect();
    let md5s = digests::of_bodies(&bodies);
    let message = |((lease, (body, mut attributes)), md5_of_body): ((&Lease, _), _)| {
        message::keep_asked(&mut attributes, asked);
        let receipt = Receipt::of(lease);
        Message {
            message_id: lease.task.id.into(),
            md5_of_body,
            body: Text(body),
            attributes: system_attributes(call, queue, &lease.task, receipt.received_at, system),
            md5_of_message_attributes: digests::of_attributes(&attributes),
            message_attributes: message::to_wire(attributes),
            receipt_handle: receipt.to_handle(&queue.name),
        }
    };
    leases.iter().zip(read).zip(md5s).map(message).collect()
}

fn system_attributes(
    call: &Call<'_>,
    queue: &Queue,
    task: &Task,
    received_at: Timestamp,
    asked: &[Text<'_>],
) -> Pairs {
    if asked.is_empty() {
        return Pairs::new();
    }
    let has_all = asked.iter().any(|name| name.0 == "All");
    let is_asked = |name: &str| has_all || asked.iter().any(|asked| asked.0 == name);
    let value = |name: &&str| {
        let value =
            is_asked(name).then(|| system_attribute(call, queue, task, received_at, name))??;
        Some(((*name).to_owned(), value))
    };
    SYSTEM.iter().filter_map(value).collect()
}

fn system_attribute(
    call: &Call<'_>,
    queue: &Queue,
    task: &Task,
    received_at: Timestamp,
    name: &str,
) -> Option<String> {
    let header = |name: &str| task.headers.get(name).cloned();
    let own = &call.service().options().own;
    match name {
        "SenderId" => {
            header(message::SENDER).or_else(|| Some(queue.path.namespace.account.clone()))
        }
        "SentTimestamp" => Some(task.enqueued_at.as_millis().to_string()),
        "ApproximateReceiveCount" => Some(task.attempt.to_string()),
        // WHY: a task does not know when it was first received, only that it was not before it was sent.
        "ApproximateFirstReceiveTimestamp" => {
            let first = if task.attempt <= 1 { received_at } else { task.enqueued_at };
            Some(first.as_millis().to_string())
        }
        "SequenceNumber" => queue.hot.is_fifo.then(|| sequence_number(task.sequence)),
        "MessageDeduplicationId" => header(message::DEDUPLICATION_ID),
        "MessageGroupId" => task.ordering_key.clone(),
        "AWSTraceHeader" => header(message::TRACE),
        "DeadLetterQueueSourceArn" => {
            let source = &task.dead_letter.as_ref()?.source;
            QueuePath::from_broker(source, own).map(|source| source.arn())
        }
        _ => None,
    }
}
