//! Settling a task and enqueueing what follows from it, in one script and so in one partition.

use async_trait::async_trait;
use tidegate_core::{
    Atomic, Enqueued, Error, ErrorKind, FollowUp, LeaseToken, Operation, QueueName, Result,
    Settled, TaskId, Verdict,
};

use crate::driver::{Redis, full, outcome};
use crate::envelope;
use crate::reply::{Parts, strange};
use crate::script;
use crate::session::{settled, words_of};
use crate::token::Fenced;

const SETTLE: Operation = Operation::Settle;

#[async_trait]
impl Atomic for Redis {
    async fn settle_and_enqueue(
        &self,
        queue: &QueueName,
        token: &LeaseToken,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> Result<(Settled, Vec<Enqueued>)> {
        self.open_still(SETTLE)?;
        let fenced = Fenced::read(token, queue, SETTLE)?;
        self.are_in_one_partition(queue, fenced, follow_ups).await?;
        let partition = self.partition(queue, fenced.partition);
        let ids: Vec<(TaskId, String)> = follow_ups
            .iter()
            .map(|follow_up| (follow_up.task.id, follow_up.task.id.to_string()))
            .collect();
        let mut written = Ok(());
        let answer = self.change(&script::SETTLE_AND_ENQUEUE, &partition, SETTLE, |call| {
            call.arg(fenced.queue).arg(fenced.number).arg(fenced.fence);
            let (word, after_us, said) = words_of(verdict);
            call.arg(word).arg(after_us).arg(said).arg(self.own_bound());
            for (FollowUp { queue: _, task }, (_, id)) in follow_ups.iter().zip(&ids) {
                let added = envelope::add(call, task, id, self.shared.config.serialization);
                written = std::mem::replace(&mut written, Ok(())).and(added);
            }
        });
        let mut answer = Parts::of(answer.await.map_err(|error| error.on(queue))?, SETTLE)?;
        written?;
        let code = answer.text()?;
        if code == "full" {
            return Err(full(queue, answer.number()?, SETTLE));
        }
        let mut enqueued = Vec::with_capacity(follow_ups.len());
        for (answer, (id, _)) in answer.parts()?.rest().into_iter().zip(ids) {
            enqueued.push(outcome(answer, id, &partition, queue, SETTLE)??);
        }
        Ok((settled(&code, SETTLE)?, enqueued))
    }
}

impl Redis {
    /// A follow-up without a key goes where the settled task is; one whose key belongs elsewhere is refused.
    async fn are_in_one_partition(
        &self,
        queue: &QueueName,
        fenced: Fenced,
        follow_ups: &[FollowUp],
    ) -> Result<()> {
        let known = self.known(queue, SETTLE).await?;
        for FollowUp { queue: to, task } in follow_ups {
            if to != queue {
                return Err(strange(SETTLE));
            }
            let Some(key) = task.ordering_key.as_deref() else { continue };
            let partition = known.router.route(Some(key), self.turn(), known.partitions);
            if partition != fenced.partition {
                let why = format!(
                    "the follow-up's key belongs to partition {partition} and the task to {}: on Redis one step stays in \
                     one partition; settle first and send then, or give both the same key",
                    fenced.partition
                );
                return Err(Error::new(ErrorKind::Unsupported, SETTLE, why).on(queue));
            }
        }
        Ok(())
    }
}
