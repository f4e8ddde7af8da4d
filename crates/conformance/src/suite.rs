//! The suite as a test program: every case is a test with a name of its own.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Completion, Failed, Trial as Test};

use crate::cases::{self, Case};
use crate::harness::Harness;
use crate::runner::{CaseReport, GUARD, Outcome, Report, run_case};

/// Runs the suite as a test program, with libtest's arguments. The whole of an adapter's
/// `tests/conformance.rs`, which is declared with `harness = false`.
///
/// A broker that is not configured is reported and passed over, unless `CI=true` or
/// `TIDEGATE_REQUIRE` (names, separated by commas) lists it. Ends with one line that counts the
/// outcomes.
pub fn main(harness: impl Harness) -> ExitCode {
    run(harness, &Arguments::from_args())
}

/// The same with this many cases at one time, unless `--test-threads` says otherwise: for brokers on real
/// time, whose cases wait more than they work.
pub fn main_beside(harness: impl Harness, cases: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(cases));
    run(harness, &arguments)
}

fn run(harness: impl Harness, arguments: &Arguments) -> ExitCode {
    let harness: Arc<dyn Harness> = Arc::new(harness);
    let name = harness.name();
    let unknown = unknown_deviations(&*harness);
    if !unknown.is_empty() {
        eprintln!("{name} deviates from cases that do not exist: {}", unknown.join(", "));
        return ExitCode::FAILURE;
    }
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let test = |case: Case| named_test(harness.clone(), case, seen.clone());
    let tests = cases::all().into_iter().map(test).collect();
    let conclusion = libtest_mimic::run(arguments, tests);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    summarize(name, &seen);
    conclusion.exit_code()
}

type Seen = Arc<Mutex<BTreeMap<&'static str, Outcome>>>;

fn named_test(harness: Arc<dyn Harness>, case: Case, seen: Seen) -> Test {
    let kind = harness.name();
    Test::ignorable_test(case.name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failed::from(error.to_string()))?;
        let outcome = runtime.block_on(run_case(&*harness, &case, GUARD));
        runtime.shutdown_background();
        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(case.name, outcome.clone());
        conclude(outcome, required(harness.name()))
    })
    .with_kind(kind)
}

fn conclude(outcome: Outcome, is_required: bool) -> Result<Completion, Failed> {
    match outcome {
        Outcome::Passed | Outcome::Refused | Outcome::Deviated { .. } => Ok(Completion::Completed),
        Outcome::NotConfigured if is_required => {
            Err("this broker is required here and is not configured".into())
        }
        Outcome::NotConfigured => Ok(Completion::ignored_with("not configured")),
        Outcome::Failed { why } => Err(why.into()),
    }
}

/// Whether a broker that is not configured is a failure here.
fn required(name: &str) -> bool {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    ci || lists(&std::env::var("TIDEGATE_REQUIRE").unwrap_or_default(), name)
}

fn lists(names: &str, name: &str) -> bool {
    names.split(',').any(|listed| listed.trim() == name)
}

fn unknown_deviations(harness: &dyn Harness) -> Vec<&'static str> {
    let known: Vec<&str> = cases::all().iter().map(|case| case.name).collect();
    let listed = harness.deviations().iter().map(|deviation| deviation.case);
    listed.filter(|case| !known.contains(case)).collect()
}

fn summarize(name: &str, seen: &BTreeMap<&'static str, Outcome>) {
    if seen.is_empty() {
        return;
    }
    let report =
        |(case, outcome): (&&'static str, &Outcome)| CaseReport { case, outcome: outcome.clone() };
    let report = Report { cases: seen.iter().map(report).collect() };
    for CaseReport { case, outcome } in &report.cases {
        match outcome {
            Outcome::Refused => println!("refused as declared: {case}"),
            Outcome::NotConfigured => println!("not configured: {case}"),
            Outcome::Deviated { why } => println!("known deviation: {case}: {why}"),
            Outcome::Passed | Outcome::Failed { .. } => {}
        }
    }
    println!("{name}: {report}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_not_configured_is_ignored_unless_it_is_required() {
        let ignored = conclude(Outcome::NotConfigured, false);
        assert!(matches!(ignored, Ok(Completion::Ignored { reason: Some(_) })));
        assert!(conclude(Outcome::NotConfigured, true).is_err());
        assert!(lists("redis, kafka", "kafka"));
        assert!(!lists("redis, kafka", "kaf"));
        assert!(!lists("", "redis"));
    }

    #[test]
    fn a_failure_fails_and_a_known_deviation_does_not() {
        assert!(conclude(Outcome::Failed { why: "no".into() }, false).is_err());
        assert!(conclude(Outcome::Deviated { why: "no".into() }, false).is_ok());
    }
}
