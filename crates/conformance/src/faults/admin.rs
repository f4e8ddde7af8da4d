//! Faults of changing queues, and of doing two things in one step.

use async_trait::async_trait;
use tidegate_core::error::Operation;
use tidegate_core::{
    Admin, Atomic, DeadFilter, Enqueued, Error, ErrorKind, FollowUp, LeaseToken, NewTask,
    QueueName, QueueSpec, Result, SessionOptions, Settled, Verdict,
};

use super::{Fault, Faulty};

#[async_trait]
impl Admin for Faulty {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        let mut spec = spec.clone();
        if self.has(Fault::UpdateIgnored) {
            return Ok(QueueSpec { revision: spec.revision + 1, ..spec });
        }
        if let (Fault::UpdateNotCompared, Some(inspect)) = (self.fault, &self.parts.inspect) {
            spec.revision = inspect.spec(&spec.name).await?.revision;
        }
        self.sound_admin()?.update(&spec).await
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        if self.has(Fault::DeleteIgnored) {
            return Ok(());
        }
        self.sound_admin()?.delete(queue).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        let purged = self.sound_admin()?.purge(queue).await?;
        if self.has(Fault::PurgeLeavesOne) {
            self.parts.driver.enqueue(queue, &[NewTask::new("left", "behind")]).await?;
        }
        Ok(purged)
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.sound_admin()?.purge_dead(queue, &self.filter(filter, Fault::PurgeDeadTakesAll)).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        if self.has(Fault::PauseIgnored) {
            return Ok(());
        }
        self.sound_admin()?.pause(queue, paused).await
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        if self.has(Fault::RedriveDoesNothing) {
            return Ok(0);
        }
        self.sound_admin()?.redrive(queue, &self.filter(filter, Fault::RedriveTakesAll)).await
    }
}

impl Faulty {
    fn sound_admin(&self) -> Result<&dyn Admin> {
        self.parts.admin.as_deref().ok_or_else(|| missing(Operation::Administer))
    }

    fn filter(&self, filter: &DeadFilter, fault: Fault) -> DeadFilter {
        if self.has(fault) { DeadFilter::default() } else { filter.clone() }
    }
}

#[async_trait]
impl Atomic for Faulty {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        let atomic = self.parts.atomic.as_ref().ok_or_else(|| missing(Operation::Settle))?;
        if self.has(Fault::StepEnqueuesNothing) {
            let (settled, _) = atomic.settle_and_enqueue(queue, token, verdict, &[]).await?;
            let ids = follow_ups.iter().map(|follow_up| follow_up.task.id);
            let words = ids.map(|id| Enqueued { id, sequence: u64::MAX, deduplicated: false });
            return Ok((settled, words.collect()));
        }
        let answer = atomic.settle_and_enqueue(queue, token, verdict, follow_ups).await;
        match &answer {
            Ok((Settled::Lost(_), _)) if self.has(Fault::StepEnqueuesOnStale) => {
                for FollowUp { queue, task } in follow_ups {
                    self.parts.driver.enqueue(queue, std::slice::from_ref(task)).await?;
                }
            }
            Err(_) if self.has(Fault::StepSettlesOnFailure) => {
                let session = self.parts.driver.open(queue, &SessionOptions::default()).await?;
                let _ = session.settle(&[(token.clone(), verdict.clone())]).await?;
            }
            _ => {}
        }
        answer
    }
}

pub(super) fn missing(operation: Operation) -> Error {
    Error::new(ErrorKind::Unsupported, operation, "the broker beneath has no such part")
}
