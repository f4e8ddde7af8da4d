//! The second reference broker, the opposite of the memory broker: a partitioned log, consumed by
//! offsets, that outlives its sessions.
//!
//! It keeps one number a partition, the watermark below which everything is done. What a session
//! completed above it is forgotten with the session and comes again. Leases end with their
//! session, attempts are not enforced, and whatever a log cannot do is refused. `journal` is what
//! survives a restart, `group` what does not, `driver` and `session` are the contract's face.

mod driver;
mod group;
mod journal;
mod session;
mod token;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::capabilities::{
    AtomicScope, Capabilities, CapacitySupport, Completion, DeadLetterSupport, Delay,
    DeliveryCount, Fencing, LeaseSupport, OrderingSupport, ReleaseCost,
};
use tidegate_core::{Broker, BrokerParts, Clock, ManualClock};

use crate::harness::{Deviation, Harness, Stage, advance};
use driver::Log;
use journal::Journal;

/// A log that survives the brokers that are opened on it.
#[derive(Clone, Debug, Default)]
pub struct LogData {
    journal: Arc<Mutex<Journal>>,
}

/// Opens a broker on a log, going by `clock`. One broker at a time may be open on a log.
pub fn broker(data: &LogData, clock: Arc<dyn Clock>) -> Broker {
    let driver = Arc::new(Log::new(data.journal.clone(), clock.clone()));
    Broker::new(BrokerParts { clock, ..BrokerParts::driver_only("log", driver) })
}

/// What a log can do.
pub fn capabilities() -> Capabilities {
    Capabilities {
        delay: Delay::No,
        retry_delay: Delay::No,
        priority_max: None,
        dedup_window_max: None,
        dedup_until_done: false,
        ordering: OrderingSupport::PerKey,
        lease: LeaseSupport::WhileConnected(Duration::from_secs(30 * 60)),
        lease_per_receive: false,
        attempt_memory: None,
        fencing: Fencing::Enforced,
        release: ReleaseCost::KeepsAttempt,
        deliveries: DeliveryCount::AtLeast,
        completion: Completion::Watermark,
        dead_letters: DeadLetterSupport::Queue,
        capacity: CapacitySupport::No,
        atomic: AtomicScope::No,
        membership: false,
        durable: true,
        retention: false,
        batch_max: 100,
        payload_max: 1024 * 1024,
    }
}

/// The log on the suite's stage, with a manual clock.
#[derive(Clone, Copy, Debug)]
pub struct LogHarness;

#[async_trait]
impl Harness for LogHarness {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let (data, clock) = (LogData::default(), ManualClock::new());
        let broker = Mutex::new(broker(&data, Arc::new(clock.clone())));
        Some(Box::new(LogStage { data, clock, broker }))
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn in_process(&self) -> bool {
        true
    }

    fn deviations(&self) -> &'static [Deviation] {
        &[]
    }
}

struct LogStage {
    data: LogData,
    clock: ManualClock,
    broker: Mutex<Broker>,
}

#[async_trait]
impl Stage for LogStage {
    fn broker(&self) -> Broker {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn let_time_pass(&self, by: Duration) {
        advance(&self.clock, by).await;
    }

    fn time_stands_still(&self) -> bool {
        true
    }

    async fn restart(&self) -> Option<Broker> {
        let again = broker(&self.data, Arc::new(self.clock.clone()));
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = again.clone();
        Some(again)
    }
}
