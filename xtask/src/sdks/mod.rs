//! `sdks`: what the SDKs of AWS and those who build on them are promised, checked by them against servers of
//! their own: boto3's checks, the clients of `examples/sqs-*`, sqs-consumer, a Celery app and the AWS CLI.

mod boto3;
mod cases;
mod celery;
mod cli;
pub(crate) mod client;
mod faults;
mod python;
mod server;

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cargo::Counts;
use crate::programs;
use client::Client;

/// How `sdks` is run.
#[derive(Debug, Args)]
pub(crate) struct SdksArgs {
    /// Only this; can be given several times
    #[arg(long)]
    only: Vec<Sdk>,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sdk {
    Boto3,
    Python,
    Go,
    Typescript,
    Celery,
    Cli,
}

/// Runs the checks and tells how many there were.
pub(crate) fn main(args: &SdksArgs) -> ExitCode {
    let all = Sdk::value_variants();
    let Counts { passed, failed, skipped } =
        run(if args.only.is_empty() { all } else { &args.only });
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All of them as tests.
pub(crate) fn counted() -> Counts {
    run(Sdk::value_variants())
}

fn run(sdks: &[Sdk]) -> Counts {
    if let Err(why) = programs::binary(false) {
        eprintln!("{why}");
        return Counts::one(false);
    }
    let clients: Vec<Client> = sdks.iter().filter_map(|sdk| client_of(*sdk)).collect();
    let mut counts = Counts::default();
    if sdks.contains(&Sdk::Boto3) {
        counts = counts.plus(boto3::counted());
    }
    counts = counts.plus(cases::counted(&clients));
    if sdks.contains(&Sdk::Celery) {
        counts = counts.plus(celery::counted());
    }
    if sdks.contains(&Sdk::Cli) {
        counts = counts.plus(cli::counted());
    }
    counts
}

fn client_of(sdk: Sdk) -> Option<Client> {
    match sdk {
        Sdk::Python => Some(Client::Python),
        Sdk::Go => Some(Client::Go),
        Sdk::Typescript => Some(Client::Typescript),
        Sdk::Boto3 | Sdk::Celery | Sdk::Cli => None,
    }
}
