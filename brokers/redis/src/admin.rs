//! Changing queues while they run.

use async_trait::async_trait;
use redis::{Cmd, Value};
use tidegate_core::{
    Admin, DeadFilter, Error, ErrorKind, Operation, QueueName, QueueSpec, Result, State,
};

use crate::driver::{Redis, settings};
use crate::inspect::Dead;
use crate::reply::{Parts, int_of, strange};
use crate::script;

const ADMINISTER: Operation = Operation::Administer;

#[async_trait]
impl Admin for Redis {
    async fn update(&self, spec: &QueueSpec) -> Result<QueueSpec> {
        self.open_still(ADMINISTER)?;
        let old = self.seen(&spec.name, ADMINISTER).await?;
        if old.revision != spec.revision {
            return Err(changed_meanwhile(spec, &old.revision.to_string()));
        }
        if let Some(field) = old.fixed_difference(spec) {
            let why = format!("the {field} of a queue cannot change; make a new queue");
            return Err(Error::new(ErrorKind::Conflict, ADMINISTER, why).on(&spec.name));
        }
        self.make_dead_letter_queue(spec, ADMINISTER).await?;
        let new = QueueSpec { revision: spec.revision + 1, ..spec.clone() };
        let text = serde_json::to_string(&new).map_err(|_| strange(ADMINISTER))?;
        for partition in self.partitions(&spec.name, spec) {
            let settings = settings(&new, partition.index);
            // WHY: the first partition decides; the others follow it, whatever they have missed.
            let decides = partition.index == 0;
            let update = |call: &mut Cmd| {
                call.arg(if decides { spec.revision.to_string() } else { String::new() });
                call.arg(new.revision).arg("spec").arg(&text);
                settings.iter().for_each(|(name, value)| {
                    call.arg(*name).arg(value);
                });
            };
            let answer = self.link.run(&script::UPDATE, &partition, ADMINISTER, update).await;
            let answer = answer.map_err(|error| error.on(&spec.name))?;
            let mut answer = Parts::of(answer, ADMINISTER)?;
            let (done, revision) = (answer.int()? == 1, answer.text()?);
            if decides && !done {
                return Err(changed_meanwhile(spec, &revision));
            }
        }
        self.forget(&spec.name);
        Ok(new)
    }

    async fn delete(&self, queue: &QueueName) -> Result<()> {
        self.open_still(ADMINISTER)?;
        let known = self.seen(queue, ADMINISTER).await?;
        if let Some(user) = self.user_of(queue, ADMINISTER).await? {
            let why = format!("it is the dead-letter queue of {user:?}; change that queue first");
            return Err(Error::new(ErrorKind::Conflict, ADMINISTER, why).on(queue));
        }
        // WHY: the first partition says that the queue is there, so it goes last.
        for partition in self.partitions(queue, &known).iter().rev() {
            self.carry_over(partition, ADMINISTER).await?;
            self.link.run(&script::DELETE, partition, ADMINISTER, |_| {}).await?;
        }
        self.link.command::<i64>(&["SREM", &self.registry(), queue.as_str()], ADMINISTER).await?;
        self.forget(queue);
        Ok(())
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.open_still(ADMINISTER)?;
        let known = self.seen(queue, ADMINISTER).await?;
        let mut purged = 0;
        for partition in self.partitions(queue, &known) {
            let answer = self.change(&script::PURGE, &partition, ADMINISTER, |_| {}).await;
            purged += count(&answer.map_err(|error| error.on(queue))?)?;
        }
        Ok(purged)
    }

    async fn purge_dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.open_still(ADMINISTER)?;
        self.for_dead(queue, filter, &script::DROP_DEAD).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<()> {
        self.open_still(ADMINISTER)?;
        let known = self.seen(queue, ADMINISTER).await?;
        for partition in self.partitions(queue, &known) {
            let pause = |call: &mut Cmd| {
                call.arg(u8::from(paused));
            };
            self.change(&script::PAUSE, &partition, ADMINISTER, pause).await?;
        }
        Ok(())
    }

    async fn redrive(&self, queue: &QueueName, filter: &DeadFilter) -> Result<u64> {
        self.open_still(ADMINISTER)?;
        self.for_dead(queue, filter, &script::REDRIVE).await
    }
}

impl Redis {
    /// Runs a script on the dead of a queue that nobody holds, as many as are meant, oldest first.
    async fn for_dead(
        &self,
        queue: &QueueName,
        filter: &DeadFilter,
        script: &script::Script,
    ) -> Result<u64> {
        let mut dead = self.dead_of(queue, filter, ADMINISTER).await?;
        dead.retain(|dead| dead.view.state != State::Leased);
        dead.truncate(filter.limit());
        let mut done = 0;
        // WHY: in runs of one partition, so that what goes back does so in the order of the deaths.
        for run in dead.chunk_by(|a, b| a.lies_in == b.lies_in) {
            for some in run.chunks(crate::capabilities::BATCH_MAX) {
                let Some(first) = some.first() else { continue };
                let numbers = |call: &mut Cmd| {
                    some.iter().map(Dead::number).for_each(|number| {
                        call.arg(number);
                    });
                };
                let changed = self.change_and_carry(script, &first.lies_in, ADMINISTER, numbers);
                done += count(&changed.await?)?;
            }
        }
        Ok(done)
    }
}

fn count(answer: &Value) -> Result<u64> {
    u64::try_from(int_of(answer, ADMINISTER)?).map_err(|_| strange(ADMINISTER))
}

fn changed_meanwhile(spec: &QueueSpec, revision: &str) -> Error {
    let why = format!(
        "the queue was changed meanwhile: its revision is {revision}, not {}; read it again",
        spec.revision
    );
    Error::new(ErrorKind::Conflict, ADMINISTER, why).on(&spec.name)
}
