//! `examples`: the clients of `examples/`, in other languages, against a server of their own.
//!
//! Each is built as its README says, below `target/examples`, and run: what it sends is received, by
//! itself and by the next language; what it prints is compared with the input.

mod cases;
mod flights;
mod language;
mod program;
mod proxy;
mod server;
mod setup;

use std::process::ExitCode;

use clap::Args;

use crate::cargo::{self, Counts};
use crate::workload::Failure;

use cases::Case;
use language::Language;
use server::Server;
use setup::Built;

/// How `examples` is run.
#[derive(Debug, Args)]
pub(crate) struct ExamplesArgs {
    /// Only this language; can be given several times
    #[arg(long)]
    only: Vec<Language>,
}

/// Runs the examples and tells how many checks there were.
pub(crate) fn main(args: &ExamplesArgs) -> ExitCode {
    let languages = if args.only.is_empty() { &Language::ALL[..] } else { &args.only };
    let Counts { passed, failed, skipped } = run(languages);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All of them as tests.
pub(crate) fn counted() -> Counts {
    run(&Language::ALL)
}

fn run(languages: &[Language]) -> Counts {
    let build = ["build", "--quiet", "--all-features", "--package", "tidegate-cli"];
    if !cargo::succeeds(&cargo::cargo(), &build, &[]) {
        return Counts::one(false);
    }
    let mut counts = Counts::default();
    let mut built = Vec::new();
    for language in languages {
        match setup::build(*language) {
            Ok(Built::Runs) => built.push(*language),
            Ok(Built::Lacks(what)) => {
                eprintln!("{language} is skipped: {what}");
                counts.skipped += 1;
            }
            Err(error) => {
                eprintln!("{language} is not built: {error}");
                counts.failed += 1;
            }
        }
    }
    for (at, language) in built.iter().enumerate() {
        let next = built.iter().cycle().nth(at + 1).filter(|next| *next != language);
        for case in cases::of(*language, next.copied()) {
            counts = counts.plus(judge(*language, &case));
        }
    }
    counts
}

fn judge(language: Language, case: &Case) -> Counts {
    let done = Server::start().and_then(|mut server| (case.run)(&mut server));
    match &done {
        Ok(()) => println!("test {language}: {} ... ok", case.name),
        Err(error) => println!("test {language}: {} ... FAILED\n    {error}", case.name),
    }
    Counts::one(done.is_ok())
}

/// Fails with a sentence unless two things are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), Failure> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?} instead of {should:?}").into()) }
}
