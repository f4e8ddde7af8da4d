//! What all runs showed together.

use std::fmt;

use tidegate_engine::simulation::Tally;

use super::run::Run;

/// Violations of one run that are printed at most.
const SHOWN_MAX: usize = 5;

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    seeds: u64,
    operations: u64,
    deliveries: u64,
    processes: u64,
    tally: Tally,
    /// Seeds with violations.
    unsound: Vec<u64>,
}

impl Report {
    /// Adds a run, and says so at once if it is unsound.
    pub(crate) fn add(&mut self, run: &Run) {
        let Run { seed, tally, operations, deliveries, processes, violations } = run;
        self.seeds += 1;
        self.operations += operations;
        self.deliveries += deliveries;
        self.processes += processes;
        self.tally.add(tally);
        if !violations.is_empty() {
            self.unsound.push(*seed);
            eprintln!("seed {seed}: replay with `cargo xtask simulate --seed {seed}`");
            violations.iter().take(SHOWN_MAX).for_each(|what| eprintln!("  {what}"));
        }
    }

    /// Both together.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        let Self { seeds, operations, deliveries, processes, tally, unsound } = other;
        self.seeds += seeds;
        self.operations += operations;
        self.deliveries += deliveries;
        self.processes += processes;
        self.tally.add(&tally);
        self.unsound.extend(unsound);
        self
    }

    /// Seeds with violations.
    pub(crate) fn unsound(&self) -> &[u64] {
        &self.unsound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(f, "{} seeds, {} violated", self.seeds, self.unsound.len())?;
        let rows = [
            ("processes", self.processes),
            ("killed or closed", tally.kills),
            ("power cuts", tally.power_cuts),
            ("of both, in an open", tally.ended_in_open),
            ("operations", self.operations),
            ("deliveries", self.deliveries),
            ("disk calls", tally.calls),
            ("writes", tally.writes),
            ("syncs", tally.syncs),
            ("syncs failed", tally.syncs_failed),
            ("syncs lied", tally.syncs_lied),
            ("other errors", tally.errors),
            ("blocks lost", tally.blocks_lost),
            ("names lost", tally.entries_lost),
            ("segments begun", tally.rotations),
            ("segments cleaned", tally.cleaned),
            ("bits flipped", tally.bits_flipped),
        ];
        rows.iter().try_for_each(|(name, count)| writeln!(f, "  {name:<20} {count:>12}"))?;
        let first: Vec<String> = self.unsound.iter().take(20).map(u64::to_string).collect();
        if !first.is_empty() {
            writeln!(f, "violated by the seeds {}", first.join(", "))?;
        }
        Ok(())
    }
}
