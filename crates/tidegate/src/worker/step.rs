//! A worker's work without its roles: one task at a time, on the caller's own future. Tests of
//! applications use it, because nothing happens that they did not ask for.

use tidegate_core::{Lease, QueueName, ReceiveOptions, Result, Settled, Task, Verdict};

use super::metrics::{Metrics, add};
use super::place::{Finished, Place};
use super::settler::Rules;
use super::{Shared, Until, Worker, executor};
use crate::context::Context;
use crate::outcome::Outcome;

/// A worker that takes one task at a time.
pub(crate) struct Stepper {
    shared: Shared,
}

/// What became of one task.
pub(crate) struct Stepped {
    pub(crate) task: Task,
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Verdict,
    pub(crate) settled: Settled,
}

impl Stepper {
    pub(crate) async fn open(worker: Worker) -> Result<Self> {
        Ok(Self { shared: worker.open(Until::Stopped).await? })
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = &QueueName> {
        self.shared.places.iter().map(|place| place.queue())
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.shared.counters.snapshot()
    }

    /// Works on the next ready task of the queues, in their order; nothing if none is ready.
    pub(crate) async fn step(&self) -> Result<Option<Stepped>> {
        for place in &self.shared.places {
            let lease = self.shared.options.lease;
            let options = ReceiveOptions { lease, ..ReceiveOptions::up_to(1) };
            let leases = place.receiver().receive(&options).await?;
            if let Some(lease) = leases.into_iter().next() {
                return self.work_on(lease, place).await.map(Some);
            }
        }
        Ok(None)
    }

    async fn work_on(&self, lease: Lease, place: &Place) -> Result<Stepped> {
        let shared = &self.shared;
        add(&shared.counters.received, 1);
        let context = Context::new(lease, place.home.clone(), shared.broker.clock().now());
        let outcome = match executor::prepare(shared, &context) {
            Ok((_, work)) => shared.read(&context, executor::to_the_end(work).await),
            Err(outcome) => outcome,
        };
        let rules = Rules::new(shared, place.policy().await);
        let verdict = rules.verdict(&outcome, context.attempt());
        let (token, follow_ups) = (context.token(), outcome.follow_ups());
        let settled = match follow_ups {
            [] => place.receiver().settle_one(token, verdict.clone()).await?,
            _ => {
                let broker = &shared.broker;
                broker.settle_and_enqueue(place.queue(), token, &verdict, follow_ups).await?.0
            }
        };
        let finished = Finished { slot: 0, context, outcome };
        shared.note_settled(&finished, &verdict, Ok(settled));
        let task = finished.context.task().clone();
        Ok(Stepped { task, outcome: finished.outcome, verdict, settled })
    }
}
