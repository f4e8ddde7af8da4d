//! The whole contract, over a Unix socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stage;

use std::process::ExitCode;

use stage::{Over, RemoteHarness};

fn main() -> ExitCode {
    tidegate_conformance::main(RemoteHarness { name: "remote-socket", over: Over::Socket })
}
