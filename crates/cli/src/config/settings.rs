//! What the configuration means to the commands: the defaults of queues and workers.

use std::time::Duration;

use tidegate::worker::AckMode;
use tidegate::{
    Capacity, DeadLetterPolicy, Jitter, QueueName, QueueSpec, RetryPolicy, WorkerOptions,
};

use super::Config;
use super::redis::RedisQueue;
use super::value::Value;

const DAY: Duration = Duration::from_secs(86_400);

/// The defaults of every queue and worker that this process makes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) broker: Option<String>,
    pub(crate) redis: RedisQueue,
    pub(crate) capacity: Capacity,
    pub(crate) lease: Duration,
    pub(crate) dedup_window: Duration,
    pub(crate) graceful_shutdown_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) ack: AckMode,
    pub(crate) payload_bytes_max: usize,
    /// The same, if it was set.
    pub(crate) message_bytes_set: Option<usize>,
    pub(crate) retry: RetryPolicy,
    pub(crate) dead_letters: DeadLetterPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        let spec = QueueSpec::new("defaults".parse().expect("a queue name"));
        let worker = WorkerOptions::default();
        Self {
            broker: None,
            redis: RedisQueue::default(),
            capacity: spec.capacity,
            lease: spec.lease,
            dedup_window: spec.dedup_window,
            graceful_shutdown_timeout: worker.graceful_shutdown_timeout,
            heartbeat_interval: worker.heartbeat_interval,
            ack: worker.ack,
            payload_bytes_max: spec.payload_bytes_max,
            message_bytes_set: None,
            retry: spec.retry,
            dead_letters: spec.dead_letters,
        }
    }
}

impl Settings {
    /// The defaults, with what `config` sets in their place.
    pub(crate) fn of(config: &Config) -> Self {
        let mut settings = Self::default();
        for (key, setting) in &config.set {
            settings.take(key, &setting.value);
        }
        settings
    }

    /// Keys of blocks that have not been built yet mean nothing here.
    fn take(&mut self, key: &str, value: &Value) {
        match (key, value) {
            ("broker", Value::Text(url)) => self.broker = Some(url.clone()),
            ("queue.max_buffer_size", Value::Count(most)) => {
                self.capacity = Capacity::Bounded(*most);
            }
            ("queue.max_buffer_size", Value::Unbounded) => self.capacity = Capacity::Unbounded,
            ("queue.graceful_shutdown_timeout", Value::Duration(time)) => {
                self.graceful_shutdown_timeout = *time;
            }
            ("queue.heartbeat_interval", Value::Duration(time)) => self.heartbeat_interval = *time,
            ("queue.lease", Value::Duration(time)) => self.lease = *time,
            ("queue.dedup_window", Value::Duration(time)) => self.dedup_window = *time,
            ("queue.ack_mode", Value::Text(mode)) => {
                self.ack = if mode == "auto" { AckMode::Auto } else { AckMode::Manual };
            }
            ("serialization.max_message_bytes", Value::Count(bytes)) => {
                self.payload_bytes_max = *bytes as usize;
                self.message_bytes_set = Some(*bytes as usize);
            }
            _ if key.starts_with("redis_queue.") => self.redis.take(key, value),
            _ => self.take_policy(key, value),
        }
    }

    fn take_policy(&mut self, key: &str, value: &Value) {
        match (key, value) {
            ("retry_policy.max_attempts", Value::Count(most)) => {
                self.retry.max_attempts = *most as u32;
            }
            ("retry_policy.initial_delay", Value::Duration(time)) => {
                self.retry.initial_delay = *time;
            }
            ("retry_policy.max_delay", Value::Duration(time)) => self.retry.max_delay = *time,
            ("retry_policy.multiplier", Value::Factor(factor)) => self.retry.multiplier = *factor,
            ("retry_policy.jitter", Value::Text(jitter)) => self.retry.jitter = jitter_of(jitter),
            ("dead_letter_queue.routing_key", Value::Text(name)) => {
                self.dead_letters.queue = QueueName::new(name).ok();
            }
            ("dead_letter_queue.retention_days", Value::Count(days)) => {
                self.dead_letters.retention = DAY * *days as u32;
            }
            ("dead_letter_queue.alert_threshold", Value::Count(dead)) => {
                self.dead_letters.alert_threshold = *dead;
            }
            _ => {}
        }
    }

    /// The spec of a queue that nothing else is said about. The shared dead-letter queue itself has
    /// none, and no bound: a move there must never be refused.
    pub(crate) fn spec(&self, name: QueueName) -> QueueSpec {
        if self.dead_letters.queue.as_ref() == Some(&name) {
            return QueueSpec::dead_letter_queue(name, &self.dead_letters);
        }
        QueueSpec {
            capacity: self.capacity,
            lease: self.lease,
            dedup_window: self.dedup_window,
            payload_bytes_max: self.payload_bytes_max,
            retry: self.retry.clone(),
            dead_letters: self.dead_letters.clone(),
            ..QueueSpec::new(name)
        }
    }

    /// The options of a worker that nothing else is said about.
    pub(crate) fn worker(&self) -> WorkerOptions {
        WorkerOptions {
            ack: self.ack,
            heartbeat_interval: self.heartbeat_interval,
            graceful_shutdown_timeout: self.graceful_shutdown_timeout,
            ..WorkerOptions::default()
        }
    }
}

fn jitter_of(word: &str) -> Jitter {
    match word {
        "equal" => Jitter::Equal,
        "none" => Jitter::None,
        "decorrelated" => Jitter::Decorrelated,
        _ => Jitter::Full,
    }
}
