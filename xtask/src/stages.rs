//! What is run in stages, each with a budget, and the table at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cargo::Counts;

/// One stage.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// How long it should take at most, on two cores, in minutes.
    pub(crate) budget_minutes: f64,
    pub(crate) run: Box<dyn FnOnce() -> Counts>,
}

impl Stage {
    /// A stage that does `run`.
    pub(crate) fn new(
        name: &'static str,
        budget_minutes: f64,
        run: impl FnOnce() -> Counts + 'static,
    ) -> Self {
        Self { name, budget_minutes, run: Box::new(run) }
    }

    /// A stage that cannot be run here.
    pub(crate) fn skipped(name: &'static str) -> Self {
        Self::new(name, 0.0, || Counts { skipped: 1, ..Counts::default() })
    }
}

struct Done {
    name: &'static str,
    budget_minutes: f64,
    took: Duration,
    counts: Counts,
}

/// Runs all stages, whatever becomes of each, and prints how long they took. Fails if anything
/// failed, and on a build server (`CI=true`) also if a stage was skipped.
pub(crate) fn run(stages: Vec<Stage>) -> ExitCode {
    let done: Vec<Done> = stages.into_iter().map(run_one).collect();
    let all = done.iter().fold(Counts::default(), |all, done| all.plus(done.counts));
    print!("{}", table(&done));
    println!("{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped);
    let skipped_in_ci = all.skipped > 0 && std::env::var("CI").is_ok_and(|ci| ci == "true");
    if skipped_in_ci {
        eprintln!("with CI=true nothing may be skipped");
    }
    if all.failed == 0 && !skipped_in_ci { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(stage: Stage) -> Done {
    let Stage { name, budget_minutes, run } = stage;
    println!("\n== {name}");
    let begun = Instant::now();
    let counts = run();
    Done { name, budget_minutes, took: begun.elapsed(), counts }
}

fn table(done: &[Done]) -> String {
    let mut text = format!(
        "\n{:<28} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
        "stage", "minutes", "budget", "passed", "failed", "skipped"
    );
    for Done { name, budget_minutes, took, counts } in done {
        let Counts { passed, failed, skipped } = counts;
        let minutes = took.as_secs_f64() / 60.0;
        let over = if minutes > *budget_minutes && *skipped == 0 { "  over budget" } else { "" };
        text.push_str(&format!(
            "{name:<28} {minutes:>8.1} {budget_minutes:>8.1} {passed:>8} {failed:>8} \
             {skipped:>8}{over}\n"
        ));
    }
    let minutes: f64 = done.iter().map(|done| done.took.as_secs_f64() / 60.0).sum();
    let budget: f64 = done.iter().map(|done| done.budget_minutes).sum();
    text.push_str(&format!("{:<28} {minutes:>8.1} {budget:>8.1}\n", "all"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_over_its_budget_is_marked() {
        let done = |name, minutes: u64| Done {
            name,
            budget_minutes: 2.0,
            took: Duration::from_secs(minutes * 60),
            counts: Counts::one(true),
        };
        let table = table(&[done("short", 1), done("long", 3)]);
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(!line("short").contains("over budget"));
        assert!(line("long").contains("over budget"));
        assert!(line("all").contains("4.0"));
    }
}
