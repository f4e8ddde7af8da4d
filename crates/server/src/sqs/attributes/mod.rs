//! Queue attributes: what each may be, its default, and what of the queue's spec it is.
//!
//! All that was set lies with the queue in the broker, in its labels, so that servers beside each other
//! say the same. What the spec has a field for is also there, and the field counts where they differ: a
//! lease that an administrator changes is the visibility timeout from then on.

mod names;
pub(crate) mod redrive;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::{
    Capacity, DeadLetterPolicy, Ordering, QueueName, QueueSpec, RetryPolicy, Timestamp,
};

use super::account::{Namespace, QueuePath};
use super::errors::{Code, Failure};
use super::limits;
use super::shapes::Pairs;
use redrive::{RedriveAllowPolicy, RedrivePolicy};

pub(crate) use names::{Counter, READ_ONLY, SETTINGS};

/// The labels of a queue's spec that are the protocol's.
mod labels {
    pub(super) const ATTRIBUTES: &str = "sqs.attributes";
    pub(super) const TAGS: &str = "sqs.tags";
    pub(super) const CREATED: &str = "sqs.created";
    pub(super) const MODIFIED: &str = "sqs.modified";
    pub(super) const PURGED: &str = "sqs.purged";
    pub(super) const MOVES: &str = "sqs.moves";
}

/// Attempts of a queue without a redrive policy: a message comes back until its retention ends.
const ATTEMPTS_UNBOUNDED: u32 = i32::MAX as u32;
/// Room beside the longest message, for attributes that do not fit into headers: lengths, ten times.
const PAYLOAD_ROOM: usize = 256;
/// The lease of a queue whose visibility timeout is zero, for receivers that are not the protocol's.
const LEASE_FOR_NONE: Duration = Duration::from_secs(1);

/// What is set about a queue, as its spec has it.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    spec: QueueSpec,
    set: Pairs,
    /// Whose ARNs the redrive policies have.
    own: Namespace,
}

/// What sends and receives ask of a queue, made ready.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    pub(crate) is_fifo: bool,
    pub(crate) delay: Duration,
    pub(crate) wait: Duration,
    pub(crate) visibility: Duration,
    pub(crate) message_bytes_max: usize,
    pub(crate) dedup_window: Duration,
    pub(crate) dedup_by_content: bool,
    pub(crate) dedup_per_group: bool,
}

impl Attributes {
    /// Those of a queue in the broker. `own` is the server's namespace.
    pub(crate) fn of(spec: QueueSpec, own: &Namespace) -> Self {
        let set = read(&spec, labels::ATTRIBUTES);
        Self { spec, set, own: own.clone() }
    }

    /// Those of a queue that is made. `message_bytes_max` is the server's.
    pub(crate) fn new(
        name: QueueName,
        is_fifo: bool,
        own: &Namespace,
        message_bytes_max: usize,
        now: Timestamp,
    ) -> Self {
        let mut spec = QueueSpec::new(name);
        spec.ordering = if is_fifo { Ordering::Key } else { Ordering::None };
        spec.capacity = Capacity::Unbounded;
        spec.retention = Some(Duration::from_secs(345_600));
        spec.payload_bytes_max = message_bytes_max + PAYLOAD_ROOM;
        spec.retry = RetryPolicy { max_attempts: ATTEMPTS_UNBOUNDED, ..RetryPolicy::default() };
        let seconds = (now.as_millis() / 1_000).to_string();
        spec.labels.insert(labels::CREATED.into(), seconds.clone());
        spec.labels.insert(labels::MODIFIED.into(), seconds);
        Self { spec, set: Pairs::new(), own: own.clone() }
    }

    pub(crate) fn spec(&self) -> &QueueSpec {
        &self.spec
    }

    pub(crate) fn is_fifo(&self) -> bool {
        self.spec.ordering == Ordering::Key
    }

    pub(crate) fn hot(&self) -> Hot {
        let seconds = |name| Duration::from_secs(self.number(name));
        Hot {
            is_fifo: self.is_fifo(),
            delay: seconds("DelaySeconds"),
            wait: seconds("ReceiveMessageWaitTimeSeconds"),
            visibility: match self.set.get("VisibilityTimeout") {
                Some(zero) if zero == "0" => Duration::ZERO,
                _ => self.spec.lease,
            },
            message_bytes_max: self.number("MaximumMessageSize") as usize,
            dedup_window: self.spec.dedup_window,
            dedup_by_content: self.get("ContentBasedDeduplication").as_deref() == Some("true"),
            dedup_per_group: self.get("DeduplicationScope").as_deref() == Some("messageGroup"),
        }
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What an attribute is now, if it is anything. Not the counters.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let set = || self.set.get(name).cloned();
        let label =
            |label: &str| Some(self.spec.labels.get(label).map_or("0", String::as_str).to_owned());
        match name {
            "CreatedTimestamp" => label(labels::CREATED),
            "LastModifiedTimestamp" => label(labels::MODIFIED),
            "FifoQueue" => self.is_fifo().then(|| "true".to_owned()),
            "VisibilityTimeout" => {
                set().filter(|it| it == "0").or_else(|| Some(seconds(self.spec.lease)))
            }
            "MessageRetentionPeriod" => {
                Some(self.spec.retention.map_or_else(|| "1209600".to_owned(), seconds))
            }
            "MaximumMessageSize" => {
                let most = self.spec.payload_bytes_max.saturating_sub(PAYLOAD_ROOM);
                set().or_else(|| Some(most.min(limits::MESSAGE_BYTES_MAX).to_string()))
            }
            "RedrivePolicy" => self.redrive().map(|policy| policy.to_json()),
            "SqsManagedSseEnabled" if self.set.contains_key("KmsMasterKeyId") => None,
            _ => set().or_else(|| names::default_of(name, self.is_fifo()).map(str::to_owned)),
        }
    }

    /// Where messages go that were received too often.
    pub(crate) fn redrive(&self) -> Option<RedrivePolicy> {
        match &self.spec.dead_letters.queue {
            Some(queue) => {
                let target = QueuePath::from_broker(queue, &self.own)?;
                let count = self.spec.retry.max_attempts;
                Some(RedrivePolicy { target, max_receive_count: count })
            }
            None => self.redrive_as_set(),
        }
    }

    /// What was set, whether the queue that it names is there or not.
    pub(crate) fn redrive_as_set(&self) -> Option<RedrivePolicy> {
        self.set.get("RedrivePolicy").and_then(|text| RedrivePolicy::read(text).ok())
    }

    /// Which queues may have this one as their dead-letter queue.
    pub(crate) fn redrive_allow(&self) -> RedriveAllowPolicy {
        let set = self.set.get("RedriveAllowPolicy");
        set.and_then(|text| RedriveAllowPolicy::read(text).ok()).unwrap_or_default()
    }

    /// Checks values that a client gives and brings them into their one form. Empty ones are taken out.
    ///
    /// # Errors
    /// Names that are none, and values that cannot be.
    pub(crate) fn check(
        given: &Pairs,
        is_fifo: bool,
    ) -> Result<Vec<(&'static str, Option<String>)>, Failure> {
        given.iter().map(|(name, value)| names::check(name, value, is_fifo)).collect()
    }

    /// Sets what `check` has let through.
    ///
    /// # Errors
    /// Values that do not go together.
    pub(crate) fn set(
        &mut self,
        values: Vec<(&'static str, Option<String>)>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        for (name, value) in values {
            self.set_one(name, value)?;
        }
        let both = [self.get("FifoThroughputLimit"), self.get("DeduplicationScope")];
        if both == [Some("perMessageGroupId".into()), Some("queue".into())] {
            let why = "The perMessageGroupId value for FifoThroughputLimit is allowed only when the \
                       value for DeduplicationScope is messageGroup.";
            return Err(Code::InvalidAttributeValue.because(why));
        }
        if self.set.contains_key("KmsMasterKeyId")
            && self.set.get("SqsManagedSseEnabled").is_some_and(|it| it == "true")
        {
            let why = "You can use one type of server-side encryption (SSE) at one time. You can \
                       either enable KMS SSE or SQS SSE.";
            return Err(Code::InvalidAttributeValue.because(why));
        }
        write(&mut self.spec, labels::ATTRIBUTES, &self.set);
        self.touch(now);
        Ok(())
    }

    fn set_one(&mut self, name: &'static str, value: Option<String>) -> Result<(), Failure> {
        let number = value.as_deref().and_then(|value| value.parse::<u64>().ok());
        match (name, number) {
            ("VisibilityTimeout", Some(0)) => self.spec.lease = LEASE_FOR_NONE,
            ("VisibilityTimeout", Some(number)) => self.spec.lease = Duration::from_secs(number),
            ("MessageRetentionPeriod", Some(number)) => {
                self.spec.retention = Some(Duration::from_secs(number));
            }
            ("MaximumMessageSize", Some(number)) => {
                self.spec.payload_bytes_max = number as usize + PAYLOAD_ROOM;
            }
            ("RedrivePolicy", _) => {
                let policy = value.as_deref().map(RedrivePolicy::read).transpose()?;
                self.link(policy.as_ref())?;
            }
            _ => {}
        }
        match value {
            Some(value) => self.set.insert(name.into(), value),
            None => self.set.remove(name),
        };
        Ok(())
    }

    /// Makes the queue's dead go where the policy says.
    pub(crate) fn link(&mut self, policy: Option<&RedrivePolicy>) -> Result<(), Failure> {
        let (queue, attempts) = match policy {
            Some(RedrivePolicy { target, max_receive_count }) => {
                (Some(target.in_broker(&self.own)?), *max_receive_count)
            }
            None => (None, ATTEMPTS_UNBOUNDED),
        };
        self.spec.dead_letters = DeadLetterPolicy { queue, ..self.spec.dead_letters.clone() };
        self.spec.retry.max_attempts = attempts;
        Ok(())
    }

    fn touch(&mut self, now: Timestamp) {
        let seconds = (now.as_millis() / 1_000).to_string();
        self.spec.labels.insert(labels::MODIFIED.into(), seconds);
    }

    pub(crate) fn tags(&self) -> Pairs {
        read(&self.spec, labels::TAGS)
    }

    pub(crate) fn set_tags(&mut self, tags: &Pairs) {
        write(&mut self.spec, labels::TAGS, tags);
    }

    /// When it was last purged.
    pub(crate) fn purged(&self) -> Option<Timestamp> {
        let millis = self.spec.labels.get(labels::PURGED)?.parse().ok()?;
        Some(Timestamp::from_millis(millis))
    }

    pub(crate) fn set_purged(&mut self, now: Timestamp) {
        self.spec.labels.insert(labels::PURGED.into(), now.as_millis().to_string());
    }

    /// The moves out of this queue.
    pub(crate) fn moves<T: DeserializeOwned + Default>(&self) -> T {
        read(&self.spec, labels::MOVES)
    }

    pub(crate) fn set_moves(&mut self, moves: &impl Serialize) {
        write(&mut self.spec, labels::MOVES, moves);
    }
}

fn seconds(duration: Duration) -> String {
    duration.as_millis().div_ceil(1_000).to_string()
}

fn read<T: DeserializeOwned + Default>(spec: &QueueSpec, label: &str) -> T {
    let text = spec.labels.get(label);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn write(spec: &mut QueueSpec, label: &str, value: &impl Serialize) {
    match serde_json::to_string(value).unwrap_or_default().as_str() {
        "" | "{}" | "[]" => spec.labels.remove(label),
        text => spec.labels.insert(label.into(), text.to_owned()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn queue(name: &str) -> Attributes {
        let path = Namespace::default().queue(name).unwrap();
        let in_broker = path.in_broker(&Namespace::default()).unwrap();
        Attributes::new(
            in_broker,
            path.is_fifo(),
            &Namespace::default(),
            limits::MESSAGE_BYTES_MAX,
            NOW,
        )
    }

    fn set(queue: &mut Attributes, name: &str, value: &str) -> Result<(), Failure> {
        let given = Pairs::from([(name.to_owned(), value.to_owned())]);
        let checked = Attributes::check(&given, queue.is_fifo())?;
        queue.set(checked, NOW)
    }

    #[test]
    fn a_new_queue_has_the_defaults_of_aws() {
        let queue = queue("q");
        let defaults = [
            ("DelaySeconds", "0"),
            ("MaximumMessageSize", "1048576"),
            ("MessageRetentionPeriod", "345600"),
            ("ReceiveMessageWaitTimeSeconds", "0"),
            ("SqsManagedSseEnabled", "true"),
            ("VisibilityTimeout", "30"),
            ("CreatedTimestamp", "1767225600"),
        ];
        for (name, value) in defaults {
            assert_eq!(queue.get(name).as_deref(), Some(value), "{name}");
        }
        for name in ["FifoQueue", "Policy", "RedrivePolicy", "ContentBasedDeduplication"] {
            assert_eq!(queue.get(name), None, "{name}");
        }
        assert_eq!(queue.spec.check(), Ok(()));
    }

    #[test]
    fn what_is_set_is_in_the_spec_and_reads_back() {
        let mut queue = queue("q.fifo");
        let arn = "arn:aws:sqs:us-east-1:000000000000:d.fifo";
        let redrive = format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":\"3\"}}");
        for (name, value) in [
            ("VisibilityTimeout", "60"),
            ("MessageRetentionPeriod", "120"),
            ("MaximumMessageSize", "2048"),
            ("RedrivePolicy", &redrive),
            ("ContentBasedDeduplication", "true"),
        ] {
            set(&mut queue, name, value).unwrap();
        }
        let again = Attributes::of(queue.spec.clone(), &Namespace::default());
        assert_eq!(again.spec.lease, Duration::from_secs(60));
        assert_eq!(again.spec.retention, Some(Duration::from_secs(120)));
        assert_eq!(again.spec.dead_letters.queue, QueueName::new("d.fifo").ok());
        assert_eq!(again.spec.retry.max_attempts, 3);
        let redrive = again.get("RedrivePolicy").unwrap();
        assert_eq!(redrive, format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":3}}"));
        assert!(again.hot().dedup_by_content && !again.hot().dedup_per_group);
        assert_eq!(again.hot().message_bytes_max, 2_048);
        let mut bare = again.clone();
        set(&mut bare, "RedrivePolicy", "").unwrap();
        assert_eq!((bare.get("RedrivePolicy"), bare.spec.dead_letters.queue), (None, None));
    }

    #[test]
    fn a_timeout_of_zero_is_kept_and_one_that_others_change_counts() {
        let mut queue = queue("q");
        set(&mut queue, "VisibilityTimeout", "0").unwrap();
        assert_eq!(queue.get("VisibilityTimeout").unwrap(), "0");
        assert_eq!(queue.hot().visibility, Duration::ZERO);
        set(&mut queue, "VisibilityTimeout", "5").unwrap();
        queue.spec.lease = Duration::from_millis(6_500);
        assert_eq!(queue.get("VisibilityTimeout").unwrap(), "7");
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let mut fifo = queue("q.fifo");
        let failure = set(&mut fifo.clone(), "FifoThroughputLimit", "perMessageGroupId");
        assert_eq!(failure.unwrap_err().code, Code::InvalidAttributeValue);
        set(&mut fifo, "DeduplicationScope", "messageGroup").unwrap();
        set(&mut fifo, "FifoThroughputLimit", "perMessageGroupId").unwrap();
        let mut queue = queue("q");
        set(&mut queue, "KmsMasterKeyId", "alias/x").unwrap();
        assert_eq!(queue.get("SqsManagedSseEnabled"), None);
        assert!(set(&mut queue, "SqsManagedSseEnabled", "true").is_err());
    }
}
