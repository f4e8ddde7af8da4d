//! Tasks as rows.

use std::time::SystemTime;

use tidegate_core::{
    Bytes, DeadLetter, Lease, Operation, QueueName, QueueSpec, Result, State, Task, TaskId,
    TaskView,
};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::clock::timestamp;
use crate::errors::corrupt;
use crate::queues::Queue;
use crate::token::Fenced;

/// A column of a row.
pub(crate) fn field<'a, T: FromSql<'a>>(row: &'a Row, at: usize, doing: Operation) -> Result<T> {
    let unreadable = |error| corrupt(doing, format!("an answer cannot be read: {error}"));
    row.try_get(at).map_err(unreadable)
}

/// A task that was handed out: the columns of `sql/claim.sql`.
pub(crate) fn lease(row: &Row, queue: &Queue) -> Result<Lease> {
    const RECEIVE: Operation = Operation::Receive;
    let task = task(row, &queue.name, &queue.spec, RECEIVE)?;
    let fence: i64 = field(row, 12, RECEIVE)?;
    let until: SystemTime = field(row, 13, RECEIVE)?;
    let micros: i64 = field(row, 14, RECEIVE)?;
    let sequence = task.sequence.cast_signed();
    Ok(Lease {
        task,
        token: Fenced { queue: queue.id, sequence, fence }.to_token(),
        until: timestamp(until),
        duration: std::time::Duration::from_micros(micros.unsigned_abs()),
    })
}

/// Where a task that was handed out stands among those of its call.
pub(crate) fn place(row: &Row) -> Result<i32> {
    field(row, 15, Operation::Receive)
}

/// A task as it lies in its queue: the columns of `sql/view.sql`.
pub(crate) fn view(row: &Row) -> Result<TaskView> {
    const INSPECT: Operation = Operation::Inspect;
    let queue = name(field(row, 12, INSPECT)?, INSPECT)?;
    let spec = crate::queues::spec(field(row, 13, INSPECT)?, INSPECT)?;
    let state = state(field(row, 14, INSPECT)?, INSPECT)?;
    let until: Option<SystemTime> = field(row, 15, INSPECT)?;
    let dead_letter = match field::<Option<SystemTime>>(row, 20, INSPECT)? {
        None => None,
        Some(died_at) => Some(DeadLetter {
            source: name(field(row, 16, INSPECT)?, INSPECT)?,
            reason: field(row, 17, INSPECT)?,
            error: field(row, 18, INSPECT)?,
            attempts: field::<i32>(row, 19, INSPECT)?.unsigned_abs(),
            died_at: timestamp(died_at),
        }),
    };
    let task = task(row, &queue, &spec, INSPECT)?;
    Ok(TaskView { task, state, until: until.map(timestamp), dead_letter })
}

/// The columns that both have in common.
fn task(row: &Row, queue: &QueueName, spec: &QueueSpec, doing: Operation) -> Result<Task> {
    let sequence: i64 = field(row, 0, doing)?;
    let sequence = sequence.cast_unsigned();
    let deliveries: i32 = field(row, 1, doing)?;
    let uncounted: i32 = field(row, 2, doing)?;
    let priority: i16 = field(row, 3, doing)?;
    let id: Uuid = field(row, 4, doing)?;
    let key: Option<String> = field(row, 6, doing)?;
    let headers: Option<&str> = field(row, 7, doing)?;
    let moved: Option<&str> = field(row, 9, doing)?;
    let unreadable = |error| corrupt(doing, format!("a task cannot be read: {error}"));
    Ok(Task {
        id: TaskId::from_bytes(id.into_bytes()),
        queue: queue.clone(),
        kind: field::<String>(row, 5, doing)?.into(),
        payload: Bytes::copy_from_slice(field(row, 11, doing)?),
        headers: headers
            .map(serde_json::from_str)
            .transpose()
            .map_err(unreadable)?
            .unwrap_or_default(),
        priority: u8::try_from(priority).unwrap_or(u8::MAX),
        partition: spec.router.route(key.as_deref(), sequence, spec.partitions),
        ordering_key: key,
        sequence,
        deliveries: deliveries.unsigned_abs(),
        attempt: deliveries.saturating_sub(uncounted).unsigned_abs(),
        enqueued_at: timestamp(field(row, 10, doing)?),
        last_error: field(row, 8, doing)?,
        dead_letter: moved.map(serde_json::from_str).transpose().map_err(unreadable)?,
    })
}

/// A state as the functions number it.
pub(crate) fn state(number: i16, doing: Operation) -> Result<State> {
    match number {
        0 => Ok(State::Ready),
        1 => Ok(State::Scheduled),
        2 => Ok(State::Leased),
        3 => Ok(State::Dead),
        4 => Ok(State::Done),
        other => Err(corrupt(doing, format!("{other} is not the number of a state"))),
    }
}

pub(crate) fn state_number(state: State) -> i16 {
    match state {
        State::Ready => 0,
        State::Scheduled => 1,
        State::Leased => 2,
        State::Dead => 3,
        State::Done => 4,
    }
}

pub(crate) fn name(text: &str, doing: Operation) -> Result<QueueName> {
    QueueName::new(text).map_err(|why| corrupt(doing, why))
}
