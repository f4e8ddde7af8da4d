//! Queues and tasks as JSON, with names and units that stay.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use tidegate::{
    Capacity, DeadLetter, Ordering, QueueSpec, QueueStats, Router, TaskView, Timestamp,
};

/// A queue: its spec and how much is in it. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Queue {
    name: String,
    ordering: Ordering,
    router: Router,
    partitions: u32,
    /// `null` is unbounded.
    capacity: Option<u64>,
    lease_ms: u64,
    dedup_window_ms: u64,
    retention_ms: Option<u64>,
    payload_bytes_max: usize,
    max_attempts: u32,
    retry_initial_delay_ms: u64,
    retry_multiplier: f64,
    retry_max_delay_ms: u64,
    retry_jitter: tidegate::Jitter,
    dead_letter_queue: Option<String>,
    dead_retention_ms: u64,
    dead_alert_threshold: u64,
    labels: BTreeMap<String, String>,
    revision: u64,
    stats: Stats,
}

/// How much is in a queue.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    ready: u64,
    scheduled: u64,
    leased: u64,
    dead: u64,
    oldest_ready_ms: Option<u64>,
    paused: bool,
}

impl Queue {
    pub(crate) fn new(spec: &QueueSpec, stats: &QueueStats) -> Self {
        Self {
            name: spec.name.to_string(),
            ordering: spec.ordering,
            router: spec.router,
            partitions: spec.partitions.get(),
            capacity: match spec.capacity {
                Capacity::Bounded(most) => Some(most),
                Capacity::Unbounded => None,
            },
            lease_ms: millis(spec.lease),
            dedup_window_ms: millis(spec.dedup_window),
            retention_ms: spec.retention.map(millis),
            payload_bytes_max: spec.payload_bytes_max,
            max_attempts: spec.retry.max_attempts,
            retry_initial_delay_ms: millis(spec.retry.initial_delay),
            retry_multiplier: spec.retry.multiplier,
            retry_max_delay_ms: millis(spec.retry.max_delay),
            retry_jitter: spec.retry.jitter,
            dead_letter_queue: spec.dead_letters.queue.as_ref().map(ToString::to_string),
            dead_retention_ms: millis(spec.dead_letters.retention),
            dead_alert_threshold: spec.dead_letters.alert_threshold,
            labels: spec.labels.clone(),
            revision: spec.revision,
            stats: Stats {
                ready: stats.ready,
                scheduled: stats.scheduled,
                leased: stats.leased,
                dead: stats.dead,
                oldest_ready_ms: stats.oldest_ready.map(millis),
                paused: stats.paused,
            },
        }
    }
}

/// A task as it lies in its queue. Times are RFC 3339.
#[derive(Debug, Serialize)]
pub(crate) struct Task {
    id: String,
    queue: String,
    kind: String,
    state: &'static str,
    sequence: u64,
    partition: u32,
    priority: u8,
    ordering_key: Option<String>,
    deliveries: u32,
    attempt: u32,
    enqueued_at: String,
    /// When it becomes ready, or its lease ends.
    until: Option<String>,
    last_error: Option<String>,
    headers: BTreeMap<String, String>,
    payload_bytes: usize,
    /// The payload, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The payload in hexadecimal, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    dead_letter: Option<Dead>,
}

/// Why a task died.
#[derive(Debug, Serialize)]
pub(crate) struct Dead {
    source: String,
    reason: String,
    error: Option<String>,
    attempts: u32,
    died_at: String,
}

impl Task {
    pub(crate) fn new(view: &TaskView) -> Self {
        let task = &view.task;
        let text = std::str::from_utf8(&task.payload).ok().map(ToOwned::to_owned);
        Self {
            id: task.id.to_string(),
            queue: task.queue.to_string(),
            kind: task.kind.to_string(),
            state: view.state.as_str(),
            sequence: task.sequence,
            partition: task.partition,
            priority: task.priority,
            ordering_key: task.ordering_key.clone(),
            deliveries: task.deliveries,
            attempt: task.attempt,
            enqueued_at: moment(task.enqueued_at),
            until: view.until.map(moment),
            last_error: task.last_error.clone(),
            headers: task.headers.clone(),
            payload_bytes: task.payload.len(),
            payload_hex: text.is_none().then(|| hex(&task.payload)),
            payload: text,
            dead_letter: dead_letter(view).map(Dead::new),
        }
    }
}

impl Dead {
    fn new(dead: &DeadLetter) -> Self {
        Self {
            source: dead.source.to_string(),
            reason: dead.reason.clone(),
            error: dead.error.clone(),
            attempts: dead.attempts,
            died_at: moment(dead.died_at),
        }
    }
}

/// Why a task died, wherever it lies.
pub(crate) fn dead_letter(view: &TaskView) -> Option<&DeadLetter> {
    view.dead_letter.as_ref().or(view.task.dead_letter.as_ref())
}

/// A moment as RFC 3339, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).ok();
    let stamp = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    stamp.map_or_else(|| at.to_string(), |stamp| format!("{stamp:.3}"))
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
