//! Faults of declaring and enqueueing.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Capabilities, Capacity, Driver, Enqueued, ErrorKind, NewTask, QueueName, QueueSpec, Result,
    Session, SessionOptions, Unique,
};

use super::session::FaultySession;
use super::{Fault, Faulty};

/// A batch from this many tasks on is a long one.
const LONG_BATCH: usize = 100;

#[async_trait]
impl Driver for Faulty {
    fn capabilities(&self) -> &Capabilities {
        self.parts.driver.capabilities()
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        let mut spec = spec.clone();
        if self.has(Fault::CapacityIgnored) {
            spec.capacity = Capacity::Unbounded;
        }
        if self.has(Fault::RetentionIgnored) {
            spec.retention = None;
        }
        match self.parts.driver.declare(&spec).await {
            Err(error)
                if self.has(Fault::ConflictIgnored) && error.kind() == ErrorKind::Conflict =>
            {
                Ok(())
            }
            answer => answer,
        }
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        let mut tasks: Vec<NewTask> = tasks.iter().map(|task| self.spoil(task)).collect();
        let forgets = self.has(Fault::AcknowledgedAndNotKept) && tasks.len() >= LONG_BATCH;
        let forgotten = if forgets { tasks.pop() } else { None };
        let mut answer = self.parts.driver.enqueue(queue, &tasks).await;
        if self.has(Fault::UnknownQueueIsMade) && is_missing(&answer) {
            self.parts.driver.declare(&QueueSpec::new(queue.clone())).await?;
            answer = self.parts.driver.enqueue(queue, &tasks).await;
        }
        let mut outcomes = answer?;
        outcomes.extend(
            forgotten
                .map(|task| Ok(Enqueued { id: task.id, sequence: u64::MAX, deduplicated: false })),
        );
        if self.has(Fault::OutcomesReversed) {
            outcomes.reverse();
        }
        Ok(outcomes)
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        let session = self.parts.driver.open(queue, options).await?;
        let parts = self.parts.clone();
        // WHY: faults that remember tokens remember those of one session, which is where their
        // cases look for them; those that repeat a task must do so in any.
        let faulty = Faulty { fault: self.fault, parts, memory: Default::default() };
        Ok(Arc::new(FaultySession { faulty, session }))
    }

    async fn close(&self) -> Result<()> {
        if self.has(Fault::CloseForgotten) {
            return Ok(());
        }
        self.parts.driver.close().await
    }
}

fn is_missing<T>(answer: &Result<T>) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

impl Faulty {
    fn spoil(&self, task: &NewTask) -> NewTask {
        let mut task = task.clone();
        match self.fault {
            Fault::DelayIgnored => task.delay = Default::default(),
            Fault::PriorityIgnored => task.priority = 0,
            Fault::DedupIgnored => task.dedup = None,
            Fault::OrderingKeyDropped => task.ordering_key = None,
            Fault::HeadersDropped => task.headers.clear(),
            Fault::PayloadTruncated => {
                let end = task.payload.iter().position(|byte| *byte == 0);
                task.payload.truncate(end.unwrap_or(task.payload.len()));
            }
            _ => {}
        }
        if let Some(dedup) = &mut task.dedup {
            match (self.fault, dedup.unique) {
                (Fault::DedupOverreaches, _) => dedup.key = "one".into(),
                (Fault::WindowEndsWithItsTask, _) => dedup.unique = Unique::UntilDone,
                (Fault::WindowTooLong, Unique::Window(window)) => {
                    dedup.unique = Unique::Window(window * 2);
                }
                _ => {}
            }
        }
        task
    }
}
