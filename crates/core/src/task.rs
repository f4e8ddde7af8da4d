//! A task before it is enqueued, and as it is received.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::TaskId;
use crate::kind::Kind;
use crate::name::QueueName;

/// Attributes that travel with a task: names and values are text.
pub type Headers = BTreeMap<String, String>;

/// How long a dedup key keeps a second task with the same key out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unique {
    /// For this long after the first send, whether the first task is done or not.
    Window(Duration),
    /// While the first task is neither done nor dead. A redriven task does not take its key back.
    UntilDone,
}

/// A dedup key and how long it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedup {
    /// Two sends to one queue with the same key make one task.
    pub key: String,
    /// How long the key holds.
    pub unique: Unique,
}

/// A task that has not been enqueued yet. All that varies per task is a field of it.
///
/// ```
/// # use tidegate_core::NewTask;
/// # use std::time::Duration;
/// let task = NewTask::new("mail.welcome", r#"{"user":42}"#)
///     .ordering_key("user-42")
///     .header("tenant", "acme");
/// assert_eq!(task.kind, "mail.welcome");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Unique id, made with the task. Sending the same `NewTask` twice makes two tasks: give it a
    /// [`NewTask::dedup`] key if that must not be.
    pub id: TaskId,
    /// What the payload is and who handles it. Travels as the CloudEvents attribute `type`.
    pub kind: Kind,
    /// The work itself; opaque to the queue.
    pub payload: Bytes,
    /// Attributes for handlers and tools.
    pub headers: Headers,
    /// How long the task waits before its first delivery. Zero is at once.
    pub delay: Duration,
    /// Higher goes first. Default: 0.
    pub priority: u8,
    /// Keeps a second task with the same key out.
    pub dedup: Option<Dedup>,
    /// Tasks with the same key are handed out in order, on a queue with `Ordering::Key`.
    pub ordering_key: Option<String>,
}

impl NewTask {
    /// A task of `kind` with `payload` and the defaults for all else.
    pub fn new(kind: impl Into<Kind>, payload: impl Into<Bytes>) -> Self {
        Self {
            id: TaskId::new(),
            kind: kind.into(),
            payload: payload.into(),
            headers: Headers::new(),
            delay: Duration::ZERO,
            priority: 0,
            dedup: None,
            ordering_key: None,
        }
    }

    /// Waits this long before the first delivery.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Goes before tasks of a lower priority.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Keeps a second task with the same key out of the queue.
    pub fn dedup(mut self, key: impl Into<String>, unique: Unique) -> Self {
        self.dedup = Some(Dedup { key: key.into(), unique });
        self
    }

    /// Keeps order among the tasks with this key.
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// Adds an attribute.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// Why and where a task died. Kept with it as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The queue the task died in.
    pub source: QueueName,
    /// Why: a worker's reason, `attempts exhausted` or `lease ended`.
    pub reason: String,
    /// The error of the last failed attempt, if one was told.
    pub error: Option<String>,
    /// Attempts that had been made.
    pub attempts: u32,
    /// When it died.
    pub died_at: Timestamp,
}

/// The reason of a task that ran out of attempts.
pub const REASON_ATTEMPTS_EXHAUSTED: &str = "attempts exhausted";
/// The reason of a task whose lease ended on its last attempt.
pub const REASON_LEASE_ENDED: &str = "lease ended";

/// A task as it is received or listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The id it was enqueued with.
    pub id: TaskId,
    /// The queue it is in.
    pub queue: QueueName,
    /// What the payload is and who handles it.
    pub kind: Kind,
    /// The work itself.
    pub payload: Bytes,
    /// Attributes for handlers and tools.
    pub headers: Headers,
    /// Higher goes first.
    pub priority: u8,
    /// The key whose order is kept, if it has one.
    pub ordering_key: Option<String>,
    /// The partition its key was routed to, from 0.
    pub partition: u32,
    /// Its number in the broker: grows with every enqueue, never used twice.
    pub sequence: u64,
    /// How often it was handed out, this time included. Never falls.
    pub deliveries: u32,
    /// Deliveries less those given back unharmed; the first is 1. Starts again after a redrive.
    pub attempt: u32,
    /// When it was first enqueued.
    pub enqueued_at: Timestamp,
    /// The error its last failed attempt told, if any.
    pub last_error: Option<String>,
    /// Set on a task that was moved to a dead-letter queue.
    pub dead_letter: Option<DeadLetter>,
}
