//! What a broker can do.

use tidegate_core::capabilities::{
    AtomicScope, Capabilities, CapacitySupport, Completion, DeadLetterSupport, Delay,
    DeliveryCount, Fencing, LeaseSupport, OrderingSupport, ReleaseCost,
};
use tidegate_core::{Error, ErrorKind, Operation, Result};

use super::time::{duration, micros};
use super::{newer, unreadable};
use crate::proto;

pub(crate) fn capabilities_to(can: &Capabilities) -> proto::Capabilities {
    let Capabilities {
        delay,
        retry_delay,
        priority_max,
        dedup_window_max,
        dedup_until_done,
        ordering,
        lease,
        lease_per_receive,
        attempt_memory,
        fencing,
        release,
        deliveries,
        completion,
        dead_letters,
        capacity,
        atomic,
        membership,
        durable,
        retention,
        batch_max,
        payload_max,
    } = can;
    let (lease, lease_max) = match lease {
        LeaseSupport::Timed(most) => (proto::LeaseSupport::Timed, *most),
        LeaseSupport::WhileConnected(most) => (proto::LeaseSupport::WhileConnected, *most),
    };
    let ordering = match ordering {
        OrderingSupport::No => proto::OrderingSupport::None,
        OrderingSupport::PerKey => proto::OrderingSupport::PerKey,
        OrderingSupport::PerPartition => proto::OrderingSupport::PerPartition,
    };
    let capacity = match capacity {
        CapacitySupport::No => proto::CapacitySupport::None,
        CapacitySupport::Soft => proto::CapacitySupport::Soft,
        CapacitySupport::Exact => proto::CapacitySupport::Exact,
    };
    let atomic = match atomic {
        AtomicScope::No => proto::AtomicScope::None,
        AtomicScope::SameQueue => proto::AtomicScope::SameQueue,
        AtomicScope::SameBroker => proto::AtomicScope::SameBroker,
    };
    proto::Capabilities {
        delay_max_us: delay_to(*delay),
        retry_delay_max_us: delay_to(*retry_delay),
        priority_max: priority_max.map(u32::from),
        dedup_window_max_us: dedup_window_max.map(micros),
        dedup_until_done: *dedup_until_done,
        ordering: ordering.into(),
        lease: lease.into(),
        lease_max_us: micros(lease_max),
        lease_per_receive: *lease_per_receive,
        attempt_memory_us: attempt_memory.map(micros),
        fencing_enforced: *fencing == Fencing::Enforced,
        release_keeps_attempt: *release == ReleaseCost::KeepsAttempt,
        deliveries_counted: *deliveries == DeliveryCount::Counted,
        completion_final: *completion == Completion::Final,
        dead_letters_in_place: *dead_letters == DeadLetterSupport::StateOrQueue,
        capacity: capacity.into(),
        atomic: atomic.into(),
        membership: *membership,
        durable: *durable,
        retention: *retention,
        batch_max: u32::try_from(*batch_max).unwrap_or(u32::MAX),
        payload_max: *payload_max as u64,
    }
}

fn delay_to(delay: Delay) -> Option<u64> {
    match delay {
        Delay::No => None,
        Delay::UpTo(most) => Some(micros(most)),
    }
}

fn delay_from(most: Option<u64>) -> Delay {
    most.map_or(Delay::No, |most| Delay::UpTo(duration(most)))
}

pub(crate) fn capabilities_from(can: &proto::Capabilities) -> Result<Capabilities> {
    let lease_max = duration(can.lease_max_us);
    let lease = match known("lease support", can.lease)? {
        proto::LeaseSupport::Timed => LeaseSupport::Timed(lease_max),
        proto::LeaseSupport::WhileConnected => LeaseSupport::WhileConnected(lease_max),
    };
    let ordering = match known("ordering support", can.ordering)? {
        proto::OrderingSupport::None => OrderingSupport::No,
        proto::OrderingSupport::PerKey => OrderingSupport::PerKey,
        proto::OrderingSupport::PerPartition => OrderingSupport::PerPartition,
    };
    let capacity = match known("capacity support", can.capacity)? {
        proto::CapacitySupport::None => CapacitySupport::No,
        proto::CapacitySupport::Soft => CapacitySupport::Soft,
        proto::CapacitySupport::Exact => CapacitySupport::Exact,
    };
    let atomic = match known("atomic scope", can.atomic)? {
        proto::AtomicScope::None => AtomicScope::No,
        proto::AtomicScope::SameQueue => AtomicScope::SameQueue,
        proto::AtomicScope::SameBroker => AtomicScope::SameBroker,
    };
    if can.batch_max == 0 || can.payload_max == 0 {
        let why = "the server says nothing of what it can do; it is not one of Tidegate's";
        return Err(Error::new(ErrorKind::Unexpected, Operation::Open, why));
    }
    let either = |is: bool, yes, no| if is { yes } else { no };
    Ok(Capabilities {
        delay: delay_from(can.delay_max_us),
        retry_delay: delay_from(can.retry_delay_max_us),
        priority_max: can.priority_max.map(|most| u8::try_from(most).unwrap_or(u8::MAX)),
        dedup_window_max: can.dedup_window_max_us.map(duration),
        dedup_until_done: can.dedup_until_done,
        ordering,
        lease,
        lease_per_receive: can.lease_per_receive,
        attempt_memory: can.attempt_memory_us.map(duration),
        fencing: if can.fencing_enforced { Fencing::Enforced } else { Fencing::Advisory },
        release: either(
            can.release_keeps_attempt,
            ReleaseCost::KeepsAttempt,
            ReleaseCost::BurnsAttempt,
        ),
        deliveries: if can.deliveries_counted {
            DeliveryCount::Counted
        } else {
            DeliveryCount::AtLeast
        },
        completion: if can.completion_final { Completion::Final } else { Completion::Watermark },
        dead_letters: if can.dead_letters_in_place {
            DeadLetterSupport::StateOrQueue
        } else {
            DeadLetterSupport::Queue
        },
        capacity,
        atomic,
        membership: can.membership,
        durable: can.durable,
        retention: can.retention,
        batch_max: can.batch_max as usize,
        payload_max: usize::try_from(can.payload_max).unwrap_or(usize::MAX),
    })
}

/// A choice of a message. WHY: to take an unknown one for the first would promise what nobody said.
fn known<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T> {
    let why = || newer(&unreadable(Operation::Open, format!("{field} {number} is not known")));
    T::try_from(number).map_err(|_| why())
}
