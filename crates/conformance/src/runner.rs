//! Running cases: each on a broker of its own, with a guard against hanging.

use std::fmt;
use std::time::Duration;

use crate::cases::{self, Case};
use crate::harness::{Deviation, Harness};
use crate::trial::{Proof, Shown, Trial};

/// How long a case may take in real time before it counts as hanging.
pub const GUARD: Duration = Duration::from_secs(60);

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker keeps the sentence.
    Passed,
    /// The broker declares that it cannot, and refused.
    Refused,
    /// This machine has no such broker.
    NotConfigured,
    /// It failed, as a declared deviation says.
    Deviated {
        /// How it failed.
        why: String,
    },
    /// It failed, or it passed though a deviation says that it fails.
    Failed {
        /// What was seen.
        why: String,
    },
}

/// A case and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// `topic::case_name_as_a_sentence`.
    pub case: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of all cases, in the order of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry for each case that was run.
    pub cases: Vec<CaseReport>,
}

impl Report {
    /// Cases that failed, in order.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| matches!(case.outcome, Outcome::Failed { .. }))
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| which(&case.outcome)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.count(|outcome| *outcome == Outcome::Passed);
        let refused = self.count(|outcome| *outcome == Outcome::Refused);
        let absent = self.count(|outcome| *outcome == Outcome::NotConfigured);
        let deviated = self.count(|outcome| matches!(outcome, Outcome::Deviated { .. }));
        let failed = self.failures().count();
        write!(
            f,
            "{passed} passed, {refused} refused as declared, {absent} not configured, \
             {deviated} known deviations, {failed} failed"
        )
    }
}

/// Runs the cases whose name contains `filter` (all of them if it is empty), one after another.
/// Must be called within a tokio runtime with threads of its own. `guard` is the real time that
/// one case may take, usually [`GUARD`].
pub async fn run(harness: &dyn Harness, filter: &str, guard: Duration) -> Report {
    let mut report = Report::default();
    for case in cases::all().into_iter().filter(|case| case.name.contains(filter)) {
        let outcome = run_case(harness, &case, guard).await;
        report.cases.push(CaseReport { case: case.name, outcome });
    }
    report
}

/// Runs one case on a fresh broker.
pub async fn run_case(harness: &dyn Harness, case: &Case, guard: Duration) -> Outcome {
    let Some(stage) = harness.stage().await else {
        return Outcome::NotConfigured;
    };
    let trial = Trial::new(stage, harness.tick(), harness.in_process());
    let seen = guarded((case.run)(trial), guard).await;
    let deviation = harness.deviations().iter().find(|deviation| deviation.case == case.name);
    judge(seen, deviation)
}

/// What a case ended with; a panic and a hang are failures.
async fn guarded(
    running: impl Future<Output = Proof> + Send + 'static,
    guard: Duration,
) -> Result<Shown, String> {
    let mut running = tokio::spawn(running);
    match tokio::time::timeout(guard, &mut running).await {
        Ok(Ok(proof)) => proof.map_err(|failure| failure.to_string()),
        Ok(Err(panicked)) => Err(format!("the case panicked: {panicked}")),
        Err(_) => {
            running.abort();
            Err(format!("the case hung for {guard:?}"))
        }
    }
}

fn judge(seen: Result<Shown, String>, deviation: Option<&Deviation>) -> Outcome {
    match (seen, deviation) {
        (Err(why), Some(_)) => Outcome::Deviated { why },
        (Err(why), None) => Outcome::Failed { why },
        (Ok(_), Some(deviation)) => {
            let why = format!(
                "passes, though it is listed as a deviation ({}); take it off the list",
                deviation.reason
            );
            Outcome::Failed { why }
        }
        (Ok(Shown::Honoured), None) => Outcome::Passed,
        (Ok(Shown::Refused), None) => Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Deviation = Deviation { case: "a::b", reason: "because", link: "decision 1" };

    #[test]
    fn a_deviation_must_fail() {
        let failed = judge(Err("no".into()), Some(&KNOWN));
        assert_eq!(failed, Outcome::Deviated { why: "no".into() });
        let passed = judge(Ok(Shown::Honoured), Some(&KNOWN));
        assert!(matches!(passed, Outcome::Failed { why } if why.contains("because")));
        assert_eq!(judge(Ok(Shown::Refused), None), Outcome::Refused);
        assert!(matches!(judge(Err("no".into()), None), Outcome::Failed { .. }));
    }

    #[tokio::test]
    async fn a_hang_and_a_panic_are_failures() {
        let hung = guarded(std::future::pending(), Duration::from_millis(5)).await;
        assert!(hung.unwrap_err().contains("hung"));
        let absurd: Proof = Err(crate::trial::Failure::new("wrong"));
        let failed = guarded(std::future::ready(absurd), GUARD).await;
        assert!(failed.unwrap_err().contains("wrong"));
    }
}
