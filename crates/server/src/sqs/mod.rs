//! The protocol of Amazon SQS over a broker.
//!
//! `action` names what can be asked and `actions` does it; `shapes` has one type for each request and
//! answer, which `wire` reads and writes in both forms with the help of `query` and `json`; `errors` are
//! the protocol's, and `digests` (many at once: `md5s`) what clients compare with their own. What its words
//! are among ours is in `message` (a task), `attributes` (a queue's spec), `receipt` (a lease's token) and
//! `account` (a queue's name). `queues` are those in use, on the way to which requests `gather`. `room`
//! bounds what answers take, and `polls` how many receives wait.

mod account;
mod action;
mod actions;
mod attributes;
mod digests;
mod errors;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gather;
mod json;
mod limits;
mod lists;
mod md5s;
mod message;
#[cfg(test)]
mod model;
mod polls;
mod query;
mod queues;
mod receipt;
mod room;
mod service;
mod shapes;
mod wire;

pub(crate) use account::is_account;
pub use account::{Namespace, QueuePath};
pub use action::Action;
pub use errors::{Code, Failure};
pub use limits::{MESSAGE_BYTES_MAX, POLLS_PER_KEY_MAX};
pub use service::{Options, Service};
