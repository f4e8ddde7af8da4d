//! The server that speaks the protocol of Amazon SQS, over any broker with timed leases.
//!
//! [`Server`] listens and ends, [`sqs`] is the protocol: its actions, both its wire forms, and what its
//! words are among ours. [`auth`] says who asks.

pub mod auth;
mod listen;
pub mod sqs;

pub use listen::{ADDRESS_DEFAULT, Limits, Listen, Server, Tls};
