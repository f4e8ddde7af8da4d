//! What the adapter can do.

use tidegate_core::capabilities::{
    AtomicScope, Capabilities, CapacitySupport, Completion, DeadLetterSupport, Delay,
    DeliveryCount, Fencing, LeaseSupport, OrderingSupport, ReleaseCost,
};
use tidegate_core::limits;

/// Most tasks in one script: more would keep all other clients of the server waiting for milliseconds.
pub(crate) const BATCH_MAX: usize = 100;

/// What a queue on Redis can do. Its bound is exact for each partition; what is settled and enqueued in one
/// step stays in one partition.
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
        atomic: AtomicScope::SameQueue,
        membership: true,
        durable: true,
        retention: true,
        batch_max: BATCH_MAX,
        payload_max: limits::PAYLOAD_BYTES_MAX,
    }
}
