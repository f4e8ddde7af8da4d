//! The contract of Tidegate, executable.
//!
//! [`cases`] are the sentences of the contract, each a test that any broker can be put to through
//! a [`Harness`]; [`main`] is the whole of an adapter's `tests/conformance.rs`.

pub mod cases;
pub mod faults;
pub mod harness;
pub mod history;
pub mod log;
pub mod memory;
pub mod model;
pub mod runner;
pub mod suite;
pub mod teeth;
pub mod trial;

pub use harness::{Deviation, Harness, Stage};
pub use runner::{CaseReport, Outcome, Report, run};
pub use suite::main;
