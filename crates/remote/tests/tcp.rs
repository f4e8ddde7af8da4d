//! The whole contract, over TCP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stage;

use std::process::ExitCode;

use stage::{Over, RemoteHarness};

fn main() -> ExitCode {
    tidegate_conformance::main(RemoteHarness { name: "remote-tcp", over: Over::Tcp })
}
