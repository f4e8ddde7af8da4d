//! One queue: its tasks, the lanes they stand in, its dedup keys and the fences it remembers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use event_listener::Event;

use super::entry::{Condition, Entry, Lane};
use crate::attempts::Attempts;
use crate::clock::Timestamp;
use crate::driver::Enqueued;
use crate::id::TaskId;
use crate::lease::{Lost, Settled};
use crate::limits::{SETTLED_MEMORY, SETTLED_MEMORY_MAX};
use crate::queue::{Ordering, QueueSpec};
use crate::task::{Dedup, Unique};

/// One queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: u64,
    pub(super) spec: QueueSpec,
    pub(super) paused: bool,
    /// Told once for every lane that becomes available.
    pub(super) ready: Arc<Event>,
    pub(super) tasks: BTreeMap<u64, Entry>,
    lanes: BTreeMap<Lane, LaneState>,
    /// Ready, scheduled and leased tasks.
    live: u64,
    /// Lanes that can be received from, in their turns.
    available: BTreeSet<(Turn, Lane)>,
    dedup: HashMap<String, KeyHeld>,
    dedup_ends: BTreeSet<(Timestamp, String)>,
    /// Fences whose delivery is over, and what a settle with them answers.
    over: HashMap<u64, Over>,
    over_order: VecDeque<(Timestamp, u64)>,
    pub(super) attempts: Attempts<Given>,
}

/// What a receive handed out: when its leases end, and the sequences and fences.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) until: Timestamp,
    pub(super) tasks: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
struct LaneState {
    /// The sequences of its tasks by place. The dead are not among them.
    tasks: BTreeMap<(Timestamp, u64), u64>,
    leased: usize,
    /// Where it stands among the available, if it is one.
    turn: Option<Turn>,
}

/// Who is handed out first: the highest priority, then the longest available, then the lowest
/// sequence. It says nothing of what else is in the queue, so that it can be rebuilt from a log of
/// which the beginning is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<u8>,
    since: Timestamp,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct KeyHeld {
    id: TaskId,
    sequence: u64,
    /// `None` is until the task is done.
    until: Option<Timestamp>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Settled,
    /// Its lease ended on the last attempt and the task died of it.
    Died,
}

impl Queue {
    pub(super) fn new(id: u64, spec: QueueSpec) -> Self {
        Self {
            id,
            spec,
            paused: false,
            ready: Arc::new(Event::new()),
            tasks: BTreeMap::new(),
            lanes: BTreeMap::new(),
            live: 0,
            available: BTreeSet::new(),
            dedup: HashMap::new(),
            dedup_ends: BTreeSet::new(),
            over: HashMap::new(),
            over_order: VecDeque::new(),
            attempts: Attempts::default(),
        }
    }

    /// Ready, scheduled and leased tasks.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// When `entry` is dropped by retention, if it ever is.
    pub(super) fn drop_at(&self, entry: &Entry) -> Option<Timestamp> {
        match &entry.condition {
            Condition::Dead(dead) => Some(dead.died_at.plus(self.spec.dead_letters.retention)),
            _ => self.spec.retention.map(|retention| entry.entered_at.plus(retention)),
        }
    }

    fn lane_of(&self, entry: &Entry) -> Lane {
        match (&self.spec.ordering, &entry.new.ordering_key) {
            (Ordering::Key, Some(key)) => Lane::Key(key.clone()),
            _ => Lane::Single(entry.sequence),
        }
    }

    /// Puts a live or dead entry in.
    pub(super) fn insert(&mut self, entry: Entry, now: Timestamp) {
        let lane = self.lane_of(&entry);
        if !matches!(entry.condition, Condition::Dead(_)) {
            let state = self.lanes.entry(lane.clone()).or_default();
            state.tasks.insert(entry.place(), entry.sequence);
            self.live += 1;
        }
        self.tasks.insert(entry.sequence, entry);
        self.refresh(&lane, now);
    }

    /// Takes an entry out, whatever its state.
    pub(super) fn remove(&mut self, sequence: u64, now: Timestamp) -> Option<Entry> {
        let entry = self.tasks.remove(&sequence)?;
        let lane = self.lane_of(&entry);
        self.live -= u64::from(!matches!(entry.condition, Condition::Dead(_)));
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.tasks.remove(&entry.place());
            state.leased -= usize::from(matches!(entry.condition, Condition::Leased { .. }));
        }
        self.refresh(&lane, now);
        Some(entry)
    }

    /// Gives a live entry another live condition, as of `now`.
    pub(super) fn set_condition(&mut self, sequence: u64, condition: Condition, now: Timestamp) {
        let Some(entry) = self.tasks.get_mut(&sequence) else {
            return;
        };
        let was_leased = matches!(entry.condition, Condition::Leased { .. });
        let is_leased = matches!(condition, Condition::Leased { .. });
        entry.condition = condition;
        let Some(entry) = self.tasks.get(&sequence) else {
            return;
        };
        let lane = self.lane_of(entry);
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.leased = state.leased + usize::from(is_leased) - usize::from(was_leased);
        }
        self.refresh(&lane, now);
    }

    /// Works out whether a lane is available: none of its tasks leased and its first one ready.
    /// One that stays available keeps its turn.
    fn refresh(&mut self, lane: &Lane, now: Timestamp) {
        let Some(state) = self.lanes.get_mut(lane) else {
            return;
        };
        let first = state.tasks.values().next().and_then(|sequence| self.tasks.get(sequence));
        let head = first.filter(|entry| state.leased == 0 && entry.condition == Condition::Ready);
        match (head, state.turn) {
            (Some(head), None) => {
                let priority = Reverse(head.new.priority);
                let turn = Turn { priority, since: now, sequence: head.sequence };
                state.turn = Some(turn);
                self.available.insert((turn, lane.clone()));
                self.ready.notify_additional(1);
            }
            (None, Some(turn)) => {
                state.turn = None;
                self.available.remove(&(turn, lane.clone()));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if state.tasks.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// The sequences that a receive would hand out next.
    pub(super) fn next_up(&self, limit: usize, per_key: usize) -> Vec<u64> {
        let mut sequences = Vec::new();
        for (_, lane) in &self.available {
            if sequences.len() >= limit {
                break;
            }
            let room = per_key.min(limit - sequences.len());
            sequences.extend(self.ready_head(lane).take(room));
        }
        sequences
    }

    /// Since when the longest available lane has been available.
    pub(super) fn oldest_available(&self) -> Option<Timestamp> {
        self.available.iter().map(|(turn, _)| turn.since).min()
    }

    fn ready_head(&self, lane: &Lane) -> impl Iterator<Item = u64> {
        let tasks = self.lanes.get(lane).into_iter().flat_map(|state| state.tasks.values());
        let entries = tasks.filter_map(|sequence| self.tasks.get(sequence));
        let ready = entries.take_while(|entry| entry.condition == Condition::Ready);
        ready.map(|entry| entry.sequence)
    }

    // Dedup keys.

    /// The earlier task that holds `key`, if one does.
    pub(super) fn key_holder(&self, key: &str, now: Timestamp) -> Option<Enqueued> {
        let held = self.dedup.get(key)?;
        let holds = held.until.is_none_or(|until| now < until);
        holds.then_some(Enqueued { id: held.id, sequence: held.sequence, deduplicated: true })
    }

    pub(super) fn hold_key(&mut self, dedup: &Dedup, entry: &Entry, now: Timestamp) {
        let until = match dedup.unique {
            Unique::Window(window) => Some(now.plus(window)),
            Unique::UntilDone => None,
        };
        let held = KeyHeld { id: entry.new.id, sequence: entry.sequence, until };
        self.dedup.insert(dedup.key.clone(), held);
        if let Some(until) = until {
            self.dedup_ends.insert((until, dedup.key.clone()));
        }
    }

    /// Frees the `UntilDone` key of a task whose life is over.
    pub(super) fn free_key(&mut self, entry: &Entry) {
        let Some(dedup) = &entry.new.dedup else {
            return;
        };
        let held = self.dedup.get(&dedup.key);
        if held.is_some_and(|held| held.sequence == entry.sequence && held.until.is_none()) {
            self.dedup.remove(&dedup.key);
        }
    }

    pub(super) fn free_all_keys(&mut self) {
        self.dedup.clear();
        self.dedup_ends.clear();
    }

    // Deliveries that are over.

    pub(super) fn remember(&mut self, fence: u64, over: Over, now: Timestamp) {
        self.over.insert(fence, over);
        self.over_order.push_back((now.plus(SETTLED_MEMORY), fence));
    }

    /// What a settle or extend with a fence that is over answers.
    pub(super) fn over(&self, fence: u64) -> Option<Settled> {
        Some(match self.over.get(&fence)? {
            Over::Settled => Settled::AlreadyDone,
            Over::Died => Settled::Lost(Lost::Expired),
        })
    }

    /// Forgets dedup keys and fences whose time is over.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((until, key)) = self.dedup_ends.first().filter(|(until, _)| *until <= now) {
            if self.dedup.get(key).is_some_and(|held| held.until == Some(*until)) {
                self.dedup.remove(key);
            }
            self.dedup_ends.pop_first();
        }
        let forgotten = |&(until, _): &(Timestamp, u64)| until <= now;
        while self.over_order.front().is_some_and(forgotten)
            || self.over_order.len() > SETTLED_MEMORY_MAX
        {
            if let Some((_, fence)) = self.over_order.pop_front() {
                self.over.remove(&fence);
            }
        }
    }
}
