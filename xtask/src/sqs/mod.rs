//! `tidegate serve` as clients of SQS know it, under what goes wrong: killed, flooded, and waited on.

mod asker;
pub(crate) mod bombs;
mod client;
pub(crate) mod idle;
pub(crate) mod kills;
mod server;
mod work;
