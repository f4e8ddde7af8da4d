//! A task as bytes: what never changes of it, written once when it is enqueued.

use std::time::Duration;

use bytes::Bytes;
use tidegate_core::task::{Dedup, Headers};
use tidegate_core::{NewTask, TaskId, Timestamp, Unique};

use super::bytes::{Put, Take};

const HAS_KEY: u8 = 1;
const HAS_DEDUP: u8 = 2;
const HAS_HEADERS: u8 = 4;
const HAS_DELAY: u8 = 8;

const UNIQUE_WINDOW: u8 = 1;
const UNIQUE_UNTIL_DONE: u8 = 2;

/// A task's body, taken apart but not copied.
#[derive(Clone, Debug)]
pub(crate) struct Body<'a> {
    pub(crate) id: TaskId,
    pub(crate) enqueued_at: Timestamp,
    pub(crate) priority: u8,
    pub(crate) delay: Duration,
    pub(crate) kind: &'a str,
    pub(crate) ordering_key: Option<&'a str>,
    pub(crate) dedup: Option<(&'a str, Unique)>,
    headers: Option<Take<'a>>,
    pub(crate) payload: &'a [u8],
}

/// At most this many bytes are written for `task`.
pub(crate) fn len_max(task: &NewTask) -> usize {
    let headers = task.headers.iter().map(|(name, value)| name.len() + value.len() + 4);
    let key = task.ordering_key.as_ref().map_or(0, |key| key.len() + 2);
    let dedup = task.dedup.as_ref().map_or(0, |dedup| dedup.key.len() + 11);
    task.payload.len() + task.kind.len() + key + dedup + headers.sum::<usize>() + 40
}

/// Writes a task's body.
pub(crate) fn put(task: &NewTask, enqueued_at: Timestamp, to: &mut impl Put) {
    let NewTask { id, kind, payload, headers, delay, priority, dedup, ordering_key } = task;
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    to.put_u8(
        flag(ordering_key.is_some(), HAS_KEY)
            | flag(dedup.is_some(), HAS_DEDUP)
            | flag(!headers.is_empty(), HAS_HEADERS)
            | flag(!delay.is_zero(), HAS_DELAY),
    );
    to.put_u8(*priority);
    to.put(id.as_bytes());
    to.put_u64(enqueued_at.as_millis());
    to.put_text(kind);
    if let Some(key) = ordering_key {
        to.put_text(key);
    }
    if let Some(dedup) = dedup {
        put_dedup(dedup, to);
    }
    if !headers.is_empty() {
        to.put_u16(headers.len() as u16);
        for (name, value) in headers {
            to.put_text(name);
            to.put_text(value);
        }
    }
    if !delay.is_zero() {
        to.put_u64(millis(*delay));
    }
    to.put(payload);
}

fn put_dedup(dedup: &Dedup, to: &mut impl Put) {
    let (tag, window) = match dedup.unique {
        Unique::Window(window) => (UNIQUE_WINDOW, millis(window)),
        Unique::UntilDone => (UNIQUE_UNTIL_DONE, 0),
    };
    to.put_u8(tag);
    to.put_u64(window);
    to.put_text(&dedup.key);
}

/// A part of a millisecond counts as a whole one, as with `Timestamp::plus`.
fn millis(duration: Duration) -> u64 {
    Timestamp::default().plus(duration).as_millis()
}

impl<'a> Body<'a> {
    /// Takes a body apart; `None` if it is not one.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut take = Take::new(bytes);
        let flags = take.u8()?;
        let has = |flag: u8| flags & flag != 0;
        let priority = take.u8()?;
        let id = TaskId::from_bytes(take.id()?);
        let enqueued_at = Timestamp::from_millis(take.u64()?);
        let kind = take.text()?;
        let ordering_key = if has(HAS_KEY) { Some(take.text()?) } else { None };
        let dedup = if has(HAS_DEDUP) { Some(take_dedup(&mut take)?) } else { None };
        let headers = if has(HAS_HEADERS) { Some(skip_headers(&mut take)?) } else { None };
        let delay = if has(HAS_DELAY) { take.u64()? } else { 0 };
        Some(Self {
            id,
            enqueued_at,
            priority,
            delay: Duration::from_millis(delay),
            kind,
            ordering_key,
            dedup,
            headers,
            payload: take.rest(),
        })
    }

    pub(crate) fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        let Some(mut take) = self.headers.clone() else { return headers };
        let count = take.u16().unwrap_or(0);
        for _ in 0..count {
            let (Some(name), Some(value)) = (take.text(), take.text()) else { break };
            headers.insert(name.into(), value.into());
        }
        headers
    }

    /// The payload as a part of the bytes that the body was read from.
    pub(crate) fn payload_of(&self, whole: &Bytes) -> Bytes {
        whole.slice(whole.len() - self.payload.len()..)
    }
}

fn take_dedup<'a>(take: &mut Take<'a>) -> Option<(&'a str, Unique)> {
    let (tag, window) = (take.u8()?, take.u64()?);
    let unique = match tag {
        UNIQUE_WINDOW => Unique::Window(Duration::from_millis(window)),
        UNIQUE_UNTIL_DONE => Unique::UntilDone,
        _ => return None,
    };
    Some((take.text()?, unique))
}

/// Passes over the headers and keeps where they began.
fn skip_headers<'a>(take: &mut Take<'a>) -> Option<Take<'a>> {
    let start = take.clone();
    let count = take.u16()?;
    for _ in 0..count {
        take.text()?;
        take.text()?;
    }
    Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_back() {
        let full = NewTask::new("mail.welcome", vec![0, 1, 255])
            .delay(Duration::from_micros(1))
            .priority(7)
            .dedup("once", Unique::Window(Duration::from_secs(3)))
            .ordering_key("clé")
            .header("tenant", "")
            .header("a", "b");
        for task in [full, NewTask::new("k", "")] {
            let mut bytes = Vec::new();
            put(&task, Timestamp::from_millis(5), &mut bytes);
            assert!(bytes.len() <= len_max(&task));
            let body = Body::read(&bytes).unwrap();
            assert_eq!((body.id, body.kind, body.priority), (task.id, &*task.kind, task.priority));
            assert_eq!(body.headers(), task.headers);
            assert_eq!(body.payload_of(&bytes.clone().into()), task.payload);
            assert_eq!(body.ordering_key, task.ordering_key.as_deref());
            let dedup = task.dedup.as_ref().map(|dedup| (dedup.key.as_str(), dedup.unique));
            assert_eq!(body.dedup, dedup);
            assert_eq!(body.enqueued_at, Timestamp::from_millis(5));
            let delay = if task.delay.is_zero() { 0 } else { 1 };
            assert_eq!(body.delay, Duration::from_millis(delay));
        }
    }

    #[test]
    fn a_body_that_ends_early_is_refused() {
        let task = NewTask::new("kind", "").ordering_key("key").header("a", "b");
        let mut bytes = Vec::new();
        put(&task, Timestamp::from_millis(5), &mut bytes);
        for end in 0..bytes.len() {
            assert!(Body::read(&bytes[..end]).is_none(), "{end}");
        }
    }
}
