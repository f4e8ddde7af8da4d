//! `examples`: the clients of `examples/`, in other languages, against a server of their own.
//!
//! Each is built as its README says, below `target/examples`, and run: what it sends is received, by
//! itself and by the next language; what it prints is compared with the input.

mod cases;
pub(crate) mod flights;
mod language;
pub(crate) mod program;
mod proxy;
pub(crate) mod server;
pub(crate) mod setup;

use std::process::ExitCode;

use clap::Args;

use crate::cargo::Counts;
use crate::programs;
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
    if let Err(why) = programs::binary(false) {
        eprintln!("{why}");
        return Counts::one(false);
    }
    let built: Vec<(Language, Result<Built, Failure>)> =
        side_by_side(languages, |language| (language, setup::build(language)));
    let mut counts = Counts::default();
    let mut runs = Vec::new();
    for (language, built) in built {
        match built {
            Ok(Built::Runs) => runs.push(language),
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
    let next = |language: Language| {
        let at = runs.iter().position(|one| *one == language)?;
        runs.iter().cycle().nth(at + 1).filter(|next| **next != language).copied()
    };
    let counted = side_by_side(&runs, |language| {
        let cases = cases::of(language, next(language));
        cases.iter().map(|case| judge(language, case)).fold(Counts::default(), Counts::plus)
    });
    counted.into_iter().fold(counts, Counts::plus)
}

/// Does something for each language, all at the same time: most of it is waiting.
fn side_by_side<T: Send>(languages: &[Language], act: impl Fn(Language) -> T + Sync) -> Vec<T> {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            languages.iter().map(|language| scope.spawn(move || act(*language))).collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
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
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    is: &T,
    should: &T,
) -> Result<(), Failure> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?} instead of {should:?}").into()) }
}
