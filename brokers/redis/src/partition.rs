//! One partition of a queue: the names of its keys and its numbers.

use tidegate_core::limits::PARTITIONS_MAX;
use tidegate_core::{QueueName, Timestamp};

/// A partition by its place in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// What the names of all its keys begin with. The braces are the hash tag: all keys lie in one slot.
    base: String,
    pub(crate) index: u32,
}

impl Partition {
    pub(crate) fn new(prefix: &str, queue: &QueueName, index: u32) -> Self {
        Self { base: format!("{prefix}:{{{}/{index}}}:", queue.as_str()), index }
    }

    /// The hash that says what it is.
    pub(crate) fn meta(&self) -> String {
        format!("{}m", self.base)
    }

    /// A key that never is.
    ///
    /// WHY: named beside the hash, in a cluster. While the slot moves from one server to another its keys go one by one, and a
    /// script would find some and miss others; a server refuses a call of which it has one key and misses another
    /// before anything is done, and so every call until all have arrived.
    pub(crate) fn nothing(&self) -> String {
        format!("{}-", self.base)
    }

    /// The channel on which it tells what has become available.
    pub(crate) fn channel(&self) -> String {
        format!("{}n", self.base)
    }

    /// The channel on which a queue's first partition tells that its group has changed.
    pub(crate) fn group_channel(&self) -> String {
        format!("{}g", self.base)
    }

    /// The sequence of a task: numbers of all partitions of a queue, told apart.
    pub(crate) fn sequence(&self, number: u64) -> u64 {
        number * u64::from(PARTITIONS_MAX) + u64::from(self.index)
    }
}

/// The number and the partition that a sequence is made of.
pub(crate) const fn number_of(sequence: u64) -> (u64, u32) {
    let partitions = PARTITIONS_MAX as u64;
    (sequence / partitions, (sequence % partitions) as u32)
}

/// A time of the server, in microseconds.
pub(crate) fn time(us: u64) -> Timestamp {
    Timestamp::from_millis(us / 1_000)
}
