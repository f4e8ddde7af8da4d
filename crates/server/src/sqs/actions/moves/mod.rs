//! `StartMessageMoveTask`, `CancelMessageMoveTask`, `ListMessageMoveTasks`.
//!
//! What is known of a move lies in the labels of the queue that messages are moved out of, so every
//! server can tell it and stop it, and another one goes on with it when the one that moves is gone.

mod mover;
mod record;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::sqs::account::QueuePath;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::{MOVE_RATE_MAX, MOVES_LISTED_MAX};
use crate::sqs::service::Call;
use crate::sqs::shapes::{
    CancelMessageMoveTaskRequest, CancelMessageMoveTaskResult, ListMessageMoveTasksRequest,
    ListMessageMoveTasksResult, ListMessageMoveTasksResultEntry, StartMessageMoveTaskRequest,
    StartMessageMoveTaskResult,
};
use crate::sqs::wire::{Answer, Request, request_id};

pub(crate) use mover::resume;
use record::{Move, Moves, Status};

pub(super) async fn start(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let StartMessageMoveTaskRequest {
        source_arn,
        destination_arn,
        max_number_of_messages_per_second: rate,
    } = request.parse()?;
    let service = call.service();
    let source = source(call, source_arn).await?;
    let destination = destination(call, &source, destination_arn).await?;
    if let Some(rate) = rate.filter(|rate| !(1..=MOVE_RATE_MAX).contains(rate)) {
        let why = format!("Must be between 1 and {MOVE_RATE_MAX}, if provided.");
        return Err(Failure::value(rate, "MaxNumberOfMessagesPerSecond", why));
    }
    if service.queues().sources(&source).await?.is_empty() {
        let why = "Source queue must be configured as a Dead Letter Queue.";
        return Err(Code::InvalidParameterValue.because(why));
    }
    mover::take_over(service, &source).await?;
    let name = source.in_broker(&service.options().own)?;
    let stats = service.broker().inspect()?.stats(&name).await?;
    let (id, now) = (request_id(), service.now().as_millis());
    let new = Move {
        id: id.clone(),
        destination: destination.map(|path| path.arn()),
        rate: rate.map(|rate| rate as u32),
        status: Status::Running,
        moved: 0,
        to_move: stats.live(),
        started: now,
        beat: now,
        failure: None,
    };
    let begun = service.queues().update(&source, |attributes| {
        let mut moves: Moves = attributes.moves();
        moves.begin(new.clone())?;
        attributes.set_moves(&moves);
        Ok(())
    });
    begun.await?;
    mover::spawn(service, &source, &id);
    request.answer(&StartMessageMoveTaskResult { task_handle: handle(&id, &source) })
}

pub(super) async fn cancel(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let CancelMessageMoveTaskRequest { task_handle } = request.parse()?;
    let given =
        task_handle.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("TaskHandle"))?;
    let wrong = || Failure::value(&given, "TaskHandle", "The task handle is not valid.");
    let (id, source) = read_handle(&given).ok_or_else(wrong)?;
    call.admit(&source)?;
    let service = call.service();
    let cancelled = service.queues().update(&source, |attributes| {
        let mut moves: Moves = attributes.moves();
        let moved = moves.cancel(&id)?;
        attributes.set_moves(&moves);
        Ok(moved)
    });
    let moved = cancelled.await.map_err(|failure| match failure.code {
        Code::QueueDoesNotExist => no_source(),
        _ => failure,
    })?;
    mover::take_over(service, &source).await?;
    request.answer(&CancelMessageMoveTaskResult { approximate_number_of_messages_moved: moved })
}

pub(super) async fn list(call: &Call<'_>, request: &Request<'_>) -> Result<Answer, Failure> {
    let ListMessageMoveTasksRequest { source_arn, max_results } = request.parse()?;
    let most = max_results.unwrap_or(1);
    if !(1..=MOVES_LISTED_MAX).contains(&most) {
        let why = format!("Must be between 1 and {MOVES_LISTED_MAX}, if provided.");
        return Err(Failure::value(most, "MaxResults", why));
    }
    let source = source(call, source_arn).await?;
    mover::take_over(call.service(), &source).await?;
    let name = source.in_broker(&call.service().options().own)?;
    let queue = call.service().queues().read(&source, &name).await?;
    let moves: Moves = queue.attributes.moves();
    let entries = moves.0.into_iter().rev().take(most.unsigned_abs() as usize);
    let results = entries.map(|it| entry(it, &source)).collect();
    request.answer(&ListMessageMoveTasksResult { results })
}

fn entry(it: Move, source: &QueuePath) -> ListMessageMoveTasksResultEntry {
    let Move { id, destination, rate, status, moved, to_move, started, beat: _, failure } = it;
    ListMessageMoveTasksResultEntry {
        task_handle: (status == Status::Running).then(|| handle(&id, source)),
        status: status.name().to_owned(),
        source_arn: source.arn(),
        destination_arn: destination,
        max_number_of_messages_per_second: rate,
        approximate_number_of_messages_moved: moved,
        approximate_number_of_messages_to_move: Some(to_move),
        failure_reason: failure,
        started_timestamp: started,
    }
}

async fn source(call: &Call<'_>, arn: Option<String>) -> Result<QueuePath, Failure> {
    let arn = arn.filter(|it| !it.is_empty()).ok_or_else(|| Failure::missing("SourceArn"))?;
    let path = QueuePath::of_arn(&arn).ok_or_else(no_source)?;
    call.admit(&path)?;
    there(call, &path, no_source).await?;
    Ok(path)
}

fn no_source() -> Failure {
    let why = "The resource that you specified for the SourceArn parameter doesn't exist.";
    Code::ResourceNotFound.because(why)
}

async fn destination(
    call: &Call<'_>,
    source: &QueuePath,
    arn: Option<String>,
) -> Result<Option<QueuePath>, Failure> {
    let Some(arn) = arn.filter(|it| !it.is_empty()) else { return Ok(None) };
    let gone = || {
        let why = "The resource that you specified for the DestinationArn parameter doesn't exist.";
        Code::ResourceNotFound.because(why)
    };
    let path = QueuePath::of_arn(&arn).ok_or_else(gone)?;
    call.admit(&path)?;
    there(call, &path, gone).await?;
    if path == *source {
        let why = "Source queue arn and destination queue arn cannot be the same.";
        return Err(Code::InvalidParameterValue.because(why));
    }
    if path.is_fifo() != source.is_fifo() {
        let why = "The source and the destination must be queues of the same type.";
        return Err(Code::InvalidParameterValue.because(why));
    }
    Ok(Some(path))
}

async fn there(call: &Call<'_>, path: &QueuePath, gone: fn() -> Failure) -> Result<(), Failure> {
    match call.service().queues().get(path).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.code == Code::QueueDoesNotExist => Err(gone()),
        Err(failure) => Err(failure),
    }
}

/// As AWS makes it: which move, and out of which queue.
fn handle(id: &str, source: &QueuePath) -> String {
    STANDARD.encode(json!({ "taskId": id, "sourceArn": source.arn() }).to_string())
}

fn read_handle(handle: &str) -> Option<(String, QueuePath)> {
    let told: Value = serde_json::from_slice(&STANDARD.decode(handle).ok()?).ok()?;
    let id = told.get("taskId")?.as_str()?.to_owned();
    Some((id, QueuePath::of_arn(told.get("sourceArn")?.as_str()?)?))
}
