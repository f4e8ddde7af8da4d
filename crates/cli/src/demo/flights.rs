//! The input: real flights, and what becomes of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Every flight that was scheduled to leave New York City on 1 to 3 January 2013, one a line.
/// `data/README.md` says where they come from.
const LINES: &str = include_str!("../../data/flights.jsonl");

/// What the demo reads of a flight.
#[derive(Debug, Deserialize)]
pub(super) struct Flight {
    dep_time: Option<u32>,
    arr_delay: Option<i64>,
    tailnum: Option<String>,
}

/// What becomes of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    /// It arrived this many minutes late, or early where that is below zero.
    Delay(i64),
    /// It flew; when it arrived was not recorded.
    Unknown,
    /// It never left.
    Cancelled,
}

impl Flight {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("not a flight: {error}"))
    }

    /// The aircraft; none was assigned to some cancelled flights.
    pub(super) fn aircraft(&self) -> Option<&str> {
        self.tailnum.as_deref()
    }

    pub(super) fn fate(&self) -> Fate {
        match (self.dep_time, self.arr_delay) {
            (None, _) => Fate::Cancelled,
            (Some(_), None) => Fate::Unknown,
            (Some(_), Some(minutes)) => Fate::Delay(minutes),
        }
    }
}

/// All lines with their numbers, from 1.
pub(super) fn lines() -> impl Iterator<Item = (u32, &'static str)> {
    (1..).zip(LINES.lines())
}

/// The input as the auditor knows it: what must become of every line.
#[derive(Debug)]
pub(super) struct Expected {
    /// Line, aircraft and fate, in the order of the input.
    pub(super) flights: BTreeMap<u32, (Option<String>, Fate)>,
}

impl Expected {
    pub(super) fn read() -> Result<Self, String> {
        let flight = |(line, text): (u32, &str)| {
            let flight = Flight::read(text.as_bytes())?;
            let fate = flight.fate();
            Ok((line, (flight.tailnum, fate)))
        };
        Ok(Self { flights: lines().map(flight).collect::<Result<_, String>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_what_the_provenance_note_says() {
        let expected = Expected::read().unwrap();
        let flights = || expected.flights.values();
        let fates = |fate: Fate| flights().filter(|(_, f)| *f == fate).count();
        assert_eq!(flights().count(), 2_699);
        assert_eq!(fates(Fate::Cancelled), 22);
        assert_eq!(fates(Fate::Unknown), 18);
        let unassigned = flights().filter(|(aircraft, _)| aircraft.is_none());
        assert!(unassigned.clone().all(|(_, fate)| *fate == Fate::Cancelled));
        assert_eq!(unassigned.count(), 4);
    }
}
