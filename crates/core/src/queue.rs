//! What a queue is: its spec.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::name::QueueName;
use crate::retry::RetryPolicy;
use crate::routing::{Partitions, Router};

/// Whether the queue keeps order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// No order is promised; delay and priority are free to use.
    #[default]
    None,
    /// Tasks with one ordering key are handed out in order, and held by one receive at a time.
    /// Delay and priority per task are refused. A task without a key is bound to no order.
    Key,
}

/// The bound of a queue: ready, scheduled and leased tasks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capacity {
    /// At most this many tasks; a send beyond is rejected.
    Bounded(u64),
    /// As many as the broker holds. By choice only: a queue without a bound grows until something
    /// falls over.
    Unbounded,
}

impl Capacity {
    /// How many more tasks fit beside `live` ones.
    pub fn room(self, live: u64) -> u64 {
        match self {
            Self::Bounded(bound) => bound.saturating_sub(live),
            Self::Unbounded => u64::MAX,
        }
    }
}

/// Where dead tasks go and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterPolicy {
    /// A queue that dead tasks are moved to. Without one they stay where they died, as `dead`.
    pub queue: Option<QueueName>,
    /// How long a dead task is kept. Default: 14 days.
    pub retention: Duration,
    /// How many dead tasks are worth an alert. Default: 100.
    pub alert_threshold: u64,
}

impl Default for DeadLetterPolicy {
    fn default() -> Self {
        Self {
            queue: None,
            retention: Duration::from_secs(14 * 24 * 60 * 60),
            alert_threshold: 100,
        }
    }
}

/// All that is set about a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// Its name.
    pub name: QueueName,
    /// Whether order is kept. Cannot be changed later.
    pub ordering: Ordering,
    /// How keys become partitions. Cannot be changed later.
    pub router: Router,
    /// How many partitions it has. Cannot be changed later.
    pub partitions: Partitions,
    /// Its bound. Default: 10,000.
    pub capacity: Capacity,
    /// How long a receive holds a task unless it asks for another time. Default: 30 s.
    pub lease: Duration,
    /// How failed tasks are tried again.
    pub retry: RetryPolicy,
    /// Where dead tasks go.
    pub dead_letters: DeadLetterPolicy,
    /// The window of a dedup key for senders that name none. Default: 5 min, as on SQS.
    pub dedup_window: Duration,
    /// Tasks older than this are dropped unless leased. Default: kept for ever.
    pub retention: Option<Duration>,
    /// Longest payload in bytes. Default: 262,144.
    pub payload_bytes_max: usize,
    /// Free text for tools.
    pub labels: BTreeMap<String, String>,
    /// Counts the updates, from 1. Set by the broker; `declare` does not compare it.
    pub revision: u64,
}

impl QueueSpec {
    /// A queue called `name` with every default.
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            ordering: Ordering::None,
            router: Router::Hash,
            partitions: Partitions::ONE,
            capacity: Capacity::Bounded(10_000),
            lease: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            dead_letters: DeadLetterPolicy::default(),
            dedup_window: Duration::from_secs(5 * 60),
            retention: None,
            payload_bytes_max: limits::PAYLOAD_BYTES_DEFAULT,
            labels: BTreeMap::new(),
            revision: 1,
        }
    }

    /// The queue that is made when a spec names a dead-letter queue that does not exist: without a
    /// bound, because a move must never be refused, and with the source's retention.
    pub fn dead_letter_queue(name: QueueName, policy: &DeadLetterPolicy) -> Self {
        Self {
            capacity: Capacity::Unbounded,
            retention: Some(policy.retention),
            payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
            ..Self::new(name)
        }
    }

    /// Whether `other` asks for the same queue. Revisions are not compared.
    pub fn agrees_with(&self, other: &Self) -> bool {
        Self { revision: 0, ..self.clone() } == Self { revision: 0, ..other.clone() }
    }

    /// The first field in which `other` differs, by its name.
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let Self {
            name: _,
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
            revision: _,
        } = self;
        let fields = [
            ("ordering", *ordering == other.ordering),
            ("router", *router == other.router),
            ("partitions", *partitions == other.partitions),
            ("capacity", *capacity == other.capacity),
            ("lease", *lease == other.lease),
            ("retry", *retry == other.retry),
            ("dead_letters", *dead_letters == other.dead_letters),
            ("dedup_window", *dedup_window == other.dedup_window),
            ("retention", *retention == other.retention),
            ("payload_bytes_max", *payload_bytes_max == other.payload_bytes_max),
            ("labels", *labels == other.labels),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }

    /// The first field that an update to `other` would change and may not, by its name.
    pub fn fixed_difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("ordering", self.ordering == other.ordering),
            ("router", self.router == other.router),
            ("partitions", self.partitions == other.partitions),
        ];
        fields.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }

    /// Says what is wrong with the spec, if anything.
    pub fn check(&self) -> Result<(), String> {
        self.retry.check()?;
        if self.lease.is_zero() || self.lease > limits::LEASE_MAX {
            return Err(format!("lease is {:?}; it must be above 0 and at most 12 h", self.lease));
        }
        if self.capacity == Capacity::Bounded(0) {
            return Err("capacity is 0; use 1 or more, or `unbounded`".into());
        }
        if self.dead_letters.queue.as_ref() == Some(&self.name) {
            return Err("a queue cannot be its own dead-letter queue".into());
        }
        if self.payload_bytes_max == 0 || self.payload_bytes_max > limits::PAYLOAD_BYTES_MAX {
            let most = limits::PAYLOAD_BYTES_MAX;
            return Err(format!("payload_bytes_max must be 1 to {most}"));
        }
        if self.dedup_window > limits::DEDUP_WINDOW_MAX {
            return Err("dedup_window is longer than a year".into());
        }
        Ok(())
    }
}
