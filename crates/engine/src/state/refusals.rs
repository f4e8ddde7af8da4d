//! What the state refuses, and what to do about it.

use tidegate_core::{Error, ErrorKind, Operation, QueueName};

pub(super) fn missing(name: &QueueName, doing: Operation) -> Error {
    Error::new(ErrorKind::NotFound, doing, "there is no such queue; declare it first").on(name)
}

pub(super) fn other_spec(name: &QueueName, field: &str) -> Error {
    let why = format!("the queue exists with another {field}; update it instead of declaring it");
    Error::new(ErrorKind::Conflict, Operation::Declare, why).on(name)
}

pub(super) fn full(name: &QueueName, live: u64, doing: Operation) -> Error {
    let why = format!("the queue is full with {live} tasks; wait for room or raise its capacity");
    Error::new(ErrorKind::QueueFull, doing, why).on(name)
}

pub(super) fn unreadable_token(name: &QueueName, doing: Operation) -> Error {
    let why = "the lease token is not one of this broker's; pass it on as it was received";
    Error::new(ErrorKind::Invalid, doing, why).on(name)
}

pub(super) fn foreign_token(name: &QueueName, doing: Operation) -> Error {
    let why = "the lease token belongs to another queue; settle it there";
    Error::new(ErrorKind::Invalid, doing, why).on(name)
}

pub(super) fn conflict(name: &QueueName, doing: Operation, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, doing, why).on(name)
}
