//! `cargo xtask bench`: builds the benchmarks with optimisations and runs them.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::cargo;
use crate::needs::{self, FOR_PEERS, FOR_POSTGRES, FOR_REDIS, FOR_SQS, Need};

/// What the benchmarks are told.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// `engine`, `peers`, `sqs`, `adapter`, `snapshot` or `plot` with their options; `bench -- help` tells them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(args: &BenchArgs) -> ExitCode {
    // WHY: what is missing still is named there, and the others are measured without it.
    let _named = needs::provide(&servers(&args.arguments));
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

/// The servers that are to be measured.
fn servers(arguments: &[String]) -> Vec<Need> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).take(2).collect();
    match words.as_slice() {
        ["sqs", "--help"] => Vec::new(),
        ["sqs", ..] => FOR_SQS.to_vec(),
        ["adapter", "redis"] => FOR_REDIS.to_vec(),
        ["adapter", "postgres"] | ["snapshot", ..] => FOR_POSTGRES.to_vec(),
        _ => peers(arguments),
    }
}

/// The servers of other queues that are to be measured: those whose names are in `--only`, if it is
/// given.
fn peers(arguments: &[String]) -> Vec<Need> {
    let [command, options @ ..] = arguments else { return Vec::new() };
    if command != "peers" || options.iter().any(|option| option == "--help") {
        return Vec::new();
    }
    let only: Vec<&str> = options
        .iter()
        .zip(options.iter().skip(1).map(Some).chain([None]))
        .filter_map(|(option, next)| match option.strip_prefix("--only=") {
            Some(part) => Some(part),
            None => next.filter(|_| option == "--only").map(String::as_str),
        })
        .collect();
    let is_wanted = |need: &&Need| {
        let named = |part: &&str| part.contains(need.name) || need.name.contains(*part);
        only.is_empty() || only.iter().any(named)
    };
    FOR_PEERS.iter().filter(is_wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Vec<&'static str> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        servers(&arguments).iter().map(|need| need.name).collect()
    }

    #[test]
    fn servers_are_wanted_for_the_rows_that_are_measured() {
        let all = ["redis", "nats", "rabbitmq", "postgresql", "beanstalkd"];
        assert_eq!(names(&["peers", "--rounds", "3"]), all);
        assert_eq!(names(&["peers", "--only", "redis lists"]), ["redis"]);
        assert_eq!(names(&["peers", "--only=post", "--only", "nats"]), ["nats", "postgresql"]);
        assert_eq!(names(&["adapter", "redis", "--rounds", "3"]), ["redis-server"]);
        assert_eq!(names(&["adapter", "postgres"]), ["postgresql"]);
        assert_eq!(names(&["snapshot"]), ["postgresql"]);
        assert_eq!(names(&["sqs", "--rounds", "3"]), ["moto", "elasticmq"]);
        assert!(names(&["peers", "--help"]).is_empty());
        assert!(names(&["engine", "--rounds", "3"]).is_empty());
        assert!(names(&[]).is_empty());
    }
}
