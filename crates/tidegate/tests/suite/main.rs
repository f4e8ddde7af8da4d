//! The promises of what applications use, each a test whose name says it.

#![expect(clippy::unwrap_used, reason = "what a test sets up for others fails the test")]

mod consumer;
mod derive;
mod producer;
mod scripted;
mod test_broker;
#[cfg(feature = "tower")]
mod tower_layers;
mod worker_lease;
mod worker_limits;
mod worker_outcomes;
mod worker_shutdown;
