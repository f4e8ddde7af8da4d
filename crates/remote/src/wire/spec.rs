//! What is set about a queue.

use tidegate_core::{
    Capacity, DeadLetterPolicy, Jitter, Operation, Ordering, Partitions, QueueSpec, Result,
    RetryPolicy, Router,
};

use super::time::{duration, micros};
use super::{queue_from, unreadable};
use crate::proto;

pub(crate) fn spec_to(spec: &QueueSpec) -> proto::QueueSpec {
    let QueueSpec {
        name,
        ordering,
        router,
        partitions,
        capacity,
        lease,
        retry,
        dead_letters,
        dedup_window,
        retention,
        payload_bytes_max,
        labels,
        revision,
    } = spec;
    let ordering = match ordering {
        Ordering::None => proto::Ordering::None,
        Ordering::Key => proto::Ordering::Key,
    };
    let router = match router {
        Router::Hash => proto::Router::Hash,
        Router::Consistent => proto::Router::Consistent,
        Router::RoundRobin => proto::Router::RoundRobin,
    };
    let bound = match capacity {
        Capacity::Bounded(tasks) => proto::capacity::Bound::Tasks(*tasks),
        Capacity::Unbounded => proto::capacity::Bound::Unbounded(true),
    };
    proto::QueueSpec {
        name: name.to_string(),
        ordering: ordering.into(),
        router: router.into(),
        partitions: partitions.get(),
        capacity: Some(proto::Capacity { bound: Some(bound) }),
        lease_us: Some(micros(*lease)),
        retry: Some(retry_to(retry)),
        dead_letters: Some(dead_letters_to(dead_letters)),
        dedup_window_us: Some(micros(*dedup_window)),
        retention_us: retention.map(micros),
        payload_bytes_max: Some(*payload_bytes_max as u64),
        labels: labels.clone(),
        revision: *revision,
    }
}

/// The spec of a message; what it leaves out has its default.
pub(crate) fn spec_from(spec: Option<proto::QueueSpec>, doing: Operation) -> Result<QueueSpec> {
    let spec = spec.ok_or_else(|| unreadable(doing, "there is no spec"))?;
    let proto::QueueSpec {
        name,
        ordering,
        router,
        partitions,
        capacity,
        lease_us,
        retry,
        dead_letters,
        dedup_window_us,
        retention_us,
        payload_bytes_max,
        labels,
        revision,
    } = spec;
    let name = queue_from(name, doing)?;
    let default = QueueSpec::new(name.clone());
    let invalid = |why: String| unreadable(doing, why).on(&name);
    let ordering = match proto::Ordering::try_from(ordering) {
        Ok(proto::Ordering::None) => Ordering::None,
        Ok(proto::Ordering::Key) => Ordering::Key,
        Err(_) => return Err(invalid(format!("ordering {ordering} is not known"))),
    };
    let router = match proto::Router::try_from(router) {
        Ok(proto::Router::Hash) => Router::Hash,
        Ok(proto::Router::Consistent) => Router::Consistent,
        Ok(proto::Router::RoundRobin) => Router::RoundRobin,
        Err(_) => return Err(invalid(format!("router {router} is not known"))),
    };
    let partitions = match partitions {
        0 => Partitions::ONE,
        count => Partitions::new(count).map_err(invalid)?,
    };
    let capacity = match capacity.and_then(|capacity| capacity.bound) {
        None => default.capacity,
        Some(proto::capacity::Bound::Tasks(tasks)) => Capacity::Bounded(tasks),
        Some(proto::capacity::Bound::Unbounded(true)) => Capacity::Unbounded,
        Some(proto::capacity::Bound::Unbounded(false)) => {
            return Err(invalid("capacity is not unbounded: say how many `tasks`".into()));
        }
    };
    let payload_bytes_max =
        payload_bytes_max.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(QueueSpec {
        ordering,
        router,
        partitions,
        capacity,
        lease: lease_us.map_or(default.lease, duration),
        retry: retry.map_or(Ok(default.retry), |retry| retry_from(retry, doing))?,
        dead_letters: dead_letters
            .map_or(Ok(default.dead_letters), |dead| dead_letters_from(dead, doing))?,
        dedup_window: dedup_window_us.map_or(default.dedup_window, duration),
        retention: retention_us.map(duration),
        payload_bytes_max: payload_bytes_max.unwrap_or(default.payload_bytes_max),
        labels,
        revision,
        name,
    })
}

fn retry_to(retry: &RetryPolicy) -> proto::RetryPolicy {
    let RetryPolicy { max_attempts, initial_delay, multiplier, max_delay, jitter } = retry;
    let jitter = match jitter {
        Jitter::Full => proto::Jitter::Full,
        Jitter::Equal => proto::Jitter::Equal,
        Jitter::None => proto::Jitter::None,
        Jitter::Decorrelated => proto::Jitter::Decorrelated,
    };
    proto::RetryPolicy {
        max_attempts: Some(*max_attempts),
        initial_delay_us: Some(micros(*initial_delay)),
        multiplier: Some(*multiplier),
        max_delay_us: Some(micros(*max_delay)),
        jitter: jitter.into(),
    }
}

fn retry_from(retry: proto::RetryPolicy, doing: Operation) -> Result<RetryPolicy> {
    let proto::RetryPolicy { max_attempts, initial_delay_us, multiplier, max_delay_us, jitter } =
        retry;
    let default = RetryPolicy::default();
    let jitter = match proto::Jitter::try_from(jitter) {
        Ok(proto::Jitter::Full) => Jitter::Full,
        Ok(proto::Jitter::Equal) => Jitter::Equal,
        Ok(proto::Jitter::None) => Jitter::None,
        Ok(proto::Jitter::Decorrelated) => Jitter::Decorrelated,
        Err(_) => return Err(unreadable(doing, format!("jitter {jitter} is not known"))),
    };
    Ok(RetryPolicy {
        max_attempts: max_attempts.unwrap_or(default.max_attempts),
        initial_delay: initial_delay_us.map_or(default.initial_delay, duration),
        multiplier: multiplier.unwrap_or(default.multiplier),
        max_delay: max_delay_us.map_or(default.max_delay, duration),
        jitter,
    })
}

fn dead_letters_to(policy: &DeadLetterPolicy) -> proto::DeadLetterPolicy {
    let DeadLetterPolicy { queue, retention, alert_threshold } = policy;
    proto::DeadLetterPolicy {
        queue: queue.as_ref().map(ToString::to_string),
        retention_us: Some(micros(*retention)),
        alert_threshold: Some(*alert_threshold),
    }
}

fn dead_letters_from(
    policy: proto::DeadLetterPolicy,
    doing: Operation,
) -> Result<DeadLetterPolicy> {
    let proto::DeadLetterPolicy { queue, retention_us, alert_threshold } = policy;
    let default = DeadLetterPolicy::default();
    Ok(DeadLetterPolicy {
        queue: queue.map(|queue| queue_from(queue, doing)).transpose()?,
        retention: retention_us.map_or(default.retention, duration),
        alert_threshold: alert_threshold.unwrap_or(default.alert_threshold),
    })
}
