//! `ci`: what a change must pass before it is accepted. `.ci/run` does this and nothing else.

use clap::Parser;

use crate::cargo::{self, Counts};
use crate::needs::{self, FOR_CHECKS};
use crate::stages::Stage;
use crate::test::{self, TestArgs};
use crate::{matrix, tidy};

#[derive(Debug, Parser)]
struct Everything {
    #[command(flatten)]
    test: TestArgs,
}

/// The stages of `ci`.
pub(crate) fn stages() -> Vec<Stage> {
    let missing = needs::provide(FOR_CHECKS);
    let has = |name: &str| !missing.iter().any(|need| need.name == name);
    let mut stages = vec![
        Stage::new("tidy", 0.5, || Counts::one(tidy::is_clean())),
        Stage::new("tables are fresh", 0.5, || Counts::one(matrix::is_fresh())),
    ];
    stages.push(if has("rustfmt") {
        Stage::new("format", 0.5, || check(&["fmt", "--all", "--check"], &[]))
    } else {
        Stage::skipped("format")
    });
    stages.extend(test::stages(&Everything::parse_from(["ci"]).test));
    stages.push(if has("clippy") {
        Stage::new("lints", 6.0, lints)
    } else {
        Stage::skipped("lints")
    });
    stages.push(Stage::new("documentation", 5.0, documentation));
    stages
}

fn lints() -> Counts {
    let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--"];
    check(&[&arguments[..], &["-D", "warnings"]].concat(), &[])
}

fn documentation() -> Counts {
    let arguments = ["doc", "--workspace", "--no-deps", "--all-features"];
    check(&arguments, &[("RUSTDOCFLAGS", "-Dwarnings")])
}

fn check(arguments: &[&str], environment: &[(&str, &str)]) -> Counts {
    Counts::one(cargo::succeeds(&cargo::cargo(), arguments, environment))
}
