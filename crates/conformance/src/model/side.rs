//! One side of the comparison: a broker, its clock, and the leases it handed out.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_core::{
    AttemptId, Broker, Capacity, DeadFilter, Error, FollowUp, Holder, LeaseToken, ListOptions,
    ManualClock, NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions, Receiver, Result,
    SessionOptions, TaskId, Verdict,
};

use super::answer;
use super::command::{Change, Command, Decision, Pick, Sent, dead_letters, queue_name, spec};

/// A broker that is being given commands.
pub(super) struct Side {
    broker: Broker,
    clock: ManualClock,
    sessions: HashMap<u8, Receiver>,
    /// Every lease handed out, in order, with its queue and the length it was given last.
    leases: Vec<(u8, LeaseToken, Duration)>,
    sent: u64,
    /// A broker may have forgotten its receives when it is opened again, so each time has its own names.
    opened: u32,
}

impl Side {
    pub(super) fn new(broker: Broker, clock: ManualClock) -> Self {
        Self { broker, clock, sessions: HashMap::new(), leases: Vec::new(), sent: 0, opened: 0 }
    }

    /// Goes on with the broker as it was opened again.
    pub(super) fn reopened(&mut self, broker: Broker) {
        self.broker = broker;
        self.sessions.clear();
        self.opened += 1;
    }

    /// Does to the model what a restart does to a broker whose clients outlive it.
    pub(super) async fn give_leases_their_full_length(&mut self) {
        self.sessions.clear();
        self.opened += 1;
        for (queue, token, length) in self.leases.clone() {
            // WHY: those that are no longer live are refused, which is what is wanted.
            if let Ok(session) = self.session(queue).await {
                let _ = session.extend_one(&token, length).await;
            }
        }
        self.sessions.clear();
        // WHY: a broker that is opened again has not seen any spec yet, which shows in what it
        // refuses about queues that were deleted.
        self.broker = Broker::new(self.broker.parts().clone());
    }

    /// Carries a command out and tells the answer in words that are the same on both sides.
    pub(super) async fn run(&mut self, command: &Command) -> String {
        match self.try_run(command).await {
            Ok(answer) => answer,
            Err(error) => format!("error {:?}", error.kind()),
        }
    }

    async fn try_run(&mut self, command: &Command) -> Result<String> {
        match command {
            Command::Declare { queue, variant } => {
                self.broker.declare(&spec(*queue, *variant)).await.map(|()| "done".into())
            }
            Command::Enqueue { queue, tasks } => self.enqueue(*queue, tasks).await,
            Command::Receive { queue, limit, per_key, lease, attempt } => {
                let name = |n| AttemptId::new(format!("{} of {}", n, self.opened)).ok();
                let options = ReceiveOptions {
                    limit: *limit,
                    per_key: *per_key,
                    wait: Duration::ZERO,
                    lease: lease.map(Duration::from_millis),
                    attempt_id: attempt.and_then(name),
                };
                self.receive(*queue, &options).await
            }
            Command::Settle { queue, verdicts } => self.settle(*queue, verdicts).await,
            Command::Extend { queue, leases } => self.extend(*queue, leases).await,
            Command::Step { queue, pick, decision, follow_ups } => {
                self.step(*queue, *pick, *decision, follow_ups).await
            }
            Command::CloseSession { queue, release } => {
                let session = self.session(*queue).await?;
                self.sessions.remove(queue);
                session.close(Command::held(*release)).await.map(|()| "done".into())
            }
            Command::Advance { ms } => {
                self.clock.advance(Duration::from_millis(*ms));
                Ok("done".into())
            }
            Command::Look { queue } => self.look(&queue_name(*queue)).await,
            Command::Restart => Ok("done".into()),
            Command::Pause { .. }
            | Command::Purge { .. }
            | Command::PurgeDead { .. }
            | Command::Redrive { .. }
            | Command::Update { .. }
            | Command::Delete { .. } => self.administer(command).await,
        }
    }

    async fn administer(&mut self, command: &Command) -> Result<String> {
        let admin = self.broker.admin()?.clone();
        let count = |count: u64| format!("{count} tasks");
        match command {
            Command::Pause { queue, paused } => {
                admin.pause(&queue_name(*queue), *paused).await.map(|()| "done".into())
            }
            Command::Purge { queue } => admin.purge(&queue_name(*queue)).await.map(count),
            Command::PurgeDead { queue, limit, reason } => {
                admin.purge_dead(&queue_name(*queue), &filter(*limit, *reason)).await.map(count)
            }
            Command::Redrive { queue, limit, reason } => {
                admin.redrive(&queue_name(*queue), &filter(*limit, *reason)).await.map(count)
            }
            Command::Update { queue, change, stale } => {
                self.update(&queue_name(*queue), *change, *stale).await
            }
            Command::Delete { queue } => {
                admin.delete(&queue_name(*queue)).await?;
                // WHY: what a session of a deleted queue does once the queue is made again is not
                // promised.
                self.sessions.remove(queue);
                Ok("done".into())
            }
            other => Ok(format!("{other:?} is no command of an administrator")),
        }
    }

    async fn session(&mut self, queue: u8) -> Result<Receiver> {
        if let Some(session) = self.sessions.get(&queue) {
            return Ok(session.clone());
        }
        let options = SessionOptions { holder: Holder::Client, ..SessionOptions::default() };
        let session = self.broker.open(&queue_name(queue), &options).await?;
        self.sessions.insert(queue, session.clone());
        Ok(session)
    }

    async fn enqueue(&mut self, queue: u8, tasks: &[Sent]) -> Result<String> {
        let tasks: Vec<NewTask> = tasks.iter().map(|sent| self.new_task(sent)).collect();
        let outcomes = self.broker.enqueue(&queue_name(queue), &tasks).await?;
        let outcome = |outcome: &Result<_>| match outcome {
            Ok(enqueued) => answer::enqueued(enqueued),
            Err(error) => refused(error),
        };
        Ok(outcomes.iter().map(outcome).collect::<Vec<_>>().join(", "))
    }

    fn new_task(&mut self, sent: &Sent) -> NewTask {
        let Sent { key, delay, priority, dedup } = sent;
        self.sent += 1;
        let number = self.sent;
        let mut task = NewTask::new("model", number.to_string())
            .header("number", number.to_string())
            .delay(Duration::from_millis(*delay))
            .priority(*priority);
        task.id = answer::id(number);
        task.ordering_key = key.map(|key| format!("k{key}"));
        if let Some((key, window)) = dedup {
            task = task.dedup(format!("d{key}"), Sent::unique(*window));
        }
        task
    }

    async fn receive(&mut self, queue: u8, options: &ReceiveOptions) -> Result<String> {
        let leases = self.session(queue).await?.receive(options).await?;
        for lease in &leases {
            match self.leases.iter_mut().find(|known| known.1 == lease.token) {
                Some(again) => again.2 = lease.duration,
                None => self.leases.push((queue, lease.token.clone(), lease.duration)),
            }
        }
        Ok(leases.iter().map(answer::lease).collect::<Vec<_>>().join(", "))
    }

    async fn settle(&mut self, queue: u8, verdicts: &[(Pick, Decision)]) -> Result<String> {
        let session = self.session(queue).await?;
        let verdicts: Vec<_> = verdicts
            .iter()
            .map(|(pick, decision)| (self.token(queue, *pick), verdict(*decision)))
            .collect();
        Ok(format!("{:?}", session.settle(&verdicts).await?))
    }

    async fn extend(&mut self, queue: u8, leases: &[(Pick, u64)]) -> Result<String> {
        let session = self.session(queue).await?;
        let leases: Vec<_> = leases
            .iter()
            .map(|(pick, ms)| (self.token(queue, *pick), Duration::from_millis(*ms)))
            .collect();
        let outcomes = session.extend(&leases).await?;
        for (token, length) in leases {
            let lease = self.leases.iter_mut().find(|lease| lease.1 == token);
            lease.into_iter().for_each(|lease| lease.2 = length);
        }
        Ok(format!("{outcomes:?}"))
    }

    async fn step(
        &mut self,
        queue: u8,
        pick: Pick,
        decision: Decision,
        follow_ups: &[(u8, Sent)],
    ) -> Result<String> {
        let token = self.token(queue, pick);
        let follow_ups: Vec<_> = follow_ups
            .iter()
            .map(|(to, sent)| FollowUp { queue: queue_name(*to), task: self.new_task(sent) })
            .collect();
        let (settled, enqueued) = self
            .broker
            .settle_and_enqueue(&queue_name(queue), &token, &verdict(decision), &follow_ups)
            .await?;
        let enqueued: Vec<_> = enqueued.iter().map(answer::enqueued).collect();
        Ok(format!("{settled:?} and {}", enqueued.join(", ")))
    }

    fn token(&self, queue: u8, pick: Pick) -> LeaseToken {
        let picked = match pick {
            Pick::Newest(back) => self.leases.iter().rev().filter(|l| l.0 == queue).nth(back),
            Pick::Any(nth) => self.leases.get(nth % self.leases.len().max(1)),
            Pick::Garbage => None,
        };
        picked.map_or_else(|| LeaseToken::from_bytes(&b"garbage"[..]), |lease| lease.1.clone())
    }

    async fn update(&self, queue: &QueueName, change: Change, stale: bool) -> Result<String> {
        let mut spec = self.broker.inspect()?.spec(queue).await?;
        if stale {
            spec.revision = spec.revision.saturating_sub(1);
        }
        match change {
            Change::Lease(ms) => spec.lease = Duration::from_millis(ms),
            Change::Capacity(bound) => spec.capacity = Capacity::Bounded(bound),
            Change::MaxAttempts(most) => spec.retry.max_attempts = most,
            Change::Retention(ms) => spec.retention = ms.map(Duration::from_millis),
            Change::DeadLetterQueue(moving) => spec.dead_letters = dead_letters(moving),
            Change::Ordering => {
                spec.ordering = match spec.ordering {
                    Ordering::None => Ordering::Key,
                    Ordering::Key => Ordering::None,
                };
            }
        }
        let QueueSpec { revision, .. } = self.broker.update(&spec).await?;
        Ok(format!("revision {revision}"))
    }

    async fn look(&self, queue: &QueueName) -> Result<String> {
        let inspect = self.broker.inspect()?;
        let queues = inspect.queues().await?;
        let spec = inspect.spec(queue).await?;
        let stats = inspect.stats(queue).await?;
        let peeked = inspect.peek(queue, 3).await?;
        let first = ListOptions { state: None, after: None, limit: 4 };
        let mut listed = inspect.list(queue, &first).await?;
        if let Some(last) = listed.last() {
            let rest = ListOptions { after: Some(last.task.sequence), limit: 1_000, ..first };
            listed.extend(inspect.list(queue, &rest).await?);
        }
        let dead = inspect.dead(queue, &DeadFilter::default()).await?;
        let found = match listed.first() {
            Some(view) => inspect.get(queue, view.task.id).await?,
            None => inspect.get(queue, TaskId::from_bytes([0; 16])).await?,
        };
        let found: Vec<_> = found.into_iter().collect();
        Ok(format!(
            "{queues:?}\n{spec:?}\n{stats:?}\nnext {}\nall {}\ndead {}\nfound {}",
            answer::views(&peeked),
            answer::views(&listed),
            answer::views(&dead),
            answer::views(&found)
        ))
    }
}

fn refused(error: &Error) -> String {
    format!("refused {:?}", error.kind())
}

fn filter(limit: Option<usize>, reason: Option<u8>) -> DeadFilter {
    DeadFilter { limit, reason: reason.map(|reason| format!("r{reason}")) }
}

fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Complete => Verdict::Complete,
        Decision::Retry { after, error } => Verdict::Retry {
            after: Duration::from_millis(after),
            error: error.map(|error| format!("e{error}")),
        },
        Decision::Release { after } => Verdict::Release { after: Duration::from_millis(after) },
        Decision::DeadLetter { reason } => Verdict::DeadLetter { reason: format!("r{reason}") },
    }
}
