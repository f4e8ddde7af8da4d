//! What all runs showed together.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_conformance::history::Judgement;

use super::run::Run;

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

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    runs: u64,
    kills: u64,
    operations: usize,
    deliveries: usize,
    found: BTreeMap<Judgement, usize>,
    undecided: usize,
    /// What is to be looked into, with the directory it is in.
    unsound: Vec<String>,
    broken: usize,
}

impl Report {
    /// Adds a run, and says so at once if it is unsound.
    pub(crate) fn add(&mut self, run: Run) {
        self.runs += 1;
        self.kills += run.kills;
        self.operations += run.operations;
        self.deliveries += run.deliveries;
        if !run.is_sound() {
            let text = describe(&run);
            eprintln!("{text}");
            self.unsound.push(text);
        }
        match run.judged {
            Ok(findings) => {
                self.undecided += findings.undecided.len();
                for finding in findings.found {
                    *self.found.entry(finding.judgement).or_default() += 1;
                }
            }
            Err(_) => self.broken += 1,
        }
        if self.runs.is_multiple_of(25) {
            eprintln!("{} runs, {} kills, {} unsound", self.runs, self.kills, self.unsound.len());
        }
    }

    /// Whether nothing was wrong in any run.
    pub(crate) fn is_sound(&self) -> bool {
        self.unsound.is_empty()
    }

    /// How many runs were unsound.
    pub(crate) fn unsound_runs(&self) -> u64 {
        self.unsound.len() as u64
    }

    fn count(&self, judgement: Judgement) -> usize {
        self.found.get(&judgement).copied().unwrap_or(0)
    }
}

fn describe(run: &Run) -> String {
    let mut text = format!(
        "run with seed {} ({}) is unsound; kept in {}",
        run.seed,
        run.durability.as_str(),
        run.dir.display()
    );
    match &run.judged {
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, kills, operations, deliveries, .. } = self;
        writeln!(
            f,
            "{runs} runs, {kills} kills, {operations} operations, {deliveries} deliveries"
        )?;
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
