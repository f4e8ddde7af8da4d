//! The log keeps the contract, as far as it declares to.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_conformance::main(tidegate_conformance::log::LogHarness)
}
