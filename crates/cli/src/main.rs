//! The `tidegate` binary: tasks from the shell, on any broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_cli::main()
}
