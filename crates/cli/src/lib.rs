//! What the `tidegate` binary does: tasks from the shell, on any broker. A library only so that the
//! benchmarks beside it measure with the same instruments.

mod app;
mod args;
mod ask;
pub mod bench;
mod commands;
mod config;
mod demo;
mod exit;
mod failure;
pub mod memory;
mod output;
mod progress;
mod units;
mod views;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use app::App;
use args::Cli;
use failure::Failure;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    memory::use_small_pages();
    let cli = Cli::parse();
    log_to_stderr();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<exit::Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("start: {error}")))?;
    let Cli { global, command } = cli;
    let ran = runtime.block_on(async { commands::run(App::new(global), command).await });
    // WHY: a read of stdin that nobody waits for any more must not hold up the exit.
    runtime.shutdown_background();
    ran
}

/// What libraries log when nothing else is asked for. WHY: the settler's warnings are what `work`
/// tells about every task anyway.
const LOG_DEFAULT: &str = "warn,tidegate::worker::settler=error";

/// Warnings of the libraries go to stderr; `TIDEGATE_LOG=debug` shows more.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG_DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
