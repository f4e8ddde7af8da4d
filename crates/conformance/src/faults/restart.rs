//! A broker in memory that plays a restart, soundly or with a fault: so that what the suite says
//! about durability is put to the test before a durable broker is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::error::Operation;
use tidegate_core::{
    Broker, BrokerParts, Capabilities, Driver, Enqueued, Error, ErrorKind, Held, Holder, Lease,
    LeaseToken, ManualClock, NewTask, QueueName, QueueSpec, ReceiveOptions, Result, Session,
    SessionOptions, Settled, TaskId, Verdict, memory,
};

/// One thing that a restart gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartFault {
    /// Live tasks are gone.
    TasksLost,
    /// Completed tasks come again.
    CompletedReturn,
    /// Leases of the process go on.
    ProcessLeasesGoOn,
    /// Leases of clients end at once.
    ClientLeasesEnd,
    /// Leases of clients get no time for the restart.
    ClientLeasesGetNothing,
    /// Tokens from before are not read any more.
    TokensForgotten,
    /// Tokens from before are given out again.
    TokensRepeated,
    /// Deliveries are counted from the start.
    DeliveriesForgotten,
    /// Dedup keys are free.
    KeysForgotten,
    /// Paused queues hand out.
    PausesForgotten,
}

impl RestartFault {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::TasksLost,
        Self::CompletedReturn,
        Self::ProcessLeasesGoOn,
        Self::ClientLeasesEnd,
        Self::ClientLeasesGetNothing,
        Self::TokensForgotten,
        Self::TokensRepeated,
        Self::DeliveriesForgotten,
        Self::KeysForgotten,
        Self::PausesForgotten,
    ];
}

/// A memory broker that declares to be durable, and how it is restarted.
#[derive(Clone, Debug)]
pub struct Restarting {
    clock: ManualClock,
    fault: Option<RestartFault>,
    inner: Broker,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    restarted: bool,
    leases: Vec<(QueueName, Holder, LeaseToken, Duration)>,
    completed: Vec<QueueName>,
    first_token: HashMap<TaskId, LeaseToken>,
}

impl Restarting {
    /// A fresh one. With no fault it keeps what it declares.
    pub fn new(clock: ManualClock, fault: Option<RestartFault>) -> Self {
        let inner = memory::broker(Arc::new(clock.clone()));
        Self { clock, fault, inner, seen: Arc::default() }
    }

    /// The broker, as opened first or again.
    pub fn broker(&self) -> Broker {
        let capabilities = Capabilities { durable: true, ..memory::capabilities() };
        let driver = RestartingDriver { restarting: self.clone(), capabilities };
        let parts = self.inner.parts().clone();
        Broker::new(BrokerParts { driver: Arc::new(driver), ..parts })
    }

    /// Plays a restart.
    pub async fn restart(&self) -> Result<Broker> {
        let (leases, completed) = {
            let mut seen = self.seen();
            seen.restarted = true;
            (seen.leases.clone(), std::mem::take(&mut seen.completed))
        };
        let of_process = leases.iter().any(|(_, holder, _, _)| *holder == Holder::Process);
        for (queue, holder, token, length) in leases {
            self.restart_lease(&queue, holder, token, length).await?;
        }
        if of_process {
            self.clock.advance(MOMENT);
        }
        for queue in completed.into_iter().filter(|_| self.has(RestartFault::CompletedReturn)) {
            self.inner.enqueue(&queue, &[NewTask::new("again", "completed")]).await?;
        }
        for queue in self.inner.inspect()?.queues().await? {
            if self.has(RestartFault::TasksLost) {
                self.inner.admin()?.purge(&queue).await?;
            }
            if self.has(RestartFault::PausesForgotten) {
                self.inner.admin()?.pause(&queue, false).await?;
            }
        }
        Ok(self.broker())
    }

    async fn restart_lease(
        &self,
        queue: &QueueName,
        holder: Holder,
        token: LeaseToken,
        length: Duration,
    ) -> Result<()> {
        let length = match (holder, self.fault) {
            (Holder::Process, Some(RestartFault::ProcessLeasesGoOn)) => return Ok(()),
            (Holder::Process, _) | (Holder::Client, Some(RestartFault::ClientLeasesEnd)) => MOMENT,
            (Holder::Client, Some(RestartFault::ClientLeasesGetNothing)) => return Ok(()),
            (Holder::Client, _) => length,
        };
        // WHY: a queue that was deleted has no leases left to look after.
        if let Ok(session) = self.inner.parts().driver.open(queue, &SessionOptions::default()).await
        {
            session.extend(&[(token, length)]).await?;
        }
        Ok(())
    }

    fn has(&self, fault: RestartFault) -> bool {
        self.fault == Some(fault)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker was restarted and `fault` shows since.
    fn shows(&self, fault: RestartFault) -> bool {
        self.has(fault) && self.seen().restarted
    }
}

/// What a lease that ends at once is given to end in.
const MOMENT: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct RestartingDriver {
    restarting: Restarting,
    capabilities: Capabilities,
}

#[async_trait]
impl Driver for RestartingDriver {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.restarting.inner.parts().driver.declare(spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        let mut tasks = tasks.to_vec();
        if self.restarting.shows(RestartFault::KeysForgotten) {
            tasks.iter_mut().for_each(|task| task.dedup = None);
        }
        self.restarting.inner.parts().driver.enqueue(queue, &tasks).await
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        let session = self.restarting.inner.parts().driver.open(queue, options).await?;
        let (restarting, queue) = (self.restarting.clone(), queue.clone());
        Ok(Arc::new(RestartingSession { restarting, queue, holder: options.holder, session }))
    }

    async fn close(&self) -> Result<()> {
        self.restarting.inner.close().await
    }
}

#[derive(Debug)]
struct RestartingSession {
    restarting: Restarting,
    queue: QueueName,
    holder: Holder,
    session: Arc<dyn Session>,
}

#[async_trait]
impl Session for RestartingSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let mut leases = self.session.receive(options).await?;
        let repeats = self.restarting.shows(RestartFault::TokensRepeated);
        let forgets = self.restarting.shows(RestartFault::DeliveriesForgotten);
        let mut seen = self.restarting.seen();
        for lease in &mut leases {
            let (token, id) = (lease.token.clone(), lease.task.id);
            seen.leases.push((self.queue.clone(), self.holder, token.clone(), lease.duration));
            let first = seen.first_token.entry(id).or_insert(token);
            if repeats {
                lease.token = first.clone();
            }
            if forgets {
                (lease.task.deliveries, lease.task.attempt) = (1, 1);
            }
        }
        Ok(leases)
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        if self.restarting.shows(RestartFault::TokensForgotten) {
            let why = "the lease token is not one of this broker's";
            return Err(Error::new(ErrorKind::Invalid, Operation::Settle, why).on(&self.queue));
        }
        let completes = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Complete);
        if completes {
            self.restarting.seen().completed.push(self.queue.clone());
        }
        self.session.settle(verdicts).await
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        let outcomes = self.session.extend(leases).await?;
        let mut seen = self.restarting.seen();
        for (token, length) in leases {
            let lease = seen.leases.iter_mut().find(|lease| lease.2 == *token);
            lease.into_iter().for_each(|lease| lease.3 = *length);
        }
        Ok(outcomes)
    }

    async fn close(&self, held: Held) -> Result<()> {
        self.session.close(held).await
    }
}
