//! The `tidegate` binary as its users run it: outputs, exit codes and JSON.

mod bench;
mod broker;
mod config;
mod demo;
mod dlq;
mod queue;
mod send;
mod shell;
mod work;
