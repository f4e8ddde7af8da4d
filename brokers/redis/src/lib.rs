//! Tidegate's queues on Redis: streams read through a consumer group, and scripts that carry out every step
//! in one place, so that a lease has a fence, a bound is kept and nothing is half done.
//!
//! A queue has one partition or more. All keys of a partition lie in one hash slot, `{queue/partition}`;
//! `lua/partition.lua` lists them. Time is the server's.

mod admin;
mod atomic;
mod capabilities;
mod carriers;
mod config;
mod driver;
mod envelope;
mod errors;
mod gather;
mod group;
mod inspect;
mod leases;
mod link;
mod moves;
mod partition;
mod reply;
mod script;
mod session;
mod token;
mod wake;

pub use capabilities::capabilities;
pub use config::{Config, Serialization};
pub use driver::connect;
#[doc(hidden)]
pub use script::of_a_life;
