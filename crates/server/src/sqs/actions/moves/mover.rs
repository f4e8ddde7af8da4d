//! Who moves: a part at a time, writing down after each how far it came.
//!
//! A message goes back to where it came from by the broker's own redrive. To another queue it goes in
//! one step where the broker has one for that, and else in two, the first of which is deduplicated by
//! the message's id: what is cut between them is moved once all the same.

use std::time::Duration;

use tidegate_core::atomic::FollowUp;
use tidegate_core::capabilities::AtomicScope;
use tidegate_core::task::Task;
use tidegate_core::{
    DeadFilter, Lease, NewTask, QueueName, ReceiveOptions, Settled, Unique, Verdict,
};

use super::record::{Move, Moves, Status};
use crate::sqs::account::QueuePath;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::service::Service;

/// Most messages of a part. Between two parts it is seen whether the move was cancelled.
const PART: usize = 100;
/// How long a mover may be silent until another takes its move over.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The lease of messages on their way.
const LEASE: Duration = Duration::from_secs(30);
/// How long a message that was moved is kept from being moved again.
const MOVED_ONCE: Duration = Duration::from_secs(5 * 60);

/// Takes up moves that other servers have left.
pub(crate) async fn resume(service: &Service) {
    let queues = match service.queues().all().await {
        Ok(queues) => queues,
        Err(failure) => return tracing::warn!(why = %failure.message, "moves cannot be looked for"),
    };
    for (path, _) in queues {
        if let Err(failure) = take_over(service, &path).await {
            tracing::warn!(queue = %path, why = %failure.message, "a move cannot be taken up");
        }
    }
}

/// Goes on with the move out of a queue whose mover is gone, if there is one.
pub(super) async fn take_over(service: &Service, source: &QueuePath) -> Result<(), Failure> {
    let name = source.in_broker(&service.options().own)?;
    let queue = service.queues().read(source, &name).await?;
    let now = service.now();
    let is_left = |moves: &mut Moves| {
        let silence = |it: &mut Move| now.as_millis().saturating_sub(it.beat);
        moves.active().is_some_and(|it| silence(it) >= SILENCE_MAX.as_millis() as u64)
    };
    if !is_left(&mut queue.attributes.moves()) {
        return Ok(());
    }
    let taken = service.queues().update(source, |attributes| {
        let mut moves: Moves = attributes.moves();
        if !is_left(&mut moves) {
            return Ok(None);
        }
        let id = moves.active().map(|it| {
            it.beat = now.as_millis();
            it.id.clone()
        });
        attributes.set_moves(&moves);
        Ok(id)
    });
    if let Some(id) = taken.await? {
        spawn(service, source, &id);
    }
    Ok(())
}

/// Begins to move.
pub(super) fn spawn(service: &Service, source: &QueuePath, id: &str) {
    let mover = Mover { service: service.clone(), source: source.clone(), id: id.to_owned() };
    tokio::spawn(async move {
        if let Err(failure) = mover.run().await {
            tracing::warn!(queue = %mover.source, why = %failure.message, "a move has failed");
            let failed = mover.note(0, Some((Status::Failed, Some(failure.message)))).await;
            if let Err(failure) = failed {
                tracing::warn!(queue = %mover.source, why = %failure.message, "and cannot be noted");
            }
        }
    });
}

struct Mover {
    service: Service,
    source: QueuePath,
    id: String,
}

impl Mover {
    async fn run(&self) -> Result<(), Failure> {
        let Some(mut it) = self.note(0, None).await? else { return Ok(()) };
        loop {
            if it.status == Status::Cancelling {
                self.note(0, Some((Status::Cancelled, None))).await?;
                return Ok(());
            }
            if it.status != Status::Running {
                return Ok(());
            }
            // WHY: a server that ends leaves its move to the next one, which need not wait.
            if self.service.is_ending() {
                return self.leave().await;
            }
            let part = it.rate.map_or(PART, |rate| (rate as usize).min(PART));
            let began = self.service.now();
            let moved = match &it.destination {
                None => self.send_back(part).await?,
                Some(arn) => self.send_to(arn, part).await?,
            };
            if moved == 0 {
                self.finish(&it).await?;
                return Ok(());
            }
            if let Some(rate) = it.rate {
                let pause = Duration::from_secs_f64(moved as f64 / f64::from(rate));
                tokio::select! {
                    () = self.service.broker().clock().sleep_until(began.plus(pause)) => {}
                    () = self.service.ending() => {}
                }
            }
            match self.note(moved, None).await? {
                Some(next) => it = next,
                None => return Ok(()),
            }
        }
    }

    /// Writes down how far it came, and reads whether others want it otherwise. `None` if the move is no
    /// longer this one.
    async fn note(
        &self,
        moved: u64,
        end: Option<(Status, Option<String>)>,
    ) -> Result<Option<Move>, Failure> {
        let now = self.service.now().as_millis();
        let noted = self.service.queues().update(&self.source, |attributes| {
            let mut moves: Moves = attributes.moves();
            let noted = moves.active().filter(|it| it.id == self.id).map(|it| {
                it.moved += moved;
                it.beat = now;
                if let Some((status, failure)) = end.clone() {
                    it.status = status;
                    it.failure = failure;
                }
                it.clone()
            });
            attributes.set_moves(&moves);
            Ok(noted)
        });
        noted.await
    }

    async fn leave(&self) -> Result<(), Failure> {
        let left = self.service.queues().update(&self.source, |attributes| {
            let mut moves: Moves = attributes.moves();
            moves.active().filter(|it| it.id == self.id).into_iter().for_each(|it| it.beat = 0);
            attributes.set_moves(&moves);
            Ok(())
        });
        left.await
    }

    /// WHY: a message that was sent to the dead-letter queue itself came from nowhere.
    async fn finish(&self, it: &Move) -> Result<(), Failure> {
        let name = self.name(&self.source)?;
        let left = self.service.broker().inspect()?.stats(&name).await?.ready;
        let end = match it.destination {
            None if left > 0 => (Status::Failed, Some("CouldNotDetermineMessageSource".to_owned())),
            _ => (Status::Completed, None),
        };
        self.note(0, Some(end)).await?;
        Ok(())
    }

    fn name(&self, path: &QueuePath) -> Result<QueueName, Failure> {
        path.in_broker(&self.service.options().own)
    }

    async fn send_back(&self, part: usize) -> Result<u64, Failure> {
        let mut moved = 0;
        for (source, _) in self.service.queues().sources(&self.source).await? {
            let left = part.saturating_sub(moved as usize);
            if left > 0 {
                let filter = DeadFilter { limit: Some(left), reason: None };
                let name = self.name(&source)?;
                moved += self.service.broker().admin()?.redrive(&name, &filter).await?;
            }
        }
        Ok(moved)
    }

    async fn send_to(&self, arn: &str, part: usize) -> Result<u64, Failure> {
        let gone = || Code::ResourceNotFound.because("The destination is no longer there.");
        let destination = self.name(&QueuePath::of_arn(arn).ok_or_else(gone)?)?;
        let source = self.service.queues().get(&self.source).await?;
        let options = ReceiveOptions::up_to(part).leased_for(LEASE).per_key(part);
        let leases = source.place.receiver.receive(&options).await?;
        let count = leases.len() as u64;
        for lease in leases {
            self.move_one(&source.name, &destination, lease).await?;
        }
        Ok(count)
    }

    async fn move_one(
        &self,
        source: &QueueName,
        destination: &QueueName,
        lease: Lease,
    ) -> Result<(), Failure> {
        let broker = self.service.broker();
        let Lease { task, token, until: _, duration: _ } = lease;
        let task = moved(task);
        let is_one_step = broker.capabilities().atomic == AtomicScope::SameBroker
            && broker.parts().atomic.is_some();
        let settled = if is_one_step {
            let follow_ups = [FollowUp { queue: destination.clone(), task }];
            let both = broker.settle_and_enqueue(source, &token, &Verdict::Complete, &follow_ups);
            both.await?.0
        } else {
            broker.enqueue_one(destination, task).await?;
            let queue = self.service.queues().get(&self.source).await?;
            queue.place.receiver.settle_one(&token, Verdict::Complete).await?
        };
        // WHY: what another has taken meanwhile is theirs.
        match settled {
            Settled::Done { .. } | Settled::AlreadyDone | Settled::Lost(_) => Ok(()),
        }
    }
}

/// The task as it is sent on.
fn moved(task: Task) -> NewTask {
    let mut new = NewTask::new(task.kind, task.payload);
    new.headers = task.headers;
    new.ordering_key = task.ordering_key;
    new.dedup(format!("sqs.moved.{}", task.id), Unique::Window(MOVED_ONCE))
}
