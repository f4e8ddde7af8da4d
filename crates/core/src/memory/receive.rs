//! Receiving: what is handed out, and what is handed out once more.

use std::time::Duration;

use super::entry::{Condition, Entry};
use super::queue::{Given, Queue};
use super::store::Store;
use super::token::Fenced;
use crate::clock::Timestamp;
use crate::driver::ReceiveOptions;
use crate::error::{Operation, Result};
use crate::lease::Lease;
use crate::name::QueueName;

impl Store {
    pub(super) fn receive(
        &mut self,
        name: &QueueName,
        session: u64,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Result<Vec<Lease>> {
        let queue = self.queue(name, Operation::Receive)?;
        let duration = options.lease.unwrap_or(queue.spec.lease);
        if let Some(given) = given_before(queue, options, now) {
            let leases = self.give_again(name, &given, session, duration, now);
            self.note_attempt(name, options, &leases, now);
            return Ok(leases);
        }
        if queue.paused {
            return Ok(Vec::new());
        }
        let next_up = queue.next_up(options.limit, options.per_key);
        let hand_out = |sequence| self.hand_out(name, sequence, session, duration, now);
        let leases: Vec<_> = next_up.into_iter().filter_map(hand_out).collect();
        self.note_attempt(name, options, &leases, now);
        Ok(leases)
    }

    /// Hands the tasks of an earlier receive out again as they were, their leases begun anew.
    fn give_again(
        &mut self,
        name: &QueueName,
        given: &Given,
        session: u64,
        duration: Duration,
        now: Timestamp,
    ) -> Vec<Lease> {
        let until = now.plus(duration);
        let mut leases = Vec::new();
        for &(sequence, fence) in &given.tasks {
            let Some(queue) = self.queues.get_mut(name) else { break };
            let Some(entry) = queue.tasks.get(&sequence) else { continue };
            let (task, id) = (entry.to_task(name), queue.id);
            queue.set_condition(sequence, Condition::Leased { until, session }, now);
            self.set_timer(name, sequence);
            let token = Fenced { queue: id, sequence, fence }.to_token();
            leases.push(Lease { task, token, until, duration });
        }
        leases
    }

    fn note_attempt(
        &mut self,
        name: &QueueName,
        options: &ReceiveOptions,
        leases: &[Lease],
        now: Timestamp,
    ) {
        let Some(id) = options.attempt_id.clone() else { return };
        let Some(queue) = self.queues.get_mut(name) else { return };
        let Some(first) = leases.first() else { return };
        let sequences = leases.iter().map(|lease| lease.task.sequence);
        let fenced = sequences.filter_map(|n| Some((n, queue.tasks.get(&n)?.fence)));
        let given = Given { until: first.until, tasks: fenced.collect() };
        queue.attempts.remember(id, given, now);
    }

    fn hand_out(
        &mut self,
        name: &QueueName,
        sequence: u64,
        session: u64,
        duration: Duration,
        now: Timestamp,
    ) -> Option<Lease> {
        let fence = self.number();
        let until = now.plus(duration);
        let queue = self.queues.get_mut(name)?;
        let entry = queue.tasks.get_mut(&sequence)?;
        entry.deliveries = entry.deliveries.saturating_add(1);
        entry.fence = fence;
        entry.settled = false;
        let task = entry.to_task(name);
        let token = Fenced { queue: queue.id, sequence, fence }.to_token();
        queue.set_condition(sequence, Condition::Leased { until, session }, now);
        self.set_timer(name, sequence);
        Some(Lease { task, token, until, duration })
    }
}

/// What an earlier receive of the same attempt id handed out, if all of it is still held like that.
fn given_before(queue: &Queue, options: &ReceiveOptions, now: Timestamp) -> Option<Given> {
    let given = queue.attempts.get(options.attempt_id.as_ref()?, now)?;
    let is_held = |(sequence, fence): &(u64, u64)| {
        let held = |entry: &Entry| {
            let ends =
                matches!(entry.condition, Condition::Leased { until, .. } if until == given.until);
            entry.fence == *fence && ends
        };
        queue.tasks.get(sequence).is_some_and(held)
    };
    let fits = given.tasks.len() <= options.limit;
    (fits && given.tasks.iter().all(is_held)).then(|| given.clone())
}
