//! `cargo xtask bench`: builds the benchmarks with optimisations and runs them.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::cargo;

/// What the benchmarks are told.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// `engine`, `peers` or `plot` with their options; `bench -- help` tells them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(args: &BenchArgs) -> ExitCode {
    let run = ["run", "--release", "--quiet", "--package", "bench", "--"];
    let ran = Command::new(cargo::cargo()).args(run).args(&args.arguments).status();
    match ran {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}
