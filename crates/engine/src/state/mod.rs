//! The state of the engine: pure. It is handed its commands and the time, changes itself, and
//! writes what happened as records into a frame. It reads no clock, no file and no random number,
//! and nothing depends on the order of a hash table, so that replaying the records rebuilds it.
//!
//! `slots` is the table of tasks, `queue`, `lanes` and `timers` hold its order, `phases` moves a
//! task from one phase to another, and the commands are one file each: `enqueue`, `receive`,
//! `settle`, `administer`, `inspect`. `time` does what is due, `replay` carries out records,
//! `relocate` copies live tasks out of the oldest segment.

mod administer;
mod enqueue;
mod inspect;
mod lanes;
mod phases;
mod queue;
mod receive;
mod refusals;
mod relocate;
mod replay;
mod settle;
mod settled;
mod slots;
mod time;
pub(crate) mod timers;
pub(crate) mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_core::{DeadLetter, Operation, QueueName, Result, Timestamp};

use crate::log::record::Numbers;
use crate::token::Fence;
use queue::Queue;
use settled::SettledMemory;
use slots::Slots;
use timers::Timers;
use usage::Usage;

pub(crate) use inspect::Sketch;
pub(crate) use receive::{Grant, Granted};
pub(crate) use relocate::Candidate;
pub(crate) use slots::Phase;

/// All that the engine knows.
#[derive(Debug)]
pub(crate) struct State {
    now: Timestamp,
    numbers: Numbers,
    slots: Slots,
    timers: Timers,
    queues: Vec<Option<Queue>>,
    by_name: HashMap<QueueName, u32>,
    /// A tree: it is asked for every token, and the few queues there are lie in one node.
    by_id: BTreeMap<u32, u32>,
    /// What few tasks have, by slot.
    extras: HashMap<u32, Box<Extra>>,
    /// Ordering keys of tasks that stand in no lane, by slot.
    keys: HashMap<u32, Arc<str>>,
    /// Dedup keys held until their task is done, by slot.
    until_done: HashMap<u32, Arc<str>>,
    /// When dedup keys are free again, with the queue's number.
    dedup_ends: BTreeSet<(Timestamp, u32, Arc<str>)>,
    /// When the dead are dropped.
    dead_ends: BTreeSet<(Timestamp, u64, u32)>,
    /// When the oldest task of a queue with retention is dropped, by the queue's index.
    age_ends: BTreeSet<(Timestamp, u32)>,
    settled: SettledMemory,
    usage: Usage,
    /// Queues with something newly available, by index.
    changed: Vec<u32>,
}

/// What only a task that failed or died has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) last_error: Option<String>,
    /// Why it is dead.
    dead: Option<DeadLetter>,
    /// Why it was moved here.
    pub(crate) moved: Option<DeadLetter>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            now: Timestamp::default(),
            numbers: Numbers {
                next_sequence: 1,
                next_queue: 1,
                epoch: 0,
                floor: 0,
                relaxed: false,
            },
            slots: Slots::default(),
            timers: Timers::default(),
            queues: Vec::new(),
            by_name: HashMap::new(),
            by_id: BTreeMap::new(),
            extras: HashMap::new(),
            keys: HashMap::new(),
            until_done: HashMap::new(),
            dedup_ends: BTreeSet::new(),
            dead_ends: BTreeSet::new(),
            age_ends: BTreeSet::new(),
            settled: SettledMemory::default(),
            usage: Usage::default(),
            changed: Vec::new(),
        }
    }

    /// The time of the last command.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers
    }

    pub(crate) fn usage(&mut self) -> &mut Usage {
        &mut self.usage
    }

    pub(crate) fn usage_ref(&self) -> &Usage {
        &self.usage
    }

    /// Live tasks of all queues, and the dead: all that has a body in the log.
    pub(crate) fn tasks(&self) -> u64 {
        let counts = self.queues.iter().flatten().map(|queue| queue.counts);
        counts.map(|counts| counts.live() + counts.dead).sum()
    }

    /// The fence of the deliveries in a frame.
    fn fence(&self, lsn: u64) -> Fence {
        Fence::new(self.numbers.epoch, lsn)
    }

    /// The index of a queue by its name.
    pub(crate) fn index_of(&self, name: &QueueName, doing: Operation) -> Result<u32> {
        self.by_name.get(name).copied().ok_or_else(|| refusals::missing(name, doing))
    }

    fn queue(&self, index: u32) -> Option<&Queue> {
        self.queues.get(index as usize)?.as_ref()
    }

    fn queue_mut(&mut self, index: u32) -> Option<&mut Queue> {
        self.queues.get_mut(index as usize)?.as_mut()
    }

    fn queue_named(&self, name: &QueueName, doing: Operation) -> Result<&Queue> {
        let index = self.index_of(name, doing)?;
        self.queue(index).ok_or_else(|| refusals::missing(name, doing))
    }

    /// Queues in which something became available since this was last asked, with how much.
    pub(crate) fn take_changed(&mut self) -> Vec<(u32, usize)> {
        let changed = std::mem::take(&mut self.changed);
        let counted = changed.into_iter().map(|index| {
            let queue = self.queue_mut(index);
            (index, queue.map_or(0, |queue| std::mem::take(&mut queue.newly_available)))
        });
        counted.collect()
    }

    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    fn became_available(&mut self, index: u32) {
        let Some(queue) = self.queue_mut(index) else { return };
        queue.newly_available += 1;
        if queue.newly_available == 1 {
            self.changed.push(index);
        }
    }
}
