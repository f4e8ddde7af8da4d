//! What many runs showed together.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_conformance::history::{Event, Findings, Judgement, What};

use super::Rig;
use super::rig::is_sound;

/// Findings of one run that are printed at most.
const SHOWN_MAX: usize = 5;
/// The names that a sound broker shows none of, in the order in which they are printed.
const INVALID: [Judgement; 10] = [
    Judgement::Lost,
    Judgement::Unexpected,
    Judgement::StaleAccept,
    Judgement::LeaseOverlap,
    Judgement::FifoInversion,
    Judgement::DedupEscape,
    Judgement::Resurrected,
    Judgement::Early,
    Judgement::DlqLost,
    Judgement::CountDrift,
];

/// All runs that were judged.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    operations: usize,
    deliveries: usize,
    found: BTreeMap<Judgement, usize>,
    undecided: usize,
    /// What is to be looked into, with the directory it is in.
    unsound: Vec<String>,
    broken: usize,
}

impl Tally {
    /// Adds a run, or why there is nothing to judge. One that is unsound is told at once, as `what`,
    /// and its directory is kept; that of a sound one is removed.
    pub(crate) fn add(&mut self, what: &str, rig: &Rig, judged: Result<Findings, String>) {
        let received = |event: &&Event| matches!(event.what, What::Received { .. });
        self.runs += 1;
        self.operations += rig.history.len();
        self.deliveries += rig.history.iter().filter(received).count();
        if is_sound(&judged) {
            rig.remove();
        } else {
            rig.keep();
            let text = describe(what, rig, &judged);
            eprintln!("{text}");
            self.unsound.push(text);
        }
        match judged {
            Ok(findings) => {
                self.undecided += findings.undecided.len();
                for finding in findings.found {
                    *self.found.entry(finding.judgement).or_default() += 1;
                }
            }
            Err(_) => self.broken += 1,
        }
    }

    /// Takes down that a run could not even be begun.
    pub(crate) fn add_broken(&mut self, what: &str, why: &str) {
        self.runs += 1;
        self.broken += 1;
        let text = format!("{what} could not be begun: {why}");
        eprintln!("{text}");
        self.unsound.push(text);
    }

    /// Whether nothing was wrong in any run.
    pub(crate) fn is_sound(&self) -> bool {
        self.unsound.is_empty()
    }

    /// How many runs were unsound.
    pub(crate) fn unsound_runs(&self) -> u64 {
        self.unsound.len() as u64
    }

    /// How much was found that must not be.
    pub(crate) fn findings(&self) -> usize {
        let invalid: usize = INVALID.into_iter().map(|judgement| self.count(judgement)).sum();
        invalid + self.undecided + self.broken
    }

    /// How often something was found.
    pub(crate) fn count(&self, judgement: Judgement) -> usize {
        self.found.get(&judgement).copied().unwrap_or(0)
    }
}

fn describe(what: &str, rig: &Rig, judged: &Result<Findings, String>) -> String {
    let mut text = format!("{what} is unsound; kept in {}", rig.dir.display());
    match judged {
        Err(why) => text.push_str(&format!("\n  {why}")),
        Ok(findings) => {
            let invalid = findings.found.iter().filter(|found| found.judgement.is_invalid());
            for finding in invalid.take(SHOWN_MAX) {
                text.push_str(&format!("\n  {finding}"));
            }
        }
    }
    text
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, operations, deliveries, .. } = self;
        writeln!(f, "{runs} histories, {operations} operations, {deliveries} deliveries")?;
        for judgement in INVALID {
            writeln!(f, "  {:<20} {:>8}", judgement.as_str(), self.count(judgement))?;
        }
        writeln!(f, "  {:<20} {:>8}", "undecided", self.undecided)?;
        writeln!(f, "  {:<20} {:>8}", "runs not finished", self.broken)?;
        writeln!(f, "reported, and allowed by at-least-once delivery:")?;
        for judgement in [Judgement::Recovered, Judgement::DuplicatedDelivery] {
            writeln!(f, "  {:<20} {:>8}", judgement.as_str(), self.count(judgement))?;
        }
        self.unsound.iter().try_for_each(|text| writeln!(f, "{text}"))
    }
}
