//! The words of Tidegate and the contract every broker keeps.
//!
//! Applications hold a [`Broker`]; an adapter implements [`Driver`] and [`Session`]. The memory
//! broker in [`memory`] is the executable specification: where prose and it disagree, one of them
//! has a bug, and the conformance suite says which.
//!
//! This crate knows no disk, no network and no runtime.

pub mod access;
pub mod admin;
pub mod admit;
pub mod assignment;
pub mod atomic;
pub mod attempts;
pub mod broker;
pub mod capabilities;
pub mod clock;
pub mod driver;
pub mod error;
pub mod gather;
pub mod id;
pub mod inspect;
pub mod kind;
pub mod lease;
pub mod limits;
pub mod memory;
pub mod name;
pub mod queue;
pub mod queueing;
pub mod receiver;
pub mod retry;
pub mod routing;
pub mod task;

pub use access::{Access, Action, Pattern, Right};
pub use admin::{Admin, DeadFilter};
pub use atomic::{Atomic, FollowUp};
pub use broker::{Broker, BrokerParts};
pub use bytes::Bytes;
pub use capabilities::Capabilities;
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use driver::{
    AttemptId, Driver, Enqueued, Held, Holder, Membership, ReceiveOptions, Session, SessionOptions,
};
pub use error::{Error, ErrorKind, Operation, Result};
pub use id::TaskId;
pub use inspect::{Inspect, ListOptions, Member, QueueStats, TaskView};
pub use kind::Kind;
pub use lease::{Lease, LeaseToken, Lost, Settled, State, Verdict};
pub use name::QueueName;
pub use queue::{Capacity, DeadLetterPolicy, Ordering, QueueSpec};
pub use receiver::Receiver;
pub use retry::{Jitter, RetryPolicy};
pub use routing::{Partitions, Router};
pub use task::{DeadLetter, NewTask, Task, Unique};
