//! All queues of the memory broker, and the rules that span them: numbers, timers and dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::entry::{Condition, Entry};
use super::queue::{Over, Queue};
use super::token::Fenced;
use crate::atomic::FollowUp;
use crate::clock::Timestamp;
use crate::driver::Enqueued;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::lease::{LeaseToken, Lost, Settled, State, Verdict};
use crate::name::QueueName;
use crate::queue::QueueSpec;
use crate::task::{DeadLetter, NewTask, REASON_ATTEMPTS_EXHAUSTED, REASON_LEASE_ENDED};

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) queues: BTreeMap<QueueName, Queue>,
    /// When to look at a task again, by its queue's id. One that no longer applies is passed over.
    timers: BTreeSet<(Timestamp, u64, u64)>,
    numbers: u64,
}

impl Store {
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn queue(&self, name: &QueueName, doing: Operation) -> Result<&Queue> {
        self.queues.get(name).ok_or_else(|| missing(name, doing))
    }

    pub(super) fn queue_mut(&mut self, name: &QueueName, doing: Operation) -> Result<&mut Queue> {
        self.queues.get_mut(name).ok_or_else(|| missing(name, doing))
    }

    /// Makes everybody who waits for a task of the queue look again.
    pub(super) fn wake(&self, name: &QueueName) {
        if let Some(queue) = self.queues.get(name) {
            queue.ready.notify(usize::MAX);
        }
    }

    pub(super) fn wake_all(&self) {
        self.queues.values().for_each(|queue| {
            queue.ready.notify(usize::MAX);
        });
    }

    // Time.

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _, _)| *at)
    }

    /// Does everything that is due by `now`, in the order of time and sequence.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((at, sequence, queue)) = self.timers.first().copied().filter(|t| t.0 <= now)
        {
            self.timers.pop_first();
            let name = self.queues.values().find(|q| q.id == queue).map(|q| q.spec.name.clone());
            if let Some(name) = name {
                self.timer(&name, sequence, at);
            }
        }
        self.queues.values_mut().for_each(|queue| queue.forget(now));
    }

    fn timer(&mut self, name: &QueueName, sequence: u64, at: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let Some(entry) = queue.tasks.get(&sequence) else {
            return;
        };
        let leased = matches!(entry.condition, Condition::Leased { .. });
        if !leased && queue.drop_at(entry).is_some_and(|drop_at| drop_at <= at) {
            return self.drop_task(name, sequence, at);
        }
        match entry.condition {
            Condition::Scheduled { due } if due <= at => {
                queue.set_condition(sequence, Condition::Ready, at);
            }
            Condition::Leased { until, .. } if until <= at => self.lease_ended(name, sequence, at),
            _ => {}
        }
    }

    fn lease_ended(&mut self, name: &QueueName, sequence: u64, at: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let Some(entry) = queue.tasks.get(&sequence) else {
            return;
        };
        if entry.attempts() >= queue.spec.retry.max_attempts {
            let fence = entry.fence;
            queue.remember(fence, Over::Died, at);
            return self.die(name, sequence, REASON_LEASE_ENDED.into(), at);
        }
        self.come_back(name, sequence, Duration::ZERO, at);
    }

    /// Puts a task that was held back into its queue, or drops it if its retention is over.
    fn come_back(&mut self, name: &QueueName, sequence: u64, after: Duration, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let condition = match after {
            Duration::ZERO => Condition::Ready,
            after => Condition::Scheduled { due: now.plus(after) },
        };
        queue.set_condition(sequence, condition, now);
        let drop_at = queue.tasks.get(&sequence).and_then(|entry| queue.drop_at(entry));
        if drop_at.is_some_and(|drop_at| drop_at <= now) {
            return self.drop_task(name, sequence, now);
        }
        self.set_timer(name, sequence);
    }

    fn drop_task(&mut self, name: &QueueName, sequence: u64, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        if let Some(entry) = queue.remove(sequence, now) {
            queue.free_key(&entry);
        }
    }

    /// Sets the timers that the task's condition asks for.
    pub(super) fn set_timer(&mut self, name: &QueueName, sequence: u64) {
        let Some(queue) = self.queues.get(name) else {
            return;
        };
        let Some(entry) = queue.tasks.get(&sequence) else {
            return;
        };
        let own = match entry.condition {
            Condition::Scheduled { due: at } | Condition::Leased { until: at, .. } => Some(at),
            Condition::Ready | Condition::Dead(_) => None,
        };
        let id = queue.id;
        let both = [own, queue.drop_at(entry)];
        self.timers.extend(both.into_iter().flatten().map(|at| (at, sequence, id)));
    }

    // Life.

    pub(super) fn declare(&mut self, spec: &QueueSpec) -> Result<()> {
        if let Some(queue) = self.queues.get(&spec.name) {
            return match queue.spec.first_difference(spec) {
                None => Ok(()),
                Some(field) => Err(conflict(&spec.name, field)),
            };
        }
        self.make_dead_letter_queue(spec, Operation::Declare)?;
        self.make_queue(QueueSpec { revision: 1, ..spec.clone() });
        Ok(())
    }

    pub(super) fn make_dead_letter_queue(
        &mut self,
        spec: &QueueSpec,
        doing: Operation,
    ) -> Result<()> {
        let Some(name) = &spec.dead_letters.queue else {
            return Ok(());
        };
        match self.queues.get(name).map(|queue| &queue.spec.dead_letters.queue) {
            None => self.make_queue(QueueSpec::dead_letter_queue(name.clone(), &spec.dead_letters)),
            Some(None) => {}
            Some(Some(_)) => {
                let why = format!("{name:?} has a dead-letter queue itself and can't be one");
                return Err(Error::new(ErrorKind::Conflict, doing, why).on(&spec.name));
            }
        }
        if self.queues.values().any(|q| q.spec.dead_letters.queue.as_ref() == Some(&spec.name)) {
            let why = "it is the dead-letter queue of another queue and can't name one itself";
            return Err(Error::new(ErrorKind::Conflict, doing, why).on(&spec.name));
        }
        Ok(())
    }

    fn make_queue(&mut self, spec: QueueSpec) {
        let id = self.number();
        self.queues.insert(spec.name.clone(), Queue::new(id, spec));
    }

    pub(super) fn enqueue(
        &mut self,
        name: &QueueName,
        tasks: &[NewTask],
        now: Timestamp,
    ) -> Result<Vec<Result<Enqueued>>> {
        self.queue(name, Operation::Enqueue)?;
        tasks.iter().map(|task| Ok(self.enqueue_one(name, task, now))).collect()
    }

    fn enqueue_one(
        &mut self,
        name: &QueueName,
        task: &NewTask,
        now: Timestamp,
    ) -> Result<Enqueued> {
        let sequence = self.numbers + 1;
        let queue = self.queue_mut(name, Operation::Enqueue)?;
        let holder = task.dedup.as_ref().and_then(|dedup| queue.key_holder(&dedup.key, now));
        if let Some(earlier) = holder {
            return Ok(earlier);
        }
        if queue.spec.capacity.room(queue.live()) == 0 {
            return Err(full(queue));
        }
        let key = task.ordering_key.as_deref();
        let condition = match task.delay {
            Duration::ZERO => Condition::Ready,
            delay => Condition::Scheduled { due: now.plus(delay) },
        };
        let entry = Entry {
            new: task.clone(),
            sequence,
            partition: queue.spec.router.route(key, sequence, queue.spec.partitions),
            deliveries: 0,
            uncounted: 0,
            enqueued_at: now,
            entered_at: now,
            last_error: None,
            moved: None,
            fence: 0,
            settled: false,
            condition,
        };
        if let Some(dedup) = &task.dedup {
            queue.hold_key(dedup, &entry, now);
        }
        queue.insert(entry, now);
        self.numbers = sequence;
        self.set_timer(name, sequence);
        Ok(Enqueued { id: task.id, sequence, deduplicated: false })
    }

    // Settling.

    /// Reads tokens, all or none.
    pub(super) fn read_tokens<'a>(
        &self,
        name: &QueueName,
        tokens: impl Iterator<Item = &'a LeaseToken>,
        doing: Operation,
    ) -> Result<Vec<Fenced>> {
        let elsewhere = |fenced: &Fenced| {
            self.queues.values().any(|queue| queue.id == fenced.queue && queue.spec.name != *name)
        };
        let read = |token| match Fenced::from_token(token) {
            None => Err(unreadable(name, doing, "the lease token is not one of this broker's")),
            Some(fenced) if elsewhere(&fenced) => {
                Err(unreadable(name, doing, "the lease token belongs to another queue"))
            }
            Some(fenced) => Ok(fenced),
        };
        tokens.map(read).collect()
    }

    /// Why a token no longer counts, or `None` if it can be settled.
    pub(super) fn refusal(&self, name: &QueueName, fenced: Fenced) -> Option<Settled> {
        let queue = self.queues.get(name).filter(|queue| queue.id == fenced.queue);
        let Some(queue) = queue else {
            return Some(Settled::Lost(Lost::NotFound));
        };
        if let Some(over) = queue.over(fenced.fence) {
            return Some(over);
        }
        match queue.tasks.get(&fenced.sequence) {
            None => Some(Settled::Lost(Lost::NotFound)),
            Some(entry) if entry.fence != fenced.fence => Some(Settled::Lost(Lost::Superseded)),
            Some(entry) if entry.settled => Some(Settled::Lost(Lost::NotFound)),
            Some(entry) if entry.state() == State::Dead => Some(Settled::Lost(Lost::Expired)),
            Some(_) => None,
        }
    }

    pub(super) fn settle(
        &mut self,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Settled {
        if let Some(refused) = self.refusal(name, fenced) {
            return refused;
        }
        let Some(queue) = self.queues.get_mut(name) else {
            return Settled::Lost(Lost::NotFound);
        };
        queue.remember(fenced.fence, Over::Settled, now);
        if let Some(entry) = queue.tasks.get_mut(&fenced.sequence) {
            entry.settled = true;
        }
        self.carry_out(name, fenced.sequence, verdict, now);
        let left = self.queues.get(name).and_then(|queue| queue.tasks.get(&fenced.sequence));
        let state = match (left.map(Entry::state), verdict) {
            (Some(state), _) => state,
            (None, Verdict::Complete) => State::Done,
            (None, _) => self.moved_or_dropped(fenced.sequence),
        };
        Settled::Done { state }
    }

    /// A task that left its queue though it was not completed was moved to the dead letters, or
    /// dropped by retention when it came back, which is the end of it too.
    fn moved_or_dropped(&self, sequence: u64) -> State {
        let moved = self.queues.values().any(|queue| queue.tasks.contains_key(&sequence));
        if moved { State::Dead } else { State::Done }
    }

    fn carry_out(&mut self, name: &QueueName, sequence: u64, verdict: &Verdict, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let most = queue.spec.retry.max_attempts;
        let Some(entry) = queue.tasks.get_mut(&sequence) else {
            return;
        };
        match verdict {
            Verdict::Complete => self.drop_task(name, sequence, now),
            Verdict::Release { after } => {
                entry.uncounted = entry.uncounted.saturating_add(1);
                self.come_back(name, sequence, *after, now);
            }
            Verdict::Retry { after, error } => {
                entry.last_error.clone_from(error);
                if entry.attempts() >= most {
                    return self.die(name, sequence, REASON_ATTEMPTS_EXHAUSTED.into(), now);
                }
                self.come_back(name, sequence, *after, now);
            }
            Verdict::DeadLetter { reason } => self.die(name, sequence, reason.clone(), now),
        }
    }

    pub(super) fn extend(
        &mut self,
        name: &QueueName,
        fenced: Fenced,
        length: Duration,
        now: Timestamp,
    ) -> Settled {
        if let Some(refused) = self.refusal(name, fenced) {
            return refused;
        }
        let Some(queue) = self.queues.get_mut(name) else {
            return Settled::Lost(Lost::NotFound);
        };
        let condition = queue.tasks.get(&fenced.sequence).map(|entry| entry.condition.clone());
        let Some(Condition::Leased { session, .. }) = condition else {
            return Settled::Lost(Lost::Expired);
        };
        let until = now.plus(length);
        queue.set_condition(fenced.sequence, Condition::Leased { until, session }, now);
        self.set_timer(name, fenced.sequence);
        Settled::Done { state: State::Leased }
    }

    /// Gives back every live lease of a session, unharmed.
    pub(super) fn release_session(&mut self, name: &QueueName, session: u64, now: Timestamp) {
        let Some(queue) = self.queues.get(name) else {
            return;
        };
        let held = |entry: &&Entry| matches!(entry.condition, Condition::Leased { session: holder, .. } if holder == session);
        let id = queue.id;
        let tokens = queue.tasks.values().filter(held);
        let tokens: Vec<Fenced> = tokens
            .map(|entry| Fenced { queue: id, sequence: entry.sequence, fence: entry.fence })
            .collect();
        for fenced in tokens {
            let _ = self.settle(name, fenced, &Verdict::Release { after: Duration::ZERO }, now);
        }
    }

    pub(super) fn settle_and_enqueue(
        &mut self,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
        now: Timestamp,
    ) -> Result<(Settled, Vec<Enqueued>)> {
        if let Some(refused) = self.refusal(name, fenced) {
            return Ok((refused, Vec::new()));
        }
        self.admit_follow_ups(name, fenced, verdict, follow_ups, now)?;
        let settled = self.settle(name, fenced, verdict, now);
        let enqueued = follow_ups.iter().map(|f| self.enqueue_one(&f.queue, &f.task, now));
        Ok((settled, enqueued.collect::<Result<_>>()?))
    }

    /// Refuses follow-ups that would not all fit after the settle, before anything is changed.
    fn admit_follow_ups(
        &self,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
        now: Timestamp,
    ) -> Result<()> {
        let settling = self.queues.get(name).and_then(|queue| queue.tasks.get(&fenced.sequence));
        let leaves = settling.filter(|entry| self.leaves(name, entry, verdict));
        let mut added: BTreeMap<&QueueName, u64> = BTreeMap::new();
        let mut keys: BTreeSet<(&QueueName, &str)> = BTreeSet::new();
        for FollowUp { queue: to, task } in follow_ups {
            let queue = self.queue(to, Operation::Settle)?;
            if let Some(dedup) = &task.dedup {
                let freed = |holder: &Enqueued| {
                    to == name
                        && leaves.is_some_and(|entry| {
                            entry.sequence == holder.sequence && until_done(entry)
                        })
                };
                let holder = queue.key_holder(&dedup.key, now).filter(|holder| !freed(holder));
                if holder.is_some() || !keys.insert((to, &dedup.key)) {
                    continue;
                }
            }
            let freed = u64::from(to == name && leaves.is_some());
            let count = added.entry(to).or_default();
            *count += 1;
            if *count > queue.spec.capacity.room(queue.live() - freed) {
                return Err(full(queue).during(Operation::Settle));
            }
        }
        Ok(())
    }

    /// Whether a verdict takes the task out of the live ones.
    fn leaves(&self, name: &QueueName, entry: &Entry, verdict: &Verdict) -> bool {
        let most = self.queues.get(name).map_or(0, |queue| queue.spec.retry.max_attempts);
        match verdict {
            Verdict::Complete | Verdict::DeadLetter { .. } => true,
            Verdict::Retry { .. } => entry.attempts() >= most,
            Verdict::Release { .. } => false,
        }
    }

    // Death.

    fn die(&mut self, name: &QueueName, sequence: u64, reason: String, now: Timestamp) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let target = queue.spec.dead_letters.queue.clone();
        let Some(mut entry) = queue.remove(sequence, now) else {
            return;
        };
        queue.free_key(&entry);
        let dead = DeadLetter {
            source: name.clone(),
            reason,
            error: entry.last_error.clone(),
            attempts: entry.attempts(),
            died_at: now,
        };
        match target.filter(|target| self.queues.contains_key(target)) {
            Some(target) => {
                entry.moved = Some(dead);
                self.enter(&target, entry, now);
            }
            None => {
                entry.condition = Condition::Dead(dead);
                queue_insert(&mut self.queues, name, entry, now);
                self.set_timer(name, sequence);
            }
        }
    }

    /// Puts a task at the tail of another queue, or of its own after it was dead.
    fn enter(&mut self, name: &QueueName, mut entry: Entry, now: Timestamp) {
        let sequence = entry.sequence;
        entry.uncounted = entry.deliveries;
        entry.entered_at = now;
        entry.condition = Condition::Ready;
        if let Some(queue) = self.queues.get(name) {
            let key = entry.new.ordering_key.as_deref();
            entry.partition = queue.spec.router.route(key, sequence, queue.spec.partitions);
        }
        queue_insert(&mut self.queues, name, entry, now);
        self.set_timer(name, sequence);
    }

    /// Puts dead tasks, given by where they lie, back where they died. Those whose queue is gone
    /// stay.
    pub(super) fn redrive(&mut self, dead: Vec<(QueueName, u64)>, now: Timestamp) -> u64 {
        let mut moved = 0;
        for (lies_in, sequence) in dead {
            let source = self.queues.get(&lies_in).and_then(|queue| queue.tasks.get(&sequence));
            let source = source.and_then(Entry::dead_letter).map(|dead| dead.source.clone());
            let Some(source) = source.filter(|source| self.queues.contains_key(source)) else {
                continue;
            };
            let Some(queue) = self.queues.get_mut(&lies_in) else {
                continue;
            };
            let Some(mut entry) = queue.remove(sequence, now) else {
                continue;
            };
            entry.moved = None;
            entry.settled = true;
            self.enter(&source, entry, now);
            moved += 1;
        }
        moved
    }
}

fn queue_insert(
    queues: &mut BTreeMap<QueueName, Queue>,
    name: &QueueName,
    entry: Entry,
    now: Timestamp,
) {
    if let Some(queue) = queues.get_mut(name) {
        queue.insert(entry, now);
    }
}

fn until_done(entry: &Entry) -> bool {
    entry.new.dedup.as_ref().is_some_and(|dedup| dedup.unique == crate::task::Unique::UntilDone)
}

pub(super) fn missing(name: &QueueName, doing: Operation) -> Error {
    Error::new(ErrorKind::NotFound, doing, "there is no such queue; declare it first").on(name)
}

fn conflict(name: &QueueName, field: &str) -> Error {
    let why = format!("the queue exists with another {field}; update it instead of declaring it");
    Error::new(ErrorKind::Conflict, Operation::Declare, why).on(name)
}

fn full(queue: &Queue) -> Error {
    let live = queue.live();
    let why = format!("the queue is full with {live} tasks; wait for room or raise its capacity");
    Error::new(ErrorKind::QueueFull, Operation::Enqueue, why).on(&queue.spec.name)
}

fn unreadable(name: &QueueName, doing: Operation, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, doing, format!("{why}; pass it on as it was received")).on(name)
}
