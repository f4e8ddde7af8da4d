//! The memory broker: the executable specification of the contract.
//!
//! It keeps everything a broker can promise but durability, in the plainest code there is: what
//! the engine does fast and on disk, this does so that it can be read. `entry` is one task,
//! `queue` one queue's rules, `store` what spans queues (numbers, timers, dead letters), `receive` hands out, `driver`
//! and `session` the contract's face.

mod driver;
mod entry;
mod queue;
mod receive;
mod session;
mod store;
mod token;
mod views;

use std::sync::Arc;

use crate::broker::{Broker, BrokerParts};
use crate::capabilities::{
    AtomicScope, Capabilities, CapacitySupport, Completion, DeadLetterSupport, Delay,
    DeliveryCount, Fencing, LeaseSupport, OrderingSupport, ReleaseCost,
};
use crate::clock::Clock;
use crate::limits;

pub use driver::Memory;

/// A new, empty broker in memory, going by `clock`. It and its tasks are gone with the last clone.
pub fn broker(clock: Arc<dyn Clock>) -> Broker {
    let memory = Arc::new(Memory::new(clock.clone()));
    Broker::new(BrokerParts {
        label: "memory".into(),
        driver: memory.clone(),
        inspect: Some(memory.clone()),
        admin: Some(memory.clone()),
        atomic: Some(memory),
        clock,
    })
}

/// What the memory broker can do: everything but outlive its process.
pub fn capabilities() -> Capabilities {
    Capabilities {
        delay: Delay::UpTo(limits::DELAY_MAX),
        retry_delay: Delay::UpTo(limits::DELAY_MAX),
        priority_max: Some(u8::MAX),
        dedup_window_max: Some(limits::DEDUP_WINDOW_MAX),
        dedup_until_done: true,
        ordering: OrderingSupport::PerKey,
        lease: LeaseSupport::Timed(limits::LEASE_MAX),
        lease_per_receive: true,
        attempt_memory: Some(limits::ATTEMPT_MEMORY),
        fencing: Fencing::Enforced,
        release: ReleaseCost::KeepsAttempt,
        deliveries: DeliveryCount::Counted,
        completion: Completion::Final,
        dead_letters: DeadLetterSupport::StateOrQueue,
        capacity: CapacitySupport::Exact,
        atomic: AtomicScope::SameBroker,
        membership: false,
        durable: false,
        retention: true,
        batch_max: limits::BATCH_TASKS_MAX,
        payload_max: limits::PAYLOAD_BYTES_MAX,
    }
}
