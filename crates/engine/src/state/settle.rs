//! Settling and extending leases, and settling together with what follows.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tidegate_core::task::REASON_ATTEMPTS_EXHAUSTED;
use tidegate_core::{
    Enqueued, FollowUp, LeaseToken, Lost, Operation, QueueName, Result, Settled,
    State as Condition, Timestamp, Verdict,
};

use super::State;
use super::refusals::{foreign_token, full, missing, unreadable_token};
use super::settled::Over;
use super::slots::Phase;
use crate::log::record::{Frame, TaskRef};
use crate::position::Position;
use crate::token::Fenced;

impl State {
    /// Reads the tokens of a queue's leases, all or none.
    pub(crate) fn read_tokens<'a>(
        &self,
        name: &QueueName,
        tokens: impl Iterator<Item = &'a LeaseToken>,
        doing: Operation,
    ) -> Result<Vec<Fenced>> {
        let read = |token| {
            let fenced = Fenced::from_token(token).ok_or_else(|| unreadable_token(name, doing))?;
            let elsewhere = self.by_id.get(&fenced.queue).and_then(|index| self.queue(*index));
            match elsewhere {
                Some(queue) if queue.name() != name => Err(foreign_token(name, doing)),
                _ => Ok(fenced),
            }
        };
        tokens.map(read).collect()
    }

    /// Why a token no longer counts, or `None` if it can be settled.
    fn refusal(&self, fenced: Fenced) -> Option<Settled> {
        let Fenced { queue, slot, sequence, fence } = fenced;
        let Some(index) = self.by_id.get(&queue) else {
            return Some(Settled::Lost(Lost::NotFound));
        };
        let slot = self.slots.of_task(slot, sequence).filter(|slot| slot.queue == *index);
        if slot.is_some_and(|slot| slot.fence == fence && !slot.settled) {
            let dead = slot.filter(|slot| slot.phase == Phase::Dead);
            return dead.map(|_| Settled::Lost(Lost::Expired));
        }
        if let Some(answer) = self.settled.answer(sequence, fence, self.now) {
            return Some(answer);
        }
        match slot {
            Some(slot) if slot.fence != fence => Some(Settled::Lost(Lost::Superseded)),
            _ => Some(Settled::Lost(Lost::NotFound)),
        }
    }

    /// Carries out one verdict.
    pub(crate) fn settle(
        &mut self,
        fenced: Fenced,
        verdict: &Verdict,
        frame: &mut Frame<'_>,
    ) -> Settled {
        if let Some(refused) = self.refusal(fenced) {
            return refused;
        }
        let task = TaskRef { slot: fenced.slot, sequence: fenced.sequence };
        frame.put_settled(task, verdict);
        let state = self.carry_out(task, verdict, self.now, frame.position());
        Settled::Done { state }
    }

    /// Does what a verdict says to the task's newest delivery.
    pub(super) fn carry_out(
        &mut self,
        task: TaskRef,
        verdict: &Verdict,
        at: Timestamp,
        depends: Position,
    ) -> Condition {
        let TaskRef { slot: index, sequence } = task;
        let Some(slot) = self.slots.get_mut(index) else { return Condition::Done };
        slot.settled = true;
        let (fence, attempts, queue) = (slot.fence, slot.attempts(), slot.queue);
        self.settled.remember(sequence, fence, Over::Settled, at);
        match verdict {
            Verdict::Complete => {
                self.remove(index, at, depends);
                Condition::Done
            }
            Verdict::Release { after } => {
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.uncounted = slot.uncounted.saturating_add(1);
                }
                self.come_back(index, *after, at, depends)
            }
            Verdict::Retry { after, error } => {
                self.note_error(index, error.as_deref());
                let most = self.queue(queue).map_or(0, |queue| queue.spec.retry.max_attempts);
                if attempts >= most {
                    self.die(index, REASON_ATTEMPTS_EXHAUSTED.into(), at, depends);
                    return Condition::Dead;
                }
                self.come_back(index, *after, at, depends)
            }
            Verdict::DeadLetter { reason } => {
                self.die(index, reason.clone(), at, depends);
                Condition::Dead
            }
        }
    }

    fn note_error(&mut self, index: u32, error: Option<&str>) {
        if error.is_some() || self.extra(index).is_some() {
            self.extra_mut(index).last_error = error.map(Into::into);
        }
    }

    /// Gives a live lease `length` from now.
    pub(crate) fn extend(
        &mut self,
        fenced: Fenced,
        length: Duration,
        frame: &mut Frame<'_>,
    ) -> Settled {
        if let Some(refused) = self.refusal(fenced) {
            return refused;
        }
        let task = TaskRef { slot: fenced.slot, sequence: fenced.sequence };
        let leased = self.slots.get(task.slot).is_some_and(|slot| slot.phase == Phase::Leased);
        if !leased {
            return Settled::Lost(Lost::Expired);
        }
        frame.put_extended(task, length);
        self.move_lease_end(task.slot, self.now.plus(length), length.as_millis() as u32);
        Settled::Done { state: Condition::Leased }
    }

    /// How many leases a session holds.
    pub(crate) fn held_by(&self, session: u64) -> usize {
        self.timers.iter().filter(|timer| timer.hold.session == session).count()
    }

    /// Gives back every live lease of a session, unharmed.
    pub(crate) fn release_session(&mut self, index: u32, session: u64, frame: &mut Frame<'_>) {
        let held = self.timers.iter().filter(|timer| timer.hold.session == session);
        let slots = held.filter_map(|timer| Some((timer.slot, self.slots.get(timer.slot)?)));
        let leased = slots.filter(|(_, s)| s.phase == Phase::Leased && s.queue == index);
        let mut tasks: Vec<TaskRef> =
            leased.map(|(slot, s)| TaskRef { slot, sequence: s.sequence }).collect();
        tasks.sort_unstable_by_key(|task| task.sequence);
        let release = Verdict::Release { after: Duration::ZERO };
        for task in tasks {
            frame.put_settled(task, &release);
            self.carry_out(task, &release, self.now, frame.position());
        }
    }

    /// Settles a lease and enqueues what follows, all or nothing.
    pub(crate) fn settle_and_enqueue(
        &mut self,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
        frame: &mut Frame<'_>,
    ) -> Result<(Settled, Vec<Enqueued>)> {
        if let Some(refused) = self.refusal(fenced) {
            return Ok((refused, Vec::new()));
        }
        let targets = self.admit_follow_ups(name, fenced, verdict, follow_ups)?;
        let settled = self.settle(fenced, verdict, frame);
        let pairs = targets.into_iter().zip(follow_ups);
        let enqueued = pairs.map(|(target, next)| self.enqueue_one(target, &next.task, frame));
        Ok((settled, enqueued.collect::<Result<_>>()?))
    }

    /// Refuses follow-ups that would not all fit after the settle, before anything is changed, and
    /// tells the indexes of their queues.
    fn admit_follow_ups(
        &self,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<Vec<u32>> {
        const SETTLE: Operation = Operation::Settle;
        let leaves = self.leaves(fenced.slot, verdict);
        let freed_key = leaves.then(|| self.until_done.get(&fenced.slot)).flatten();
        let mut added: HashMap<u32, u64> = HashMap::new();
        let mut keys: HashSet<(u32, &str)> = HashSet::new();
        let mut targets = Vec::with_capacity(follow_ups.len());
        for FollowUp { queue: to, task } in follow_ups {
            let index = self.index_of(to, SETTLE)?;
            let queue = self.queue(index).ok_or_else(|| missing(to, SETTLE))?;
            targets.push(index);
            if let Some(dedup) = &task.dedup {
                let freed = to == name && freed_key.is_some_and(|key| **key == *dedup.key);
                let held = !freed && self.key_holder(index, &dedup.key).is_some();
                if held || !keys.insert((index, &dedup.key)) {
                    continue;
                }
            }
            let freed = u64::from(to == name && leaves);
            let count = added.entry(index).or_default();
            *count += 1;
            if *count > queue.spec.capacity.room(queue.counts.live() - freed) {
                return Err(full(to, queue.counts.live(), SETTLE));
            }
        }
        Ok(targets)
    }

    /// Whether a verdict takes a task out of its queue's live ones.
    fn leaves(&self, index: u32, verdict: &Verdict) -> bool {
        let Some(slot) = self.slots.get(index) else { return false };
        let most = self.queue(slot.queue).map_or(0, |queue| queue.spec.retry.max_attempts);
        match verdict {
            Verdict::Complete | Verdict::DeadLetter { .. } => true,
            Verdict::Retry { .. } => slot.attempts() >= most,
            Verdict::Release { .. } => false,
        }
    }
}
