//! What the clients of a run did and saw: the history, and what it proves at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_conformance::history::{Event, Outcome, What};
use tidegate_core::{Clock, Lease, ManualClock, NewTask, QueueName, TaskId, Timestamp};
use tidegate_engine::simulation::{Flip, Machine, fence_epoch};

use super::log_output::LogOutput;
use super::trace::Trace;
use crate::scribe::Scribe;

/// What a history says of lengths is less by this: the broker counts in milliseconds, and events
/// within one are told apart by microseconds that the broker does not know.
const TICK_US: u64 = 2_000;

/// Who writes the histories of the simulation.
pub(crate) const SCRIBE: Scribe = Scribe { name, tick_us: TICK_US };

/// The book, shared by all clients of a run.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) clock: ManualClock,
    pub(crate) machine: Machine,
    pub(crate) trace: Arc<Trace>,
    began: Timestamp,
    pages: Mutex<Pages>,
}

/// What is written in it.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) events: Vec<Event>,
    /// Events that have no answer yet.
    open: BTreeSet<usize>,
    last_us: u64,
    /// Tasks as they were sent, by their ids.
    pub(crate) sent: HashMap<TaskId, NewTask>,
    next_task: u64,
    /// When it was certain that a task is there though its send has no answer: somebody saw it.
    pub(crate) witnessed: HashMap<String, u64>,
    /// Sends of the process that runs, in the order in which they were carried out.
    pub(crate) issued: Vec<Issued>,
    /// Queues whose declaration was acknowledged.
    pub(crate) declared: BTreeSet<String>,
    /// When a queue was last told to hand nothing out, and the answer came.
    pub(crate) paused: BTreeMap<String, u64>,
    tokens: HashSet<Vec<u8>>,
    /// Tasks by their sequences, as far as anybody was told.
    sequences: HashMap<u64, String>,
    /// Whether two tasks that are there may have one sequence: on a disk that lied when an open erased
    /// what lay behind the end of the log. A later power cut brings that back, beside what was sent since.
    repeats: bool,
    /// Tasks that a flipped bit may have touched.
    pub(crate) damaged: BTreeSet<String>,
    /// Frames in which a bit was flipped, and that no open has named yet.
    flipped: Vec<u64>,
    /// When a process ended after which a lease record may have been missing.
    pub(crate) cuts_us: Vec<u64>,
    /// Whether a flipped bit may have cost anything.
    pub(crate) is_damaged: bool,
    /// The newest epoch in a token of the process that runs, and of those before it.
    epoch: u32,
    epoch_before: u32,
    /// What a sound engine cannot show.
    pub(crate) violations: Vec<String>,
    pub(crate) operations: u64,
    pub(crate) deliveries: u64,
}

/// A send to a queue from which a task that nobody was handed cannot vanish.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) queue: &'static str,
    pub(crate) id: String,
    /// Which command it was part of.
    pub(crate) batch: u64,
    pub(crate) acknowledged: bool,
    /// Whether it was acknowledged and everything written was on the disk after that.
    pub(crate) synced: bool,
}

/// An operation that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    client: String,
    start_us: u64,
    events: std::ops::Range<usize>,
    /// Whether the log had failed before: then it may not be acknowledged.
    log_failed: bool,
}

impl Book {
    pub(crate) fn new(clock: ManualClock, machine: Machine, trace: Arc<Trace>) -> Self {
        let began = clock.now();
        Self { clock, machine, trace, began, pages: Mutex::default() }
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the history. No two events have the same.
    fn now_us(&self, pages: &mut Pages) -> u64 {
        let passed = self.clock.now().since(self.began).as_micros() as u64;
        pages.last_us = passed.max(pages.last_us + 1);
        pages.last_us
    }

    /// A number for a task, and the bytes that its payload must have.
    pub(crate) fn next_task(&self, payload_bytes: usize) -> NewTask {
        let mut pages = self.pages();
        pages.next_task += 1;
        let number = pages.next_task;
        let payload: Vec<u8> = (0..payload_bytes as u64)
            .map(|place| (number.wrapping_mul(31) ^ place) as u8)
            .collect();
        NewTask { id: task_id(number), ..NewTask::new("work", payload) }
    }

    pub(crate) fn violation(&self, what: impl Display) {
        self.trace.line(format_args!("VIOLATION {what}"));
        self.pages().violations.push(what.to_string());
    }

    /// An operation begins: all it may do is unknown until it is answered.
    pub(crate) fn begin(&self, client: &str, what: Vec<What>) -> Begun {
        let log_failed = self.machine.has_log_failed();
        let mut pages = self.pages();
        let start_us = self.now_us(&mut pages);
        pages.operations += 1;
        let first = pages.events.len();
        for what in what {
            let place = pages.events.len();
            pages.open.insert(place);
            pages.events.push(Event {
                client: client.into(),
                start_us,
                end_us: u64::MAX,
                outcome: Outcome::Unknown,
                what,
            });
        }
        let events = first..pages.events.len();
        Begun { client: client.into(), start_us, events, log_failed }
    }

    /// An operation is answered. One whose process has ended meanwhile is not: nobody heard it.
    pub(crate) fn end(&self, begun: &Begun, ends: Vec<(Outcome, What)>) {
        if !self.machine.is_running() {
            return;
        }
        let mut pages = self.pages();
        let end_us = self.now_us(&mut pages);
        let mut places = begun.events.clone();
        for (outcome, what) in ends {
            if begun.log_failed && outcome == Outcome::Ok {
                let why = format!("acknowledged after a failed write or sync: {what:?}");
                pages.violations.push(why);
            }
            self.trace.line(format_args!("{end_us} {} {outcome:?} {what:?}", begun.client));
            let (client, start_us) = (begun.client.clone(), begun.start_us);
            let event = Event { client, start_us, end_us, outcome, what };
            match places.next() {
                Some(place) => {
                    pages.open.remove(&place);
                    if let Some(known) = pages.events.get_mut(place) {
                        *known = event;
                    }
                }
                None => pages.events.push(event),
            }
        }
    }

    /// Somebody saw a task: it must outlive any crash.
    pub(crate) fn witness(&self, id: &str) {
        if !self.machine.is_running() {
            return;
        }
        let mut pages = self.pages();
        let now_us = self.now_us(&mut pages);
        pages.witnessed.entry(id.into()).or_insert(now_us);
    }

    /// A task was handed out: it must be the one that was sent, under a fence that is new.
    pub(crate) fn handed_out(&self, lease: &Lease, begun: &Begun) {
        if !self.machine.is_running() {
            return;
        }
        self.witness(&name(lease.task.id));
        let known = self.pages().sequences.get(&lease.task.sequence).cloned();
        // WHY: the sequence of a task whose record is damaged may be given out again.
        let known = known.filter(|other| !self.pages().damaged.contains(other));
        let known = known.filter(|_| !self.pages().repeats);
        if let Some(other) = known.filter(|other| *other != name(lease.task.id)) {
            let given = name(lease.task.id);
            self.violation(format_args!("{given} was handed out in the place of {other}"));
        }
        self.note_sequence(lease.task.id, lease.task.sequence);
        let mut pages = self.pages();
        pages.deliveries += 1;
        let id = name(lease.task.id);
        let why = match pages.sent.get(&lease.task.id) {
            None => Some("nobody sent it"),
            Some(sent) if sent.payload != lease.task.payload => Some("its payload is another"),
            Some(sent) if sent.priority != lease.task.priority => Some("its priority is another"),
            Some(sent) if sent.ordering_key != lease.task.ordering_key => {
                Some("its key is another")
            }
            Some(sent) if sent.headers != lease.task.headers => Some("its headers are others"),
            Some(_) => None,
        };
        if let Some(why) = why {
            pages.violations.push(format!("{id} was handed out and {why}"));
        }
        if !pages.tokens.insert(lease.token.as_bytes().to_vec()) {
            pages.violations.push(format!("{id} was handed out twice under one token"));
        }
        let paused = pages.paused.get(lease.task.queue.as_str());
        if paused.is_some_and(|paused_us| *paused_us < begun.start_us) {
            pages.violations.push(format!("{id} was handed out while its queue was paused"));
        }
        let epoch = fence_epoch(&lease.token).unwrap_or(0);
        if epoch <= pages.epoch_before {
            let why = format!("{id} has a fence of epoch {epoch}, which an earlier open gave out");
            pages.violations.push(why);
        }
        pages.epoch = pages.epoch.max(epoch);
    }

    /// A queue's declaration was acknowledged.
    pub(crate) fn declared(&self, queue: &QueueName) {
        if self.machine.is_running() {
            self.pages().declared.insert(queue.to_string());
        }
    }

    /// A queue was told to hand nothing out, and the answer came.
    pub(crate) fn paused(&self, queue: &str) {
        if !self.machine.is_running() {
            return;
        }
        let mut pages = self.pages();
        let now_us = self.now_us(&mut pages);
        pages.paused.insert(queue.into(), now_us);
    }

    /// A queue is about to be told to go on.
    pub(crate) fn resuming(&self, queue: &str) {
        self.pages().paused.remove(queue);
    }

    /// A power cut may have taken anything: nothing that was acknowledged need be there, and what
    /// was given out may be given out again; where the disk `lies`, in two tasks at once.
    pub(crate) fn forget_promises(&self, lies: bool) {
        let mut pages = self.pages();
        pages.repeats = lies;
        pages.issued.clear();
        pages.declared.clear();
        pages.paused.clear();
        pages.sequences.clear();
        pages.tokens.clear();
        pages.epoch_before = 0;
    }

    /// Somebody was told a task's sequence.
    pub(crate) fn note_sequence(&self, id: TaskId, sequence: u64) {
        self.pages().sequences.insert(sequence, name(id));
    }

    /// A bit was flipped: what it touches may be lost, and must be named.
    pub(crate) fn flipped(&self, flip: &Flip) {
        let mut pages = self.pages();
        let Flip { frame, bodies, changed } = flip;
        pages.flipped.extend(frame);
        pages.is_damaged |= frame.is_some();
        let changed = changed.iter().filter_map(|sequence| pages.sequences.get(sequence).cloned());
        let damaged: Vec<String> = changed.chain(bodies.iter().map(|id| name(*id))).collect();
        pages.damaged.extend(damaged);
    }

    /// The engine was opened: what was flipped must have been named.
    pub(crate) fn opened(&self, said: &LogOutput) {
        let flipped = std::mem::take(&mut self.pages().flipped);
        for frame in flipped.into_iter().filter(|frame| !said.names(*frame)) {
            self.violation(format_args!("frame {frame} was damaged and the open did not name it"));
        }
    }

    /// All that was written is on the disk, and so what was acknowledged until now.
    pub(crate) fn all_is_synced(&self) {
        let mut pages = self.pages();
        pages.issued.iter_mut().for_each(|issued| issued.synced |= issued.acknowledged);
    }

    /// A process has ended: what was not answered never will be.
    pub(crate) fn process_ended(&self) -> u64 {
        let mut pages = self.pages();
        let now_us = self.now_us(&mut pages);
        for place in std::mem::take(&mut pages.open) {
            if let Some(event) = pages.events.get_mut(place) {
                event.end_us = now_us;
            }
        }
        pages.epoch_before = pages.epoch;
        now_us
    }

    /// The next process has opened the engine, after one that ended at `ended_us`.
    pub(crate) fn restarted(&self, ended_us: u64, leases_over: bool) {
        let mut pages = self.pages();
        let end_us = self.now_us(&mut pages);
        let what = What::Restarted { leases_over };
        let client = "machine".to_owned();
        let outcome = Outcome::Ok;
        pages.events.push(Event { client, start_us: ended_us, end_us, outcome, what });
    }
}

fn task_id(number: u64) -> TaskId {
    TaskId::from_bytes((u128::from(number)).to_be_bytes())
}

/// A task's id as a history has it.
pub(crate) fn name(id: TaskId) -> String {
    let number = u128::from_be_bytes(*id.as_bytes());
    format!("t{number}")
}
