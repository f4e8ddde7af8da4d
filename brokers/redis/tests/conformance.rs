//! The whole contract on a real server, each case on one of its own that can be killed and started again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod stage;

use std::process::ExitCode;

use stage::On;

fn main() -> ExitCode {
    stage::main(On::Server)
}
