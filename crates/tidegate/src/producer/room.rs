//! Waiting for room in a queue that is full.

use std::time::Duration;

use tidegate_core::{Enqueued, Error, ErrorKind, NewTask, QueueName, Result};

use super::Sender;
use crate::backoff::Backoff;

/// The first and the longest pause before a full queue is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What a producer does where a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The send is an error of kind `QueueFull`: the caller slows down, or drops what it can.
    #[default]
    Reject,
    /// It tries again, for this long by the broker's clock; then it is `QueueFull`. Only tasks that
    /// the broker rejected are sent again, so none is doubled.
    Wait {
        /// How long at most.
        timeout: Duration,
    },
}

impl Sender {
    /// Sends what was rejected again until there was room for all of it or the time is up.
    pub(super) async fn wait_for_room(
        &self,
        queue: &QueueName,
        tasks: Vec<NewTask>,
        mut outcomes: Vec<Result<Enqueued>>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let WhenFull::Wait { timeout } = self.when_full else {
            return Ok(outcomes);
        };
        let clock = self.broker.clock();
        let deadline = clock.now().plus(timeout);
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        loop {
            let rejected: Vec<usize> = positions_of_rejected(&outcomes);
            if rejected.is_empty() || clock.now() >= deadline {
                return Ok(outcomes);
            }
            backoff.wait(clock.as_ref(), deadline).await;
            let again: Vec<NewTask> =
                rejected.iter().filter_map(|position| tasks.get(*position).cloned()).collect();
            match self.broker.enqueue(queue, &again).await {
                Ok(answers) => put_back(&mut outcomes, &rejected, answers),
                // WHY: what was accepted before is known to be; only these are unknown now.
                Err(error) => return Ok(with_unknown(outcomes, &rejected, &error)),
            }
        }
    }
}

fn put_back(outcomes: &mut [Result<Enqueued>], rejected: &[usize], answers: Vec<Result<Enqueued>>) {
    for (position, answer) in rejected.iter().zip(answers) {
        if let Some(outcome) = outcomes.get_mut(*position) {
            *outcome = answer;
        }
    }
}

fn with_unknown(
    mut outcomes: Vec<Result<Enqueued>>,
    rejected: &[usize],
    error: &Error,
) -> Vec<Result<Enqueued>> {
    let unknown = rejected.iter().map(|_| Err(same(error))).collect();
    put_back(&mut outcomes, rejected, unknown);
    outcomes
}

/// An error like this one, for another task that shares its fate.
pub(super) fn same(error: &Error) -> Error {
    let same = Error::new(error.kind(), error.operation(), error.message());
    match error.subject() {
        Some(subject) => same.about(subject),
        None => same,
    }
}

fn positions_of_rejected(outcomes: &[Result<Enqueued>]) -> Vec<usize> {
    let full = |outcome: &Result<Enqueued>| {
        outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::QueueFull)
    };
    let positions = outcomes.iter().enumerate().filter(|(_, outcome)| full(outcome));
    positions.map(|(position, _)| position).collect()
}
