//! One queue: its spec, its counts, and who is ready in which order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tidegate_core::attempts::Attempts;
use tidegate_core::{QueueName, QueueSpec, TaskId, Timestamp};

use super::lanes::Lanes;
use super::receive::Given;
use crate::position::Position;

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Its number, never used twice.
    pub(crate) id: u32,
    pub(crate) spec: Arc<QueueSpec>,
    pub(crate) paused: bool,
    pub(crate) counts: Counts,
    /// Ready tasks of an unordered queue in the order of their enqueue, a line for each priority,
    /// the highest first.
    pub(crate) lines: Vec<Line>,
    /// Ready tasks of an unordered queue that fit no line: they were held back or came back.
    pub(crate) returned: BTreeMap<ReadyOrder, Returned>,
    /// Ready tasks of an ordered queue, by their keys.
    pub(crate) lanes: Lanes,
    pub(crate) dedup: HashMap<Arc<str>, KeyHeld>,
    /// The dead that lie here, by their deaths.
    pub(crate) dead: BTreeSet<(Timestamp, u64, u32)>,
    /// Those that were moved here, by their deaths.
    pub(crate) moved: BTreeSet<(Timestamp, u64, u32)>,
    /// When tasks entered, oldest first; kept only for a queue with retention.
    pub(crate) ages: VecDeque<Age>,
    /// Receives that can be made again. They are not in the log: an open has forgotten them.
    pub(crate) attempts: Attempts<Given>,
    /// Tasks and keys that became available since the waiters were last woken.
    pub(crate) newly_available: usize,
}

/// How many tasks are in which phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) scheduled: u64,
    pub(crate) ready: u64,
    pub(crate) leased: u64,
    pub(crate) dead: u64,
}

impl Counts {
    /// What counts against the capacity.
    pub(crate) fn live(&self) -> u64 {
        self.scheduled + self.ready + self.leased
    }
}

/// Ready tasks linked through their slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) priority: u8,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// The order of ready tasks: priority, then how long they have been ready, then sequence.
pub(crate) type ReadyOrder = (Reverse<u8>, Timestamp, u64);

/// A ready task that came back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned {
    pub(crate) slot: u32,
    /// The end of the record that brought it back: it is handed out once that is durable.
    pub(crate) depends: Position,
}

/// Who holds a dedup key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHeld {
    pub(crate) id: TaskId,
    pub(crate) sequence: u64,
    /// `None` is until the task is done.
    pub(crate) until: Option<Timestamp>,
}

/// When a task entered its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) entered_at: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) slot: u32,
}

impl Queue {
    pub(crate) fn new(id: u32, spec: Arc<QueueSpec>) -> Self {
        Self {
            id,
            spec,
            paused: false,
            counts: Counts::default(),
            lines: Vec::new(),
            returned: BTreeMap::new(),
            lanes: Lanes::default(),
            dedup: HashMap::new(),
            dead: BTreeSet::new(),
            moved: BTreeSet::new(),
            ages: VecDeque::new(),
            attempts: Attempts::default(),
            newly_available: 0,
        }
    }

    pub(crate) fn name(&self) -> &QueueName {
        &self.spec.name
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.spec.ordering == tidegate_core::Ordering::Key
    }

    /// The line of a priority, made where it is missing.
    pub(crate) fn line_mut(&mut self, priority: u8) -> Option<&mut Line> {
        let at = self.lines.partition_point(|line| line.priority > priority);
        if self.lines.get(at).is_none_or(|line| line.priority != priority) {
            let empty = Line { priority, first: super::slots::NONE, last: super::slots::NONE };
            self.lines.insert(at, empty);
        }
        self.lines.get_mut(at)
    }
}
