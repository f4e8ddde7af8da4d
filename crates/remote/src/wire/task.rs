//! Tasks on their way in and out.

use tidegate_core::task::Dedup;
use tidegate_core::{
    DeadLetter, Enqueued, FollowUp, NewTask, Operation, QueueName, Result, Task, TaskId, Timestamp,
    Unique,
};

use super::error::{error_from, error_to};
use super::time::{duration, micros};
use super::{queue_from, unreadable};
use crate::proto;

pub(crate) fn new_task_to(task: &NewTask) -> proto::NewTask {
    let NewTask { id, kind, payload, headers, delay, priority, dedup, ordering_key } = task;
    proto::NewTask {
        id: id_to(*id),
        kind: kind.as_str().into(),
        payload: payload.clone(),
        headers: headers.clone(),
        delay_us: micros(*delay),
        priority: u32::from(*priority),
        dedup: dedup.as_ref().map(dedup_to),
        ordering_key: ordering_key.clone(),
    }
}

/// About as many bytes as a task has in a request, and never fewer.
pub(crate) fn bytes_of(task: &NewTask) -> usize {
    /// More than the numbers, lengths and tags take.
    const REST: usize = 96;
    let NewTask { id: _, kind, payload, headers, delay: _, priority: _, dedup, ordering_key } =
        task;
    let headers = headers.iter().map(|(name, value)| name.len() + value.len() + 24).sum::<usize>();
    let dedup = dedup.as_ref().map_or(0, |dedup| dedup.key.len());
    let ordering_key = ordering_key.as_ref().map_or(0, String::len);
    REST + kind.as_str().len() + payload.len() + headers + dedup + ordering_key
}

pub(crate) fn new_task_from(task: proto::NewTask, doing: Operation) -> Result<NewTask> {
    let proto::NewTask { id, kind, payload, headers, delay_us, priority, dedup, ordering_key } =
        task;
    let id = if id.is_empty() { TaskId::new() } else { id_from(&id, doing)? };
    let priority = u8::try_from(priority)
        .map_err(|_| unreadable(doing, format!("priority is {priority}; it can be 0 to 255")))?;
    Ok(NewTask {
        id,
        kind: kind.into(),
        payload,
        headers,
        delay: duration(delay_us),
        priority,
        dedup: dedup.map(|dedup| dedup_from(dedup, doing)).transpose()?,
        ordering_key,
    })
}

fn dedup_to(dedup: &Dedup) -> proto::Dedup {
    let Dedup { key, unique } = dedup;
    let unique = match unique {
        Unique::Window(window) => proto::dedup::Unique::WindowUs(micros(*window)),
        Unique::UntilDone => proto::dedup::Unique::UntilDone(true),
    };
    proto::Dedup { key: key.clone(), unique: Some(unique) }
}

fn dedup_from(dedup: proto::Dedup, doing: Operation) -> Result<Dedup> {
    let proto::Dedup { key, unique } = dedup;
    let unique = match unique {
        Some(proto::dedup::Unique::WindowUs(window)) => Unique::Window(duration(window)),
        Some(proto::dedup::Unique::UntilDone(true)) => Unique::UntilDone,
        Some(proto::dedup::Unique::UntilDone(false)) | None => {
            return Err(unreadable(
                doing,
                "a dedup key needs `window_us`, or `until_done` as true",
            ));
        }
    };
    Ok(Dedup { key, unique })
}

pub(crate) fn id_to(id: TaskId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(id.as_bytes())
}

pub(crate) fn id_from(id: &[u8], doing: Operation) -> Result<TaskId> {
    let bytes = id.try_into().map_err(|_| {
        unreadable(doing, format!("a task's id has {} bytes; it needs 16", id.len()))
    })?;
    Ok(TaskId::from_bytes(bytes))
}

pub(crate) fn enqueued_to(outcome: Result<Enqueued>) -> proto::Enqueued {
    match outcome {
        Ok(Enqueued { id, sequence, deduplicated }) => {
            proto::Enqueued { id: id_to(id), sequence, deduplicated, error: None }
        }
        Err(error) => proto::Enqueued { error: Some(error_to(&error)), ..Default::default() },
    }
}

/// An outcome, or the error of one that cannot be read.
pub(crate) fn enqueued_from(
    outcome: proto::Enqueued,
    doing: Operation,
) -> Result<Result<Enqueued>> {
    let proto::Enqueued { id, sequence, deduplicated, error } = outcome;
    match error {
        Some(error) => Ok(Err(error_from(error))),
        None => Ok(Ok(Enqueued { id: id_from(&id, doing)?, sequence, deduplicated })),
    }
}

pub(crate) fn follow_up_to(follow_up: &FollowUp) -> proto::FollowUp {
    let FollowUp { queue, task } = follow_up;
    proto::FollowUp { queue: queue.to_string(), task: Some(new_task_to(task)) }
}

pub(crate) fn follow_up_from(follow_up: proto::FollowUp, doing: Operation) -> Result<FollowUp> {
    let proto::FollowUp { queue, task } = follow_up;
    let task = task.ok_or_else(|| unreadable(doing, "a follow-up has no task"))?;
    Ok(FollowUp { queue: queue_from(queue, doing)?, task: new_task_from(task, doing)? })
}

/// A task as a message; `in_session` leaves out the queue, which both sides know.
pub(crate) fn task_to(task: Task, in_session: bool) -> proto::Task {
    let Task {
        id,
        queue,
        kind,
        payload,
        headers,
        priority,
        ordering_key,
        partition,
        sequence,
        deliveries,
        attempt,
        enqueued_at,
        last_error,
        dead_letter,
    } = task;
    proto::Task {
        id: id_to(id),
        queue: if in_session { String::new() } else { queue.to_string() },
        kind: kind.into(),
        payload,
        headers,
        priority: u32::from(priority),
        ordering_key,
        partition,
        sequence,
        deliveries,
        attempt,
        enqueued_at_ms: enqueued_at.as_millis(),
        last_error,
        dead_letter: dead_letter.map(dead_letter_to),
    }
}

/// A task of a message, in `queue` where the message names none.
pub(crate) fn task_from(task: proto::Task, queue: &QueueName, doing: Operation) -> Result<Task> {
    let proto::Task {
        id,
        queue: own,
        kind,
        payload,
        headers,
        priority,
        ordering_key,
        partition,
        sequence,
        deliveries,
        attempt,
        enqueued_at_ms,
        last_error,
        dead_letter,
    } = task;
    Ok(Task {
        id: id_from(&id, doing)?,
        queue: if own.is_empty() { queue.clone() } else { queue_from(own, doing)? },
        kind: kind.into(),
        payload,
        headers,
        priority: u8::try_from(priority).unwrap_or(u8::MAX),
        ordering_key,
        partition,
        sequence,
        deliveries,
        attempt,
        enqueued_at: Timestamp::from_millis(enqueued_at_ms),
        last_error,
        dead_letter: dead_letter.map(|dead| dead_letter_from(dead, doing)).transpose()?,
    })
}

pub(crate) fn dead_letter_to(dead: DeadLetter) -> proto::DeadLetter {
    let DeadLetter { source, reason, error, attempts, died_at } = dead;
    let (source, died_at_ms) = (source.to_string(), died_at.as_millis());
    proto::DeadLetter { source, reason, error, attempts, died_at_ms }
}

pub(crate) fn dead_letter_from(dead: proto::DeadLetter, doing: Operation) -> Result<DeadLetter> {
    let proto::DeadLetter { source, reason, error, attempts, died_at_ms } = dead;
    let (source, died_at) = (queue_from(source, doing)?, Timestamp::from_millis(died_at_ms));
    Ok(DeadLetter { source, reason, error, attempts, died_at })
}
