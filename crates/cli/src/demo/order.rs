//! Whether every aircraft's flights were worked on in their order.

use std::collections::{BTreeMap, BTreeSet};

use super::flights::Expected;
use super::journal::{Entry, Event};

/// The aircraft whose order was broken, in the order of the journal.
///
/// Per aircraft: a flight is handed out only when the one before it was worked out, and once a later
/// one was handed out, no earlier one comes again. The same flight may come again: after a failed
/// attempt, or after the kill.
pub(super) fn broken(expected: &Expected, entries: &[Entry]) -> Vec<String> {
    let mut current: BTreeMap<&str, u32> = BTreeMap::new();
    let mut found: BTreeSet<u32> = BTreeSet::new();
    let mut broken = Vec::new();
    let before = predecessors(expected);
    for entry in entries {
        match &entry.event {
            Event::Found { line, .. } => {
                found.insert(*line);
            }
            Event::Started { line, .. } | Event::Hung { line, .. } => {
                let Some((Some(aircraft), _)) = expected.flights.get(line) else { continue };
                let latest = current.entry(aircraft).or_insert(*line);
                let ready = before.get(line).is_none_or(|before| found.contains(before));
                if *line < *latest || !ready {
                    broken.push(aircraft.clone());
                }
                *latest = (*latest).max(*line);
            }
            _ => {}
        }
    }
    broken
}

/// The flight before each one, of the same aircraft.
fn predecessors(expected: &Expected) -> BTreeMap<u32, u32> {
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    let flights = expected.flights.iter();
    let assigned = flights.filter_map(|(line, (aircraft, _))| Some((*line, aircraft.as_deref()?)));
    assigned.filter_map(|(line, aircraft)| Some((line, last.insert(aircraft, line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::flights::Fate;
    use super::*;

    fn expected() -> Expected {
        let flight = |aircraft: &str| (Some(aircraft.to_owned()), Fate::Delay(0));
        let flights =
            [(1, flight("A")), (2, flight("B")), (3, flight("A")), (4, (None, Fate::Cancelled))];
        Expected { flights: flights.into() }
    }

    fn started(line: u32) -> Entry {
        Entry { process: 1, event: Event::Started { line, attempt: 1, deliveries: 1 } }
    }

    fn found(line: u32) -> Entry {
        Entry { process: 1, event: Event::Found { line, fate: Fate::Delay(0) } }
    }

    #[test]
    fn order_holds_when_each_flight_waits_for_the_one_before() {
        let good = [started(1), started(2), started(1), found(1), started(1), found(1), started(3)];
        assert_eq!(broken(&expected(), &good), Vec::<String>::new());
    }

    #[test]
    fn a_flight_that_overtakes_or_comes_back_breaks_it() {
        assert_eq!(broken(&expected(), &[started(1), started(3)]), ["A"]);
        let back = [started(1), found(1), started(3), started(1)];
        assert_eq!(broken(&expected(), &back), ["A"]);
    }
}
