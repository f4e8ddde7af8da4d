//! What clients saw, as a history has it: the same words for processes that are killed and for the
//! simulation.

use std::time::Duration;

use tidegate_conformance::history::{Answer, Decided, DedupSent, What, token_hash};
use tidegate_core::task::Dedup;
use tidegate_core::{
    Enqueued, Lease, LeaseToken, NewTask, Settled, State, TaskId, Unique, Verdict,
};

/// Who writes a history down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scribe {
    /// What a task is called.
    pub(crate) name: fn(TaskId) -> String,
    /// How exact the broker's time is, in microseconds: lengths are written shorter by this, so
    /// that rounding is not taken for an early delivery.
    pub(crate) tick_us: u64,
}

/// Who sends, and the how manieth of its sends it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) name: &'a str,
    pub(crate) seq: u64,
}

impl Scribe {
    /// A length as a history should have it: no longer than the broker may make it.
    fn at_least_us(&self, length: Duration) -> u64 {
        (length.as_micros() as u64).saturating_sub(self.tick_us)
    }

    /// One send.
    pub(crate) fn enqueued(
        &self,
        to: &str,
        task: &NewTask,
        sender: Sender<'_>,
        answer: Option<&Enqueued>,
    ) -> What {
        let duplicate = answer.filter(|answer| answer.deduplicated);
        let dedup = task.dedup.as_ref().map(|Dedup { key, unique }| DedupSent {
            key: key.clone(),
            window_us: match unique {
                Unique::Window(window) => Some(self.at_least_us(*window)),
                Unique::UntilDone => None,
            },
            stands_for: duplicate.map(|earlier| (self.name)(earlier.id)),
        });
        What::Enqueued {
            queue: to.into(),
            id: (self.name)(task.id),
            key: task.ordering_key.clone(),
            producer: sender.name.into(),
            seq: sender.seq,
            delay_us: self.at_least_us(task.delay),
            dedup,
        }
    }

    /// One delivery.
    pub(crate) fn received(&self, queue: &str, lease: &Lease) -> What {
        What::Received {
            queue: queue.into(),
            id: (self.name)(lease.task.id),
            token: token_hash(&lease.token),
            lease_us: self.at_least_us(lease.duration),
            attempt: lease.task.attempt,
            deliveries: lease.task.deliveries,
        }
    }

    /// One verdict on the task that is called `id`.
    pub(crate) fn settled(
        &self,
        queue: &str,
        id: &str,
        token: &LeaseToken,
        verdict: &Verdict,
        answer: Option<Settled>,
    ) -> What {
        let verdict = match verdict {
            Verdict::Complete => Decided::Complete,
            Verdict::Retry { after, .. } => Decided::Retry { after_us: self.at_least_us(*after) },
            Verdict::Release { after } => Decided::Release { after_us: self.at_least_us(*after) },
            Verdict::DeadLetter { .. } => Decided::DeadLetter,
        };
        let (token, answer) = (token_hash(token), answer.map(told));
        What::Settled { queue: queue.into(), id: id.into(), token, verdict, answer }
    }

    /// One extend of the lease on the task that is called `id`.
    pub(crate) fn extended(
        &self,
        queue: &str,
        id: &str,
        token: &LeaseToken,
        length: Duration,
        answer: Option<Settled>,
    ) -> What {
        What::Extended {
            queue: queue.into(),
            id: id.into(),
            token: token_hash(token),
            lease_us: self.at_least_us(length),
            answer: answer.map(told),
        }
    }
}

fn told(settled: Settled) -> Answer {
    match settled {
        Settled::Done { state: State::Dead } => Answer::DoneDead,
        Settled::Done { .. } => Answer::Done,
        Settled::AlreadyDone => Answer::AlreadyDone,
        Settled::Lost(_) => Answer::Lost,
    }
}
