//! How fast the engine changes hands when its holder is killed under load.

use std::fmt;

/// One change of hands, in microseconds from just before the kill.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakeOver {
    /// Until the first of the attached processes had an answer again.
    pub(super) first_us: u64,
    /// Until all of them had.
    pub(super) all_us: u64,
}

/// All of them, together.
#[derive(Debug, Default)]
pub(super) struct TakeOvers(Vec<TakeOver>);

impl TakeOvers {
    pub(super) fn add(&mut self, more: Vec<TakeOver>) {
        self.0.extend(more);
    }
}

impl fmt::Display for TakeOvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        writeln!(f, "{} take-overs; from the kill until an answer, in ms:", self.0.len())?;
        row(f, "of the first", self.0.iter().map(|took| took.first_us).collect())?;
        row(f, "of all", self.0.iter().map(|took| took.all_us).collect())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, mut times_us: Vec<u64>) -> fmt::Result {
    times_us.sort_unstable();
    let at = |percent: usize| ms(times_us.get((times_us.len() * percent).div_ceil(100) - 1));
    writeln!(f, "  {name:<20} p50 {:>8} p99 {:>8} max {:>8}", at(50), at(99), at(100))
}

fn ms(time_us: Option<&u64>) -> String {
    format!("{:.1}", *time_us.unwrap_or(&0) as f64 / 1_000.0)
}
