//! Carries out what handlers decided, in batches: all that gathered while the batch before was
//! settled goes together. A slot is free once its task is settled.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_core::capabilities::{Delay, DeliveryCount, Fencing};
use tidegate_core::task::REASON_ATTEMPTS_EXHAUSTED;
use tidegate_core::{
    Error, ErrorKind, LeaseToken, Lost, Result, RetryPolicy, Settled, Timestamp, Verdict,
};

use super::metrics::{Event, add};
use super::place::{Finished, Place};
use super::shutdown::{NEVER, Stage};
use super::{AckMode, Shared};
use crate::backoff::Backoff;
use crate::outcome::Outcome;

/// The first and the longest pause between tries to settle.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Settles the outcomes of one queue until its outbox is closed and empty.
pub(super) async fn settle_outcomes(shared: Arc<Shared>, place: Arc<Place>) {
    loop {
        let finished = place.outbox.take().await;
        if finished.is_empty() {
            return;
        }
        settle(&shared, &place, finished).await;
    }
}

async fn settle(shared: &Shared, place: &Place, finished: Vec<Finished>) {
    let slots: Vec<usize> = finished.iter().map(|finished| finished.slot).collect();
    if shared.options.ack == AckMode::Auto {
        finished.iter().for_each(|finished| shared.note_unacknowledged(finished));
    } else {
        let policy = match finished.iter().all(|finished| finished.outcome.is_done()) {
            true => RetryPolicy::default(),
            false => place.policy().await,
        };
        let rules = Rules::new(shared, policy);
        let (single, together): (Vec<_>, Vec<_>) =
            finished.into_iter().partition(|finished| !finished.outcome.follow_ups().is_empty());
        settle_together(shared, place, &rules, together).await;
        for finished in single {
            settle_with_follow_ups(shared, place, &rules, &finished).await;
        }
    }
    shared.slots.free(slots);
}

/// What turns an outcome into a verdict.
pub(crate) struct Rules {
    policy: RetryPolicy,
    longest: Duration,
    /// Whether the worker must count attempts because the broker does not.
    counts_attempts: bool,
    /// Whether a settle with a lease that is known to be lost could do harm.
    advisory: bool,
}

impl Rules {
    pub(crate) fn new(shared: &Shared, policy: RetryPolicy) -> Self {
        let can = shared.broker.capabilities();
        let longest = match can.retry_delay {
            Delay::No => Duration::ZERO,
            Delay::UpTo(longest) => longest,
        };
        Self {
            policy,
            longest,
            counts_attempts: can.deliveries == DeliveryCount::AtLeast,
            advisory: can.fencing == Fencing::Advisory,
        }
    }

    pub(crate) fn verdict(&self, outcome: &Outcome, attempt: u32) -> Verdict {
        let verdict = outcome.verdict(attempt, &self.policy, fastrand::f64(), self.longest);
        let last = self.counts_attempts && attempt >= self.policy.max_attempts;
        match verdict {
            Verdict::Retry { error, .. } if last => Verdict::DeadLetter {
                reason: match error {
                    Some(error) => format!("{REASON_ATTEMPTS_EXHAUSTED}: {error}"),
                    None => REASON_ATTEMPTS_EXHAUSTED.to_owned(),
                },
            },
            verdict => verdict,
        }
    }
}

async fn settle_together(
    shared: &Shared,
    place: &Place,
    rules: &Rules,
    mut finished: Vec<Finished>,
) {
    if rules.advisory {
        // WHY: nothing would refuse the stale verdict of a lease that is known to be lost.
        finished.retain(|finished| !finished.context.is_lost());
    }
    let verdict = |finished: &Finished| {
        let token = finished.context.token().clone();
        (token, rules.verdict(&finished.outcome, finished.context.attempt()))
    };
    let verdicts: Vec<(LeaseToken, Verdict)> = finished.iter().map(verdict).collect();
    let answers = settle_until(shared, place, &verdicts, NEVER).await;
    for ((finished, (_, verdict)), answer) in finished.iter().zip(&verdicts).zip(answers) {
        shared.note_settled(finished, verdict, answer);
    }
}

/// Settles, and tries again what may be tried again until `until` or the worker's end. One outcome
/// per verdict, in order.
pub(super) async fn settle_until(
    shared: &Shared,
    place: &Place,
    verdicts: &[(LeaseToken, Verdict)],
    until: Timestamp,
) -> Vec<Result<Settled>> {
    if verdicts.is_empty() {
        return Vec::new();
    }
    match try_until(shared, until, || place.receiver().settle(verdicts)).await {
        Ok(settled) => settled.into_iter().map(Ok).collect(),
        Err(error) if verdicts.len() == 1 => vec![Err(error)],
        // WHY: one verdict that is refused must not keep the others from being carried out.
        Err(_) => {
            let mut answers = Vec::with_capacity(verdicts.len());
            for (token, verdict) in verdicts {
                let single = || place.receiver().settle_one(token, verdict.clone());
                answers.push(try_until(shared, until, single).await);
            }
            answers
        }
    }
}

async fn try_until<T, F: Future<Output = Result<T>>>(
    shared: &Shared,
    until: Timestamp,
    call: impl Fn() -> F,
) -> Result<T> {
    let clock = shared.broker.clock();
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    loop {
        let error = match call().await {
            Err(error) if error.is_retryable() => error,
            answer => return answer,
        };
        if shared.shutdown.is_at(Stage::Over) || clock.now() >= until {
            return Err(error);
        }
        tracing::warn!(%error, "verdicts wait to be settled");
        tokio::select! {
            () = backoff.wait(clock.as_ref(), until) => {}
            () = shared.shutdown.reached(Stage::Over) => {}
        }
    }
}

async fn settle_with_follow_ups(
    shared: &Shared,
    place: &Place,
    rules: &Rules,
    finished: &Finished,
) {
    let Finished { context, outcome, .. } = finished;
    if rules.advisory && context.is_lost() {
        return;
    }
    let verdict = rules.verdict(outcome, context.attempt());
    let (queue, token, follow_ups) = (place.queue(), context.token(), outcome.follow_ups());
    let both = || shared.broker.settle_and_enqueue(queue, token, &verdict, follow_ups);
    match try_until(shared, NEVER, both).await {
        Ok((settled, _)) => shared.note_settled(finished, &verdict, Ok(settled)),
        Err(error) if error.is_retryable() || error.kind() == ErrorKind::Closed => {
            shared.note_settled(finished, &verdict, Err(error));
        }
        Err(error) => refuse_follow_ups(shared, place, finished, &error).await,
    }
}

/// WHY: the work was done and its follow-ups will be refused every time; trying again would repeat
/// the one without ever getting the other.
async fn refuse_follow_ups(shared: &Shared, place: &Place, finished: &Finished, why: &Error) {
    let reason = format!("its follow-ups were refused: {why}");
    let verdict = Verdict::DeadLetter { reason };
    let token = finished.context.token();
    let answer =
        try_until(shared, NEVER, || place.receiver().settle_one(token, verdict.clone())).await;
    shared.note_settled(finished, &verdict, answer);
}

impl Shared {
    /// Counts what became of a verdict, and tells the log and the observer.
    pub(crate) fn note_settled(
        &self,
        finished: &Finished,
        verdict: &Verdict,
        answer: Result<Settled>,
    ) {
        let task = finished.context.task();
        match answer {
            Ok(Settled::Lost(lost)) => self.note_lost(&finished.context, lost),
            Ok(settled) => {
                self.count_settled(verdict, settled);
                if matches!(verdict, Verdict::DeadLetter { .. }) {
                    tracing::warn!(id = %task.id, kind = %task.kind, ?verdict, "dead letter");
                }
                self.observe(task, || Event::Settled { verdict, settled });
            }
            Err(error) => {
                add(&self.counters.unsettled, 1);
                tracing::error!(id = %task.id, kind = %task.kind, %error, "a verdict was refused; the task comes back when its lease ends");
                self.observe(task, || Event::Unsettled(&error));
            }
        }
    }

    pub(super) fn count_settled(&self, verdict: &Verdict, settled: Settled) {
        match settled {
            Settled::Done { state } => self.counters.settled(verdict, Some(state)),
            Settled::AlreadyDone => self.counters.settled(verdict, None),
            Settled::Lost(_) => add(&self.counters.lost, 1),
        }
    }

    /// Counts a lost lease, once, and cancels its handler.
    pub(super) fn note_lost(&self, context: &crate::Context, lost: Lost) {
        if context.lose() {
            add(&self.counters.lost, 1);
            let task = context.task();
            tracing::warn!(id = %task.id, kind = %task.kind, %lost, "a lease was lost");
            self.observe(task, || Event::Lost(lost));
        }
    }

    fn note_unacknowledged(&self, finished: &Finished) {
        let Finished { context, outcome, .. } = finished;
        if outcome.is_done() && outcome.follow_ups().is_empty() {
            self.counters.settled(&Verdict::Complete, None);
            return;
        }
        self.counters.failed_unacknowledged.fetch_add(1, Ordering::Relaxed);
        let task = context.task();
        tracing::error!(id = %task.id, kind = %task.kind, ?outcome, "failed after it was acknowledged on receipt; it is not tried again");
    }
}
