//! Making a queue that is missing.

use tidegate_core::{Broker, ErrorKind, QueueName, QueueSpec, Result};

/// What happens where a queue is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is an error.
    #[default]
    Refuse,
    /// It is declared with the defaults.
    Declare,
}

/// Declares a queue that was missing with every default. One that somebody else made meanwhile is good as it is.
pub(crate) async fn declare_missing(broker: &Broker, queue: &QueueName) -> Result<()> {
    match broker.declare(&QueueSpec::new(queue.clone())).await {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        declared => declared,
    }
}
