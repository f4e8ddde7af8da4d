//! Waiting for room in a full queue, as long as there is progress.

use std::time::Duration;

use tidegate::{Broker, ErrorKind, NewTask, Producer, QueueName, Result, WhenFull};

use super::Outcome;

/// Sends `tasks` in order and waits for room. Gives up when none came free for `patience`; then
/// what is left is `QueueFull`.
pub(super) async fn wait(
    broker: &Broker,
    queue: &QueueName,
    tasks: Vec<NewTask>,
    patience: Duration,
) -> Result<Vec<Outcome>> {
    let producer =
        Producer::builder(broker).when_full(WhenFull::Wait { timeout: patience }).build();
    let mut outcomes = producer.enqueue(queue, &tasks).await?;
    let mut before = tasks.len();
    loop {
        let full = positions_of_full(&outcomes);
        // WHY: a wait in which something was accepted was not in vain, so another begins.
        if full.is_empty() || full.len() == before {
            return Ok(outcomes);
        }
        before = full.len();
        let again: Vec<NewTask> =
            full.iter().filter_map(|position| tasks.get(*position).cloned()).collect();
        for (position, answer) in full.iter().zip(producer.enqueue(queue, &again).await?) {
            if let Some(outcome) = outcomes.get_mut(*position) {
                *outcome = answer;
            }
        }
    }
}

/// Which outcomes say that the queue was full.
fn positions_of_full(outcomes: &[Outcome]) -> Vec<usize> {
    let is_full = |outcome: &Outcome| {
        outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::QueueFull)
    };
    let positions = outcomes.iter().enumerate().filter(|(_, outcome)| is_full(outcome));
    positions.map(|(position, _)| position).collect()
}
