//! The file in which a process that is about to be killed keeps what it did.
//!
//! Every line is one operation: written before it is begun, with an unknown outcome, and again when
//! its answer is there. Each line is one write to a file that only grows, so a kill costs at most
//! the end of the last line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tidegate_conformance::history::{Event, Outcome, What};

use super::clock::now_us;

/// Where a process writes what it does.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    next_operation: AtomicU64,
}

/// An operation that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    operation: u64,
    client: String,
    pub(crate) start_us: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    operation: u64,
    events: Vec<Event>,
}

impl Journal {
    /// Begins a new file.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        Ok(Self { file, next_operation: AtomicU64::new(0) })
    }

    /// Says what is about to be done.
    pub(crate) fn begin(&self, client: &str, whats: Vec<What>) -> io::Result<Begun> {
        let operation = self.next_operation.fetch_add(1, Ordering::Relaxed);
        let begun = Begun { operation, client: client.to_owned(), start_us: now_us() };
        if !whats.is_empty() {
            let unknown = whats.into_iter().map(|what| (Outcome::Unknown, what));
            self.write(&begun, u64::MAX, unknown)?;
        }
        Ok(begun)
    }

    /// Says what became of it.
    pub(crate) fn end(
        &self,
        begun: &Begun,
        outcomes: impl IntoIterator<Item = (Outcome, What)>,
    ) -> io::Result<()> {
        self.write(begun, now_us(), outcomes)
    }

    fn write(
        &self,
        begun: &Begun,
        end_us: u64,
        outcomes: impl IntoIterator<Item = (Outcome, What)>,
    ) -> io::Result<()> {
        let Begun { operation, client, start_us } = begun;
        let event = |(outcome, what)| Event {
            client: client.clone(),
            start_us: *start_us,
            end_us,
            outcome,
            what,
        };
        let events: Vec<Event> = outcomes.into_iter().map(event).collect();
        if events.is_empty() {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(&Line { operation: *operation, events })?;
        bytes.push(b'\n');
        (&self.file).write_all(&bytes)
    }
}

/// Reads what a process did that ended at `ended_us`. Operations without an answer end then.
pub(crate) fn read(path: &Path, ended_us: u64) -> io::Result<Vec<Event>> {
    let mut operations = BTreeMap::new();
    let mut lines = BufReader::new(File::open(path)?).split(b'\n').peekable();
    while let Some(line) = lines.next() {
        match serde_json::from_slice::<Line>(&line?) {
            Ok(line) => {
                operations.insert(line.operation, line.events);
            }
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut events: Vec<Event> = operations.into_values().flatten().collect();
    for event in events.iter_mut().filter(|event| event.end_us == u64::MAX) {
        event.end_us = ended_us.max(event.start_us);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redriven(queue: &str) -> What {
        What::Redriven { queue: queue.into() }
    }

    #[test]
    fn an_operation_cut_off_by_a_kill_is_of_unknown_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = Journal::create(&path).unwrap();
        let answered = journal.begin("a", vec![redriven("x")]).unwrap();
        journal.begin("b", vec![redriven("y")]).unwrap();
        journal.end(&answered, [(Outcome::Ok, redriven("x"))]).unwrap();
        (&journal.file).write_all(b"{\"operation\":9,\"ev").unwrap();
        let events = read(&path, u64::MAX - 1).unwrap();
        let outcomes: Vec<_> = events.iter().map(|event| event.outcome).collect();
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Unknown]);
        assert_eq!(events[1].end_us, u64::MAX - 1);
    }
}
