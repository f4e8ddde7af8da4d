//! The one place that refuses: what is asked for, held against the rules and the broker's
//! capabilities. What passes here a driver carries out in full.

use std::time::Duration;

use crate::capabilities::{
    AtomicScope, Capabilities, CapacitySupport, Completion, DeadLetterSupport, Delay,
    DeliveryCount, Fencing, LeaseSupport, OrderingSupport, ReleaseCost,
};
use crate::driver::{Membership, ReceiveOptions, SessionOptions};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::lease::Verdict;
use crate::limits;
use crate::queue::{Capacity, Ordering, QueueSpec};
use crate::task::{Dedup, NewTask, Unique};

fn unsupported(operation: Operation, what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, operation, what)
}

fn invalid(operation: Operation, what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, operation, what)
}

/// Admits a queue's spec.
pub fn spec(can: &Capabilities, spec: &QueueSpec) -> Result<()> {
    const DECLARE: Operation = Operation::Declare;
    // INVARIANT: destructured without `..`, so that a new capability is looked at here.
    let Capabilities {
        delay: _,
        retry_delay: _,
        priority_max: _,
        dedup_window_max: _,
        dedup_until_done: _,
        ordering,
        lease,
        lease_per_receive: _,
        attempt_memory: _,
        fencing: Fencing::Enforced | Fencing::Advisory,
        release: ReleaseCost::KeepsAttempt | ReleaseCost::BurnsAttempt,
        deliveries: DeliveryCount::Counted | DeliveryCount::AtLeast,
        completion: Completion::Final | Completion::Watermark,
        dead_letters,
        capacity,
        atomic: _,
        membership: _,
        durable: _,
        retention,
        batch_max: _,
        payload_max,
    } = can;
    spec.check().map_err(|why| invalid(DECLARE, why).on(&spec.name))?;
    let refusal = if spec.ordering == Ordering::Key && *ordering == OrderingSupport::No {
        Some("this broker keeps no order".to_owned())
    } else if spec.lease > longest_lease(*lease) {
        Some(format!("this broker's longest lease is {:?}", longest_lease(*lease)))
    } else if *capacity == CapacitySupport::No && spec.capacity != Capacity::Unbounded {
        Some("this broker keeps no bound; declare the queue with capacity `unbounded`".to_owned())
    } else if *dead_letters == DeadLetterSupport::Queue && spec.dead_letters.queue.is_none() {
        Some("this broker needs a named queue for dead letters".to_owned())
    } else if spec.retention.is_some() && !retention {
        Some("this broker has no retention per queue".to_owned())
    } else if spec.payload_bytes_max > *payload_max {
        Some(format!("this broker's longest payload is {payload_max} bytes"))
    } else {
        None
    };
    refusal.map_or(Ok(()), |why| Err(unsupported(DECLARE, why).on(&spec.name)))
}

fn longest_lease(lease: LeaseSupport) -> Duration {
    match lease {
        LeaseSupport::Timed(most) | LeaseSupport::WhileConnected(most) => most,
    }
}

/// Admits a new task. `spec` is the queue's, where it is known.
pub fn task(can: &Capabilities, spec: Option<&QueueSpec>, task: &NewTask) -> Result<()> {
    const ENQUEUE: Operation = Operation::Enqueue;
    let NewTask { id: _, kind, payload, headers: _, delay, priority, dedup, ordering_key } = task;
    task_shape(task)?;
    let bound = spec.map_or(can.payload_max, |spec| spec.payload_bytes_max.min(can.payload_max));
    if payload.len() > bound {
        let size = payload.len();
        return Err(invalid(
            ENQUEUE,
            format!("the payload of this {kind} has {size} bytes, the limit is {bound}"),
        ));
    }
    if !can.delay.allows(*delay) {
        return Err(unsupported(ENQUEUE, no_delay(can.delay, *delay)));
    }
    if *priority > can.priority_max.unwrap_or(0) {
        return Err(unsupported(ENQUEUE, format!("this broker has no priority {priority}")));
    }
    if let Some(dedup) = dedup {
        admit_dedup(can, dedup)?;
    }
    if ordering_key.is_some() && can.ordering == OrderingSupport::No {
        return Err(unsupported(ENQUEUE, "this broker keeps no order by key"));
    }
    match spec {
        Some(spec) if spec.ordering == Ordering::Key => ordered(*delay, *priority),
        _ => Ok(()),
    }
}

fn ordered(delay: Duration, priority: u8) -> Result<()> {
    if !delay.is_zero() || priority != 0 {
        let why =
            "an ordered queue takes no delay or priority per task: they would break the order";
        return Err(unsupported(Operation::Enqueue, why));
    }
    Ok(())
}

fn no_delay(can: Delay, asked: Duration) -> String {
    match can {
        Delay::No => "this broker has no delay".into(),
        Delay::UpTo(most) => {
            format!("a delay of {asked:?} is too long; this broker's limit is {most:?}")
        }
    }
}

fn task_shape(task: &NewTask) -> Result<()> {
    let too_long = |text: &str, most: usize| text.is_empty() || text.len() > most;
    let header_bytes: usize =
        task.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let dedup_key = task.dedup.as_ref().map(|dedup| dedup.key.as_str());
    let broken = if too_long(&task.kind, limits::KIND_BYTES_MAX) {
        Some(format!("the kind must have 1 to {} bytes", limits::KIND_BYTES_MAX))
    } else if task.ordering_key.as_deref().is_some_and(|key| too_long(key, limits::KEY_BYTES_MAX)) {
        Some(format!("the ordering key must have 1 to {} bytes", limits::KEY_BYTES_MAX))
    } else if dedup_key.is_some_and(|key| too_long(key, limits::KEY_BYTES_MAX)) {
        Some(format!("the dedup key must have 1 to {} bytes", limits::KEY_BYTES_MAX))
    } else if task.headers.len() > limits::HEADERS_MAX || header_bytes > limits::HEADERS_BYTES_MAX {
        let (most, bytes) = (limits::HEADERS_MAX, limits::HEADERS_BYTES_MAX);
        Some(format!("the headers are too many or too long; at most {most} with {bytes} bytes fit"))
    } else {
        None
    };
    broken.map_or(Ok(()), |why| Err(invalid(Operation::Enqueue, why)))
}

fn admit_dedup(can: &Capabilities, dedup: &Dedup) -> Result<()> {
    const ENQUEUE: Operation = Operation::Enqueue;
    match (dedup.unique, can.dedup_window_max) {
        (Unique::Window(window), _) if window.is_zero() => {
            Err(invalid(ENQUEUE, "a dedup window of zero keeps nothing out"))
        }
        (Unique::Window(window), Some(most)) if window <= most => Ok(()),
        (Unique::Window(_), Some(most)) => {
            Err(unsupported(ENQUEUE, format!("this broker's longest dedup window is {most:?}")))
        }
        (Unique::Window(_), None) => Err(unsupported(ENQUEUE, "this broker has no dedup window")),
        (Unique::UntilDone, _) if can.dedup_until_done => Ok(()),
        (Unique::UntilDone, _) => {
            Err(unsupported(ENQUEUE, "this broker cannot keep a key until its task is done"))
        }
    }
}

/// Admits the options of a session.
pub fn session(can: &Capabilities, options: &SessionOptions) -> Result<()> {
    let SessionOptions { membership, holder: _ } = options;
    match membership {
        Membership::Member(_) if !can.membership => {
            Err(unsupported(Operation::OpenSession, "this broker shares out no partitions"))
        }
        _ => Ok(()),
    }
}

/// Admits the options of a receive.
pub fn receive(can: &Capabilities, options: &ReceiveOptions) -> Result<()> {
    const RECEIVE: Operation = Operation::Receive;
    let ReceiveOptions { limit, wait, lease, per_key, attempt_id } = options;
    if *limit == 0 || *per_key == 0 {
        return Err(invalid(RECEIVE, "limit and per_key must be at least 1"));
    }
    if *wait > limits::WAIT_MAX {
        return Err(invalid(
            RECEIVE,
            format!("a wait is at most {:?}; receive again", limits::WAIT_MAX),
        ));
    }
    if attempt_id.is_some() && can.attempt_memory.is_none() {
        return Err(unsupported(RECEIVE, "this broker knows no receive by its attempt id"));
    }
    match lease {
        None => Ok(()),
        Some(_) if !can.lease_per_receive => {
            Err(unsupported(RECEIVE, "this broker takes the lease from its queue only"))
        }
        Some(lease) => lease_length(can, *lease, RECEIVE),
    }
}

/// Admits the length of a lease.
pub fn lease_length(can: &Capabilities, lease: Duration, operation: Operation) -> Result<()> {
    let most = longest_lease(can.lease);
    if lease.is_zero() {
        return Err(invalid(
            operation,
            "a lease of zero holds nothing; use `Release` to give back",
        ));
    }
    if lease > most {
        return Err(unsupported(operation, format!("this broker's longest lease is {most:?}")));
    }
    Ok(())
}

/// Admits a verdict: a retry delay that is dropped would be data loss.
pub fn verdict(can: &Capabilities, verdict: &Verdict) -> Result<()> {
    match verdict {
        Verdict::Complete | Verdict::DeadLetter { reason: _ } => Ok(()),
        Verdict::Retry { after, error: _ } | Verdict::Release { after } => {
            if can.retry_delay.allows(*after) {
                return Ok(());
            }
            Err(unsupported(Operation::Settle, no_delay(can.retry_delay, *after)))
        }
    }
}

/// Admits follow-ups of a settle on `queue`, by the queues they go to.
pub fn follow_ups(can: &Capabilities, same_queue: bool) -> Result<()> {
    match can.atomic {
        AtomicScope::SameBroker => Ok(()),
        AtomicScope::SameQueue if same_queue => Ok(()),
        AtomicScope::SameQueue => Err(unsupported(
            Operation::Settle,
            "this broker settles and enqueues in one step in the same queue only",
        )),
        AtomicScope::No => {
            Err(unsupported(Operation::Settle, "this broker cannot settle and enqueue in one step"))
        }
    }
}

/// Cuts a text to the bytes that are kept with a task.
pub fn cut_text(text: &mut String) {
    if text.len() > limits::TEXT_BYTES_MAX {
        let end = (0..=limits::TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
}
