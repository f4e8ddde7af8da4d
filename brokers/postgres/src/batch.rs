//! New tasks as the arrays that `enqueue` takes.

use tidegate_core::{Enqueued, Error, ErrorKind, NewTask, Operation, Result, TaskId, Unique};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::clock::micros;
use crate::errors;
use crate::queues::Queue;
use crate::rows::field;
use crate::server::Parameter;

/// Bytes of payloads in one call. A message to the server may have 1 GiB, and is held whole.
pub(crate) const BYTES_MAX: usize = 64 << 20;

/// How strictly a queue's bound is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Exactly, beside other senders; the server may ask for the next one instead.
    Beside = 0,
    /// Exactly, alone.
    Alone = 1,
    /// By what is committed, without any lock.
    Soft = 2,
}

/// Tasks of one call, a field an array.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    ids: Vec<Uuid>,
    kinds: Vec<&'a str>,
    payloads: Vec<&'a [u8]>,
    headers: Vec<Option<String>>,
    delays: Vec<i64>,
    priorities: Vec<i16>,
    keys: Vec<Option<&'a str>>,
    unique: Vec<Option<&'a str>>,
    windows: Vec<Option<i64>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(tasks: impl Iterator<Item = &'a NewTask>) -> Self {
        let mut batch = Self::default();
        tasks.for_each(|task| batch.push(task));
        batch
    }

    fn push(&mut self, task: &'a NewTask) {
        let NewTask { id, kind, payload, headers, delay, priority, dedup, ordering_key } = task;
        self.ids.push(Uuid::from_bytes(*id.as_bytes()));
        self.kinds.push(kind);
        self.payloads.push(payload);
        let json = || serde_json::to_string(headers).unwrap_or_default();
        self.headers.push((!headers.is_empty()).then(json));
        self.delays.push(micros(*delay));
        self.priorities.push(i16::from(*priority));
        self.keys.push(ordering_key.as_deref());
        self.unique.push(dedup.as_ref().map(|dedup| dedup.key.as_str()));
        self.windows.push(dedup.as_ref().and_then(|dedup| match dedup.unique {
            Unique::Window(window) => Some(micros(window)),
            Unique::UntilDone => None,
        }));
    }

    pub(crate) fn priorities(&self) -> impl Iterator<Item = i16> {
        self.priorities.iter().copied()
    }

    /// The parameters of the statement `enqueue`.
    pub(crate) fn parameters<'p>(
        &'p self,
        queue: &'p i64,
        admission: &'p i16,
    ) -> [Parameter<'p>; 11] {
        [
            (queue, Type::INT8),
            (admission, Type::INT2),
            (&self.ids, Type::UUID_ARRAY),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.payloads, Type::BYTEA_ARRAY),
            (&self.headers, Type::TEXT_ARRAY),
            (&self.delays, Type::INT8_ARRAY),
            (&self.priorities, Type::INT2_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.unique, Type::TEXT_ARRAY),
            (&self.windows, Type::INT8_ARRAY),
        ]
    }
}

/// What the server answered to a batch.
pub(crate) enum Answer {
    /// The queue is gone.
    Missing,
    /// Nothing was done: it must be asked again, alone.
    Alone,
    /// An outcome for each task.
    Outcomes(Vec<Result<Enqueued>>),
}

pub(crate) fn answer(
    rows: &[Row],
    batch: &Batch<'_>,
    queue: &Queue,
    operation: Operation,
) -> Result<Answer> {
    let none = || errors::corrupt(operation, "no answer to an enqueue");
    let row = rows.first().ok_or_else(none)?;
    let Some(numbers) = field::<Option<Vec<i16>>>(row, 0, operation)? else {
        return Ok(Answer::Missing);
    };
    let ids: Option<Vec<Uuid>> = field(row, 1, operation)?;
    let ids = ids.unwrap_or_else(|| batch.ids.clone());
    let sequences: Vec<i64> = field(row, 2, operation)?;
    let mut outcomes = Vec::with_capacity(numbers.len());
    for ((outcome, id), sequence) in numbers.into_iter().zip(ids).zip(sequences) {
        let enqueued = |deduplicated| Enqueued {
            id: TaskId::from_bytes(id.into_bytes()),
            sequence: sequence.cast_unsigned(),
            deduplicated,
        };
        outcomes.push(match outcome {
            0 => Ok(enqueued(false)),
            1 => Ok(enqueued(true)),
            2 => Err(errors::full(&queue.name, operation)),
            _ => return Ok(Answer::Alone),
        });
    }
    Ok(Answer::Outcomes(outcomes))
}

/// Why this broker cannot keep a task as it is, if it cannot.
pub(crate) fn refusal(task: &NewTask, queue: &Queue, operation: Operation) -> Option<Error> {
    let has_zero = |text: &str| text.contains('\0');
    let key = task.ordering_key.as_deref().is_some_and(has_zero);
    let dedup = task.dedup.as_ref().is_some_and(|dedup| has_zero(&dedup.key));
    (key || dedup || has_zero(&task.kind)).then(|| {
        let why = "PostgreSQL keeps no zero byte in a kind or a key; leave it out";
        Error::new(ErrorKind::Invalid, operation, why).on(&queue.name)
    })
}

/// Tasks in batches whose payloads fit one call.
pub(crate) fn in_calls<'t>(tasks: &[&'t NewTask]) -> Vec<Vec<&'t NewTask>> {
    let mut calls: Vec<Vec<&NewTask>> = vec![Vec::new()];
    let mut bytes = 0;
    for task in tasks {
        bytes += task.payload.len();
        match calls.last_mut() {
            Some(call) if bytes <= BYTES_MAX || call.is_empty() => call.push(task),
            _ => {
                bytes = task.payload.len();
                calls.push(vec![task]);
            }
        }
    }
    calls.retain(|call| !call.is_empty());
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_hold_no_more_payload_than_fits() {
        let size = BYTES_MAX / 4 + 1;
        let tasks: Vec<NewTask> = (0..8).map(|_| NewTask::new("k", vec![0; size])).collect();
        let calls = in_calls(&tasks.iter().collect::<Vec<_>>());
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2]);
        assert!(in_calls(&[]).is_empty());
    }
}
