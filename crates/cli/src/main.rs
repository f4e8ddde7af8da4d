//! The `tidegate` binary: tasks from the shell, on any broker.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Tasks are made on one thread and freed on another, on which the C library's allocator takes a lock.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tidegate_cli::main()
}
