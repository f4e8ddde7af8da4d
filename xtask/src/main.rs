//! Tidegate's own tools. `cargo xtask help` lists them.

mod kills;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and checks Tidegate
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kills a working process with SIGKILL, again and again, and judges the history
    Kills(kills::KillsArgs),
    /// What a process of `kills` does
    #[command(subcommand, hide = true)]
    KillsChild(kills::Child),
}

fn main() -> ExitCode {
    match Xtask::parse().command {
        Command::Kills(args) => kills::main(&args),
        Command::KillsChild(child) => kills::child(&child),
    }
}
