//! One task as it lies in the memory broker.

use crate::clock::Timestamp;
use crate::inspect::TaskView;
use crate::lease::State;
use crate::name::QueueName;
use crate::task::{DeadLetter, NewTask, Task};

/// A task and where it is in its life.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) new: NewTask,
    pub(super) sequence: u64,
    pub(super) partition: u32,
    pub(super) deliveries: u32,
    /// Deliveries that do not count as attempts.
    pub(super) uncounted: u32,
    pub(super) enqueued_at: Timestamp,
    /// When it entered this queue: first, by redrive, or by a move. Retention counts from here.
    pub(super) entered_at: Timestamp,
    pub(super) last_error: Option<String>,
    /// Set once it was moved to a dead-letter queue.
    pub(super) moved: Option<DeadLetter>,
    /// The fence of its newest delivery; 0 before the first.
    pub(super) fence: u64,
    /// Whether that delivery was settled.
    pub(super) settled: bool,
    pub(super) condition: Condition,
}

/// The state of a task with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Scheduled { due: Timestamp },
    Ready,
    Leased { until: Timestamp, session: u64 },
    Dead(DeadLetter),
}

/// What stands in one line: the tasks of one ordering key, or a task that is bound to no order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Key(String),
    Single(u64),
}

impl Entry {
    /// Past attempts, the running one included.
    pub(super) fn attempts(&self) -> u32 {
        self.deliveries.saturating_sub(self.uncounted)
    }

    pub(super) fn state(&self) -> State {
        match self.condition {
            Condition::Scheduled { .. } => State::Scheduled,
            Condition::Ready => State::Ready,
            Condition::Leased { .. } => State::Leased,
            Condition::Dead(_) => State::Dead,
        }
    }

    /// Orders it among the tasks of its lane.
    pub(super) fn place(&self) -> (Timestamp, u64) {
        (self.entered_at, self.sequence)
    }

    /// Why it died, whether it lies here as dead or was moved here.
    pub(super) fn dead_letter(&self) -> Option<&DeadLetter> {
        match &self.condition {
            Condition::Dead(dead) => Some(dead),
            _ => self.moved.as_ref(),
        }
    }

    pub(super) fn to_task(&self, queue: &QueueName) -> Task {
        Task {
            id: self.new.id,
            queue: queue.clone(),
            kind: self.new.kind.clone(),
            payload: self.new.payload.clone(),
            headers: self.new.headers.clone(),
            priority: self.new.priority,
            ordering_key: self.new.ordering_key.clone(),
            partition: self.partition,
            sequence: self.sequence,
            deliveries: self.deliveries,
            attempt: self.attempts(),
            enqueued_at: self.enqueued_at,
            last_error: self.last_error.clone(),
            dead_letter: self.moved.clone(),
        }
    }

    pub(super) fn to_view(&self, queue: &QueueName) -> TaskView {
        let until = match self.condition {
            Condition::Scheduled { due: until } | Condition::Leased { until, .. } => Some(until),
            Condition::Ready | Condition::Dead(_) => None,
        };
        let dead_letter = self.dead_letter().cloned();
        TaskView { task: self.to_task(queue), state: self.state(), until, dead_letter }
    }
}
