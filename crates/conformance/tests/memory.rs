//! The memory broker keeps the whole contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_conformance::main(tidegate_conformance::memory::MemoryHarness)
}
