//! The `tidegate` binary as its users run it: outputs, exit codes and JSON.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod broker;
mod config;
mod demo;
mod dlq;
mod queue;
mod send;
mod serve;
mod shell;
mod work;
