//! The contract of Tidegate, executable.
//!
//! [`cases`] are the sentences of the contract, each a test that any broker can be put to through
//! a [`Harness`]; [`main`] is the whole of an adapter's `tests/conformance.rs`, and [`run`] is the
//! same without a process. [`memory`] and [`log`] are two reference brokers that are opposites in
//! almost everything they declare. [`teeth`] puts the suite itself to the test with [`faults`],
//! [`model`] compares a broker with the memory broker command by command, and [`history`] judges
//! what clients saw of one that was killed under load. [`services`] starts servers of others.

pub mod cases;
pub mod faults;
pub mod harness;
pub mod history;
pub mod log;
pub mod memory;
pub mod model;
pub mod runner;
pub mod services;
pub mod suite;
pub mod teeth;
pub mod trial;

pub use harness::{Deviation, Harness, Stage};
pub use runner::{CaseReport, Outcome, Report, run};
pub use suite::main;
