//! The protocol's messages and the contract's words, each made from the other. `X_to` makes a message,
//! `X_from` reads one; what cannot be read says which field.

pub(crate) mod capabilities;
pub(crate) mod codec;
pub(crate) mod error;
pub(crate) mod lease;
pub(crate) mod spec;
pub(crate) mod task;
#[cfg(test)]
mod tests;
pub(crate) mod time;
pub(crate) mod views;

use tidegate_core::{Error, ErrorKind, Operation, QueueName};

/// A message that makes no sense.
pub(crate) fn unreadable(doing: Operation, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, doing, why)
}

/// What a client makes of an answer that it cannot read: nothing the caller did is wrong with it.
pub(crate) fn newer(error: &Error) -> Error {
    let why = error.message();
    let why = format!("{why}; the server may be newer than this program: update it");
    let unexpected = Error::new(ErrorKind::Unexpected, error.operation(), why);
    match error.subject() {
        Some(subject) => unexpected.about(subject),
        None => unexpected,
    }
}

/// A queue's name in a message.
pub(crate) fn queue_from(name: impl AsRef<str>, doing: Operation) -> Result<QueueName, Error> {
    QueueName::new(name).map_err(|why| unreadable(doing, why))
}
