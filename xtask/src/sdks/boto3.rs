//! What boto3 is promised, checked by boto3.
//!
//! boto3 as it is today speaks AWS JSON, an older one the Query protocol: both run the checks of
//! `examples/sqs-python` over the engine, and today's over Redis and PostgreSQL too, where they are, with the
//! checks of two servers over one broker there. They run once more where every request must be signed, with the checks of what is refused then.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::python;
use super::server::{Over, Server, Stood};
use crate::cargo::Counts;
use crate::workload::Failure;

/// A wire form: its name, and what installs a boto3 that speaks it.
pub(super) type Form = (&'static str, &'static str);
pub(super) const JSON: Form = ("AWS JSON", "requirements.txt");
const QUERY: Form = ("Query", "requirements-query.txt");
/// What is checked over what.
const RUNS: [(Form, Over); 6] = [
    (JSON, Over::Engine),
    (QUERY, Over::Engine),
    (JSON, Over::Keys),
    (QUERY, Over::Keys),
    (JSON, Over::Redis),
    (JSON, Over::Postgres),
];
/// All of them as tests.
pub(super) fn counted() -> Counts {
    let checked = RUNS.iter().map(|((form, requirements), over)| {
        let name = format!("boto3, {form}, {over:?}").to_lowercase();
        let target = python::target(form);
        let skipped = |why: &dyn std::fmt::Display| {
            eprintln!("{name} is skipped: {why}");
            Counts { passed: 0, failed: 0, skipped: 1 }
        };
        if let Err(why) = python::install(&target, requirements) {
            return skipped(&why);
        }
        let failed = |error: Failure| {
            println!("test {name} ... FAILED\n    {error}");
            Counts::one(false)
        };
        match Stood::of(*over) {
            Ok(Some(stood)) => check(&name, &target, &stood).unwrap_or_else(failed),
            Ok(None) => skipped(&"its server is not here"),
            Err(error) => failed(error),
        }
    });
    checked.fold(Counts::default(), Counts::plus)
}

fn check(run: &str, target: &Path, stood: &Stood) -> Result<Counts, Failure> {
    let server = Server::start(&target.join("server"), stood)?;
    let url = server.url();
    let counts = script_of(run, target, "checks.py", &[url])?;
    Ok(counts.plus(match stood {
        Stood::Engine => Counts::default(),
        Stood::Keys => script_of(run, target, "access.py", &[url])?,
        Stood::Redis(_) | Stood::Postgres(_) => {
            let other = Server::start(&target.join("other-server"), stood)?;
            script_of(run, target, "shared.py", &[url, other.url()])?
        }
    }))
}

/// Runs a script, whose lines tell what became of each check.
fn script_of(run: &str, target: &Path, script: &str, urls: &[&str]) -> Result<Counts, Failure> {
    let mut python = Command::new(python::of(target));
    python.arg(python::source().join(script)).args(urls).current_dir(target).stdout(Stdio::piped());
    let mut checks = python.spawn()?;
    let output = checks.stdout.take().ok_or("no output of the checks")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        let (told, name) = line.split_once(' ').unwrap_or_default();
        match told {
            "ok" => counts = counts.plus(Counts::one(true)),
            "FAILED" => counts = counts.plus(Counts::one(false)),
            _ => {
                println!("    {line}");
                continue;
            }
        }
        println!("test {run}: {name} ... {told}");
    }
    let ended = checks.wait()?;
    if !ended.success() && counts.failed == 0 {
        return Err(format!("the checks ended with {ended}").into());
    }
    Ok(counts)
}
