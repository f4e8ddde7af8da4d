//! An asynchronous task queue: connect to a broker, send tasks, work on them.
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! Delivery is at-least-once: a handler may run twice for one task, so make its effects repeatable,
//! or let them and the acknowledgement commit together ([`Outcome::then`]).
//!
//! - [`connect`] turns a URL into a [`Broker`].
//! - [`TypedTask`] ties a type to its kind, version, queue and key.
//! - [`Producer`] sends, one by one or in a pipeline with receipts.
//! - [`Worker`] runs handlers; [`Consumer`] is for those who poll and settle by hand.
//! - [`testing`] is the memory broker on a clock that stands still.
//!
//! With the cargo feature `tower`, `Worker::layer` puts tower layers around every handler.

mod backoff;
mod connect;
mod consumer;
mod context;
mod declare;
mod embedded;
mod handler;
mod outcome;
pub mod producer;
mod server_url;
pub mod testing;
pub mod typed;
pub mod worker;

pub use tidegate_core::*;
/// Implements [`trait@TypedTask`].
pub use tidegate_derive::TypedTask;

pub use connect::{
    ConnectOptions, DURABILITY_INTERVAL_DEFAULT, Durability, EMBEDDED_PATH_DEFAULT, connect,
    connect_with,
};
pub use consumer::Consumer;
pub use context::Context;
pub use handler::Handler;
pub use outcome::{Failure, Outcome};
pub use producer::{Producer, Receipt, SendOptions, WhenFull};
pub use typed::TypedTask;
pub use worker::{Control, Worker, WorkerOptions};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
