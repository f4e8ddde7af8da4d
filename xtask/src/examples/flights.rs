//! The input, and what a consumer must have printed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::same;
use crate::cargo::root;
use crate::workload::Failure;

/// The flights, as they lie in the repository.
pub(crate) fn path() -> PathBuf {
    root().join("crates/cli/data/flights.jsonl")
}

/// The name of the flight of a line.
pub(crate) fn name(line: &str) -> Result<String, Failure> {
    Ok(flight(line)?.0)
}

/// What must become of the flights.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Their names, in the order of the file, with their aircraft and whether they never left.
    flights: Vec<(String, String, bool)>,
}

impl Expected {
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path())?;
        let flights = text.lines().map(flight).collect::<Result<_, _>>()?;
        Ok(Self { flights })
    }

    pub(crate) fn count(&self) -> usize {
        self.flights.len()
    }

    /// Lines that are printed of all of them.
    pub(crate) fn lines(&self) -> usize {
        self.count() + self.flights.iter().filter(|(_, _, never_left)| *never_left).count()
    }

    /// Holds the lines of a consumer against the input: each flight was done once, in the order of its
    /// aircraft. Those that never left were tried again, and all others came once.
    pub(super) fn compare(&self, lines: &[String]) -> Result<(), Failure> {
        let lines = read(lines)?;
        self.compare_done(&lines)?;
        let late: BTreeSet<&str> =
            self.flights.iter().filter(|(_, _, late)| *late).map(|(name, _, _)| &**name).collect();
        let (retried, done): (Vec<&Line<'_>>, Vec<_>) =
            lines.iter().partition(|line| line.is_retry());
        for line in &retried {
            let comes_back = ["SCHEDULED", "READY"].contains(&line.outcome);
            same(&format!("`{}` comes back", line.text), &(line.attempt, comes_back), &(1, true))?;
        }
        let names: Vec<&str> = retried.iter().map(|line| line.name).collect();
        same("flights that were tried again", &names.len(), &late.len())?;
        same("flights that were tried again", &names.into_iter().collect(), &late)?;
        for line in done {
            let attempt = if late.contains(line.name) { 2 } else { 1 };
            same(&format!("attempt of `{}`", line.text), &line.attempt, &attempt)?;
        }
        Ok(())
    }

    /// The same, where those behind one that comes back come back with it: their attempts say nothing.
    pub(crate) fn compare_in_groups(&self, lines: &[String]) -> Result<(), Failure> {
        let lines = read(lines)?;
        self.compare_done(&lines)?;
        let is_late = |name| self.flights.iter().any(|(flight, _, late)| flight == name && *late);
        let retried: Vec<_> = lines.iter().filter(|line| line.is_retry()).collect();
        same("flights were tried again", &!retried.is_empty(), &true)?;
        for line in retried {
            let is = (line.attempt, line.outcome, is_late(line.name));
            same(&format!("`{}` comes back", line.text), &is, &(1, "SCHEDULED", true))?;
        }
        Ok(())
    }

    /// The groups of the flights, as an ordered queue of SQS has them: their aircraft, or their own names.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.flights.iter().map(|(name, key, _)| if key == NO_KEY { &**name } else { &**key })
    }

    /// The same, where leases were lost on their way: attempts say nothing.
    pub(crate) fn compare_after_losses(&self, lines: &[String]) -> Result<(), Failure> {
        self.compare_done(&read(lines)?)
    }

    /// Holds lines against as many flights at the beginning of the input, in any order.
    pub(super) fn compare_first(&self, lines: &[String]) -> Result<(), Failure> {
        let lines = read(lines)?;
        let first: BTreeSet<&str> =
            self.flights.iter().take(lines.len()).map(|(name, _, _)| &**name).collect();
        same("the first flights", &lines.iter().map(|line| line.name).collect(), &first)
    }

    fn compare_done(&self, lines: &[Line<'_>]) -> Result<(), Failure> {
        let done: Vec<&Line<'_>> = lines.iter().filter(|line| !line.is_retry()).collect();
        same("flights that were done", &done.len(), &self.count())?;
        for line in &done {
            let is_done = ["DONE", "ALREADY_DONE"].contains(&line.outcome);
            same(&format!("`{}` is done", line.text), &is_done, &true)?;
        }
        let printed = by_key(done.iter().map(|line| (line.key, line.name)));
        for (key, names) in by_key(self.flights.iter().map(|(name, key, _)| (&**key, &**name))) {
            same(&format!("the flights of {key}"), &printed.get(key), &Some(&names))?;
        }
        Ok(())
    }
}

fn read(lines: &[String]) -> Result<Vec<Line<'_>>, Failure> {
    lines.iter().map(|line| Line::read(line)).collect()
}

/// Names in their order, by the key; those without one in no order.
fn by_key<'a>(
    flights: impl Iterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, name) in flights {
        by_key.entry(key).or_default().push(name);
    }
    if let Some(loose) = by_key.get_mut(NO_KEY) {
        loose.sort();
    }
    by_key
}

/// What is printed for the aircraft of a flight that has none.
const NO_KEY: &str = "-";

fn flight(line: &str) -> Result<(String, String, bool), Failure> {
    let flight: Value = serde_json::from_str(line)?;
    let number = |name: &str| flight.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |name: &str| flight.get(name).and_then(Value::as_str);
    let (year, month, day) = (number("year"), number("month"), number("day"));
    let (carrier, origin) =
        (text("carrier").unwrap_or_default(), text("origin").unwrap_or_default());
    let name = format!("{year}-{month:02}-{day:02}/{carrier}{}/{origin}", number("flight"));
    let never_left = flight.get("dep_time").is_none_or(Value::is_null);
    Ok((name, text("tailnum").unwrap_or(NO_KEY).to_owned(), never_left))
}

/// A line of a consumer: `NAME key=KEY attempt=N outcome=OUTCOME: NOTE`.
#[derive(Debug)]
struct Line<'a> {
    text: &'a str,
    name: &'a str,
    key: &'a str,
    attempt: u32,
    outcome: &'a str,
    note: &'a str,
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Result<Self, Failure> {
        let read = || {
            let (line, note) = text.split_once(": ")?;
            let mut words = line.split(' ');
            let name = words.next()?;
            let key = words.next()?.strip_prefix("key=")?;
            let attempt = words.next()?.strip_prefix("attempt=")?.parse().ok()?;
            let outcome = words.next()?.strip_prefix("outcome=")?;
            words.next().is_none().then_some(Self { text, name, key, attempt, outcome, note })
        };
        read().ok_or_else(|| format!("a line is none of a verdict: {text}").into())
    }

    /// Whether the verdict was to try it again.
    fn is_retry(&self) -> bool {
        self.note == "it has not left yet"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let flight = |name: &str, key: &str, late| (name.to_owned(), key.to_owned(), late);
        Expected {
            flights: vec![
                flight("a", "N1", false),
                flight("b", "N1", true),
                flight("c", "-", false),
            ],
        }
    }

    const GOOD: [&str; 4] = [
        "c key=- attempt=1 outcome=DONE: +1 minutes",
        "a key=N1 attempt=1 outcome=DONE: +2 minutes",
        "b key=N1 attempt=1 outcome=SCHEDULED: it has not left yet",
        "b key=N1 attempt=2 outcome=DONE: it never left",
    ];

    fn is_good(lines: &[&str]) -> bool {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        expected().compare(&lines).is_ok()
    }

    #[test]
    fn what_is_missing_twice_out_of_order_or_of_another_attempt_is_found() {
        let [c, a, again, b] = GOOD;
        assert!(is_good(&GOOD));
        assert_eq!(expected().lines(), GOOD.len());
        assert!(!is_good(&[c, again, b]));
        assert!(!is_good(&[c, a, a, again, b]));
        assert!(!is_good(&[c, again, b, a]));
        assert!(!is_good(&[c, a, b]));
        assert!(!is_good(&[c, a, again, "b key=N1 attempt=3 outcome=DONE: it never left"]));
        assert!(!is_good(&["c key=- attempt=2 outcome=DONE: +1 minutes", a, again, b]));
        assert!(!is_good(&["c key=- attempt=1 outcome=READY: +1 minutes", a, again, b]));
        assert!(!is_good(&["c", a, again, b]));
    }
}
