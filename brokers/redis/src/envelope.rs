//! A task as the fields of a stream's entry: CloudEvents attributes by their names, the headers in one field, and
//! the payload as it is in `data`.

use bytes::Bytes;
use redis::Cmd;
use serde::Deserialize;
use tidegate_core::task::Headers;
use tidegate_core::{
    DeadLetter, Error, ErrorKind, Kind, NewTask, Operation, QueueName, Result, Task, TaskId,
    Timestamp, Unique,
};

use crate::config::Serialization;
use crate::partition::time;
use crate::reply::{Parts, strange};

/// Adds a new task to the arguments of a script, as `task_at` in `lua/tasks.lua` reads it.
pub(crate) fn add(
    call: &mut Cmd,
    task: &NewTask,
    id: &str,
    serialization: Serialization,
) -> Result<()> {
    let NewTask { id: _, kind, payload, headers, delay, priority, dedup, ordering_key } = task;
    let key = ordering_key.as_deref();
    let (dedup_key, window_us) = match dedup {
        None => ("", -1),
        Some(dedup) => match dedup.unique {
            Unique::UntilDone => (dedup.key.as_str(), 0),
            Unique::Window(window) => (dedup.key.as_str(), window.as_micros().max(1) as i64),
        },
    };
    if *priority == 0 && delay.is_zero() && key.is_none() && dedup.is_none() {
        call.arg(if headers.is_empty() { "3" } else { "4" }).arg(id).arg(kind.as_str());
        if !headers.is_empty() {
            call.arg(written(headers, serialization)?);
        }
        call.arg(&payload[..]);
        return Ok(());
    }
    call.arg("T").arg(id).arg(*priority).arg(delay.as_micros() as u64);
    call.arg(key.unwrap_or_default()).arg(dedup_key).arg(window_us);
    let fields = 3 + usize::from(key.is_some()) + usize::from(!headers.is_empty());
    call.arg(fields * 2).arg("id").arg(id).arg("type").arg(kind.as_str());
    if let Some(key) = key {
        call.arg("partitionkey").arg(key);
    }
    if !headers.is_empty() {
        call.arg("headers").arg(written(headers, serialization)?);
    }
    call.arg("data").arg(&payload[..]);
    Ok(())
}

fn written(headers: &Headers, serialization: Serialization) -> Result<Vec<u8>> {
    let unwritable = |error: &dyn std::error::Error| {
        let why = format!("the headers cannot be written: {error}");
        Error::new(ErrorKind::Invalid, Operation::Enqueue, why)
    };
    match serialization {
        Serialization::Msgpack => rmp_serde::to_vec(headers).map_err(|error| unwritable(&error)),
        Serialization::Json => serde_json::to_vec(headers).map_err(|error| unwritable(&error)),
    }
}

/// Reads headers, whichever way they were written: a map in MessagePack never begins with a brace.
fn read_headers(bytes: &[u8]) -> Option<Headers> {
    match bytes.first() {
        Some(b'{') => serde_json::from_slice(bytes).ok(),
        _ => rmp_serde::from_slice(bytes).ok(),
    }
}

/// What the fields of an entry say.
pub(crate) struct Fields {
    id: TaskId,
    kind: Kind,
    key: Option<String>,
    headers: Headers,
    data: Bytes,
}

impl Fields {
    /// Of a task without headers or key.
    pub(crate) fn of(id: &str, kind: String, data: Bytes, doing: Operation) -> Result<Self> {
        let id = id.parse().map_err(|_| strange(doing))?;
        Ok(Self { id, kind: Kind::from(kind), key: None, headers: Headers::new(), data })
    }

    /// From names and values.
    pub(crate) fn read(mut parts: Parts, doing: Operation) -> Result<Self> {
        let (mut id, mut kind, mut key, mut data) = (None, None, None, None);
        let mut headers = Headers::new();
        while parts.len() > 0 {
            let (name, value) = (parts.text()?, parts.bytes()?);
            let text = || String::from_utf8(value.to_vec()).ok();
            match name.as_str() {
                "id" => id = text().and_then(|id| id.parse().ok()),
                "type" => kind = text().map(Kind::from),
                "partitionkey" => key = text(),
                "headers" => headers = read_headers(&value).ok_or_else(|| strange(doing))?,
                "data" => data = Some(value),
                _ => {}
            }
        }
        let id = id.ok_or_else(|| strange(doing))?;
        let kind = kind.ok_or_else(|| strange(doing))?;
        Ok(Self { id, kind, key, headers, data: data.unwrap_or_default() })
    }
}

/// What is known of a task besides its fields.
pub(crate) struct Known {
    pub(crate) partition: u32,
    pub(crate) sequence: u64,
    pub(crate) priority: u8,
    pub(crate) deliveries: u32,
    pub(crate) attempt: u32,
    pub(crate) enqueued_us: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) dead_letter: Option<DeadLetter>,
}

pub(crate) fn task(queue: &QueueName, fields: Fields, known: Known) -> Task {
    let Fields { id, kind, key, headers, data } = fields;
    let Known {
        partition,
        sequence,
        priority,
        deliveries,
        attempt,
        enqueued_us,
        last_error,
        dead_letter,
    } = known;
    Task {
        id,
        queue: queue.clone(),
        kind,
        payload: data,
        headers,
        priority,
        ordering_key: key,
        partition,
        sequence,
        deliveries,
        attempt,
        enqueued_at: time(enqueued_us),
        last_error,
        dead_letter,
    }
}

/// A death as the scripts write it down.
#[derive(Deserialize)]
struct Death {
    q: String,
    r: String,
    a: u32,
    t: u64,
    #[serde(default)]
    e: Option<String>,
}

pub(crate) fn dead_letter(packed: Option<Bytes>, doing: Operation) -> Result<Option<DeadLetter>> {
    let Some(packed) = packed else { return Ok(None) };
    let Death { q, r, a, t, e } = rmp_serde::from_slice(&packed).map_err(|_| strange(doing))?;
    let source = QueueName::new(q).map_err(|_| strange(doing))?;
    let died_at = Timestamp::from_millis(t / 1_000);
    Ok(Some(DeadLetter { source, reason: r, error: e, attempts: a, died_at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_whichever_way_they_were_written() {
        let headers: Headers = [("tenant", "acme"), ("trace", "{\"a\":1}")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into();
        for serialization in [Serialization::Msgpack, Serialization::Json] {
            let bytes = written(&headers, serialization).unwrap();
            assert_eq!(read_headers(&bytes), Some(headers.clone()), "{serialization:?}");
        }
        assert_eq!(read_headers(b"\xffnonsense"), None);
    }
}
