//! Specs, and the calls that change queues.

use tidegate_remote::proto::{
    Capacity, DeadFilter, DeadLetterPolicy, DeclareRequest, DeclareResponse, DeleteQueueRequest,
    DeleteQueueResponse, PauseQueueRequest, PauseQueueResponse, PurgeDeadRequest,
    PurgeDeadResponse, PurgeQueueRequest, PurgeQueueResponse, QueueSpec, RedriveRequest,
    RedriveResponse, RetryPolicy, UpdateQueueRequest, UpdateQueueResponse, capacity,
};

use super::{Sample, sample};

pub(super) fn all() -> Vec<Sample> {
    let capacity = |bound| Capacity { bound: Some(bound) };
    let mut samples = vec![
        sample("QueueSpec.least", QueueSpec { name: "mail".into(), ..Default::default() }),
        sample("QueueSpec", spec(1, 1)),
        sample("QueueSpec.round-robin", spec(1, 2)),
        sample("QueueSpec.unordered", spec(0, 0)),
        sample("Capacity.tasks", capacity(capacity::Bound::Tasks(10_000))),
        sample("Capacity.unbounded", capacity(capacity::Bound::Unbounded(true))),
        sample("DeadLetterPolicy", dead_letters()),
    ];
    samples.extend((0..4).map(|jitter| sample(format!("RetryPolicy.{jitter}"), retry(jitter))));
    samples.extend(calls());
    samples
}

fn calls() -> Vec<Sample> {
    let queue = || String::from("mail");
    let (spec, filter) = (|| Some(spec(1, 1)), || Some(filter()));
    vec![
        sample("DeclareRequest", DeclareRequest { spec: spec() }),
        sample("DeclareResponse", DeclareResponse {}),
        sample("UpdateQueueRequest", UpdateQueueRequest { spec: spec() }),
        sample("UpdateQueueResponse", UpdateQueueResponse { spec: spec() }),
        sample("DeleteQueueRequest", DeleteQueueRequest { queue: queue() }),
        sample("DeleteQueueResponse", DeleteQueueResponse {}),
        sample("PurgeQueueRequest", PurgeQueueRequest { queue: queue() }),
        sample("PurgeQueueResponse", PurgeQueueResponse { tasks: 301 }),
        sample("PurgeDeadRequest", PurgeDeadRequest { queue: queue(), filter: filter() }),
        sample("PurgeDeadResponse", PurgeDeadResponse { tasks: 302 }),
        sample("PauseQueueRequest", PauseQueueRequest { queue: queue(), paused: true }),
        sample("PauseQueueResponse", PauseQueueResponse {}),
        sample("RedriveRequest", RedriveRequest { queue: queue(), filter: filter() }),
        sample("RedriveResponse", RedriveResponse { tasks: 303 }),
        sample("DeadFilter", self::filter()),
    ]
}

pub(super) fn filter() -> DeadFilter {
    DeadFilter { limit: Some(304), reason: Some("lease ended".into()) }
}

pub(super) fn spec(ordering: i32, router: i32) -> QueueSpec {
    QueueSpec {
        name: "mail".into(),
        ordering,
        router,
        partitions: 8,
        capacity: Some(Capacity { bound: Some(capacity::Bound::Tasks(10_000)) }),
        lease_us: Some(201),
        retry: Some(retry(3)),
        dead_letters: Some(dead_letters()),
        dedup_window_us: Some(202),
        retention_us: Some(203),
        payload_bytes_max: Some(262_144),
        labels: [("team".into(), "post".into()), ("tier".into(), "1".into())].into(),
        revision: 204,
    }
}

fn retry(jitter: i32) -> RetryPolicy {
    RetryPolicy {
        max_attempts: Some(5),
        initial_delay_us: Some(211),
        multiplier: Some(2.5),
        max_delay_us: Some(212),
        jitter,
    }
}

fn dead_letters() -> DeadLetterPolicy {
    DeadLetterPolicy {
        queue: Some("mail.dead".into()),
        retention_us: Some(221),
        alert_threshold: Some(222),
    }
}
