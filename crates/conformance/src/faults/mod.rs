//! Brokers that are broken on purpose, in one way each: a decorator over a sound one.

mod admin;
mod driver;
mod inspect;
mod restart;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use restart::{RestartFault, Restarting};
use tidegate_core::{AttemptId, Broker, BrokerParts, Lease, LeaseToken, TaskId};

macro_rules! faults {
    ($($(#[$doc:meta])+ $fault:ident,)+) => {
        /// One way to break the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])+ $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$fault,)+];
        }
    };
}

faults! {
    /// A delayed task is ready at once.
    DelayIgnored,
    /// All priorities are 0.
    PriorityIgnored,
    /// Dedup keys are not looked at.
    DedupIgnored,
    /// All dedup keys are one.
    DedupOverreaches,
    /// A window ends with its task.
    WindowEndsWithItsTask,
    /// A window is twice as long.
    WindowTooLong,
    /// Ordering keys are dropped.
    OrderingKeyDropped,
    /// Payloads end at their first zero byte.
    PayloadTruncated,
    /// Headers are dropped.
    HeadersDropped,
    /// The outcomes of an enqueue are in reverse.
    OutcomesReversed,
    /// The last task of a long batch is acknowledged and not kept.
    AcknowledgedAndNotKept,
    /// Bounds are not kept.
    CapacityIgnored,
    /// Retentions are not kept.
    RetentionIgnored,
    /// A queue declared with another spec is fine.
    ConflictIgnored,
    /// Enqueueing makes the queue.
    UnknownQueueIsMade,
    /// A broker that was closed goes on.
    CloseForgotten,
    /// A receive hands out all there is.
    LimitIgnored,
    /// A receive never waits.
    WaitIgnored,
    /// A receive that waits hears nothing until its wait is over.
    WakeupLost,
    /// A receive hands out all tasks of a key.
    PerKeyIgnored,
    /// The lease a receive asks for is not the one it gets.
    LeaseLengthIgnored,
    /// Attempt ids are not looked at.
    AttemptIgnored,
    /// All attempt ids are one.
    AttemptOverreaches,
    /// A receive is made again whatever became of its tasks.
    AttemptNeverOver,
    /// A task is handed out again while it is held.
    HandedOutTwice,
    /// Every delivery of a task has the same token.
    TokenRepeated,
    /// An old token is as good as the newest.
    StaleTokenAccepted,
    /// Deliveries and attempts are always 1.
    DeliveriesNotCounted,
    /// A complete is acknowledged and not carried out.
    SettleNotCarriedOut,
    /// Settling again says that it was carried out.
    SettlingTwiceIsDone,
    /// A lost lease is said to be settled before.
    LostIsAlreadyDone,
    /// Outcomes of a settle are in reverse.
    SettledReversed,
    /// Verdicts before an unreadable token are carried out.
    BatchHalfCarriedOut,
    /// A retry comes back at once.
    RetryDelayIgnored,
    /// A release comes back at once.
    ReleaseDelayIgnored,
    /// A release burns an attempt though it is declared to keep it.
    ReleaseBurnsAttempt,
    /// The error of a failed attempt is dropped.
    ErrorDropped,
    /// A dead letter is dropped.
    DeadLetterDropped,
    /// A dead letter loses its reason.
    ReasonDropped,
    /// An extend is acknowledged and not carried out.
    ExtendIgnored,
    /// An extend of an ended lease is acknowledged.
    ExtendRevives,
    /// An extend gives twice what was asked for.
    ExtendTooLong,
    /// Closing with release holds the tasks.
    CloseReleasesNothing,
    /// Closing with keep gives the tasks back.
    CloseKeepsNothing,
    /// A closed session goes on.
    ClosedSessionWorks,
    /// A step settles and enqueues nothing.
    StepEnqueuesNothing,
    /// A step with a stale token enqueues.
    StepEnqueuesOnStale,
    /// A step whose follow-ups fail settles.
    StepSettlesOnFailure,
    /// A purge leaves a task.
    PurgeLeavesOne,
    /// Pausing does nothing.
    PauseIgnored,
    /// Redriving does nothing.
    RedriveDoesNothing,
    /// Redriving takes all the dead, whatever was asked for.
    RedriveTakesAll,
    /// Purging the dead takes all of them, whatever was asked for.
    PurgeDeadTakesAll,
    /// An update is acknowledged and not carried out.
    UpdateIgnored,
    /// An update of an old revision is carried out.
    UpdateNotCompared,
    /// Deleting a queue does nothing.
    DeleteIgnored,
    /// Leased tasks are counted as ready.
    StatsWrong,
    /// A list begins at the front on every page.
    PageIgnored,
    /// A list shows every state.
    StateFilterIgnored,
    /// A peek shows the tasks in reverse.
    PeekReversed,
    /// A task is not found by its id.
    GetFindsNothing,
    /// The dead are listed in reverse.
    DeadReversed,
}

/// The same broker with one fault. Both are used side by side only by whoever means to.
pub fn inject(broker: &Broker, fault: Fault) -> Broker {
    let parts = broker.parts().clone();
    let faulty = Arc::new(Faulty { fault, parts: parts.clone(), memory: Mutex::default() });
    Broker::new(BrokerParts {
        label: format!("{} with {fault:?}", parts.label),
        driver: faulty.clone(),
        inspect: parts.inspect.is_some().then(|| faulty.clone() as _),
        admin: parts.admin.is_some().then(|| faulty.clone() as _),
        atomic: parts.atomic.is_some().then_some(faulty as _),
        clock: parts.clock,
    })
}

/// A broker's parts with a fault over them.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    parts: BrokerParts,
    memory: Mutex<Memory>,
}

/// What some faults remember.
#[derive(Debug, Default)]
struct Memory {
    /// Leases to hand out a second time.
    spare: Vec<Lease>,
    /// What receives with attempt ids handed out.
    attempts: HashMap<AttemptId, Vec<Lease>>,
    /// Whose token it is.
    task_of: HashMap<LeaseToken, TaskId>,
    /// The first and the newest token of a task.
    tokens_of: HashMap<TaskId, (LeaseToken, LeaseToken)>,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, lease: &Lease) {
        self.task_of.insert(lease.token.clone(), lease.task.id);
        let first = (lease.token.clone(), lease.token.clone());
        self.tokens_of.entry(lease.task.id).or_insert(first).1 = lease.token.clone();
    }

    fn first_token(&self, token: &LeaseToken) -> LeaseToken {
        let tokens = self.task_of.get(token).and_then(|task| self.tokens_of.get(task));
        tokens.map_or_else(|| token.clone(), |(first, _)| first.clone())
    }

    fn newest_token(&self, token: &LeaseToken) -> LeaseToken {
        let tokens = self.task_of.get(token).and_then(|task| self.tokens_of.get(task));
        tokens.map_or_else(|| token.clone(), |(_, newest)| newest.clone())
    }
}
