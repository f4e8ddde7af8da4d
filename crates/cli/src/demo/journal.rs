//! The journal: what the working processes say they did, as they do it. The auditor believes it only
//! as far as the queue and the input agree.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::flights::Fate;

/// Its name in the demo's directory.
pub(super) const FILE: &str = "journal.jsonl";

/// One thing that happened, by the process of that number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) process: u32,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// What happened. `line` is the flight's line in the input, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The process has reached the queue.
    Ready,
    /// The broker acknowledged the task, or answered that it has it already.
    Sent { line: u32, deduplicated: bool },
    /// The queue was full; the sender waits with this many tasks.
    Full { tasks: usize },
    /// Whether so many tasks were sent is not known: whoever held the engine died.
    Unanswered { tasks: usize },
    /// Everything was sent.
    SentAll,
    /// A worker was handed the task.
    Started { line: u32, attempt: u32, deliveries: u32 },
    /// A consumer that never answers was handed the task, with this token.
    Hung { line: u32, token: String },
    /// The effect: what the work found out about the flight. Written before the acknowledgement.
    Found { line: u32, fate: Fate },
    /// The broker answered a verdict.
    Settled { line: u32, verdict: Verdict, accepted: bool },
    /// An old token was presented for a task that was handed out again since: while somebody else
    /// had it in hand, or when it was done.
    Stale { line: u32, in_other_hands: bool, accepted: bool, answer: String },
}

/// What a worker decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Complete,
    Retry,
    Release,
    DeadLetter,
}

/// The writing end.
///
/// An entry is one append, so entries of several threads and processes do not mix. It is not synced: the demo kills
/// a process, which loses nothing that was written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    process: u32,
}

impl Journal {
    pub(super) fn open(dir: &Path, process: u32) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(dir.join(FILE))?;
        Ok(Self { file, process })
    }

    /// Appends what happened. The demo is over if that fails: its account could not be trusted.
    pub(super) fn write(&self, event: Event) {
        self.write_all([event]);
    }

    /// Appends several with one write.
    pub(super) fn write_all(&self, events: impl IntoIterator<Item = Event>) {
        // WHY: the last entry of a process that was killed may have no end.
        let mut text = vec![b'\n'];
        for event in events {
            let written = serde_json::to_writer(&mut text, &Entry { process: self.process, event });
            written.unwrap_or_else(|error| unwritable(&error));
            text.push(b'\n');
        }
        (&self.file).write_all(&text).unwrap_or_else(|error| unwritable(&error));
    }
}

fn unwritable(error: &dyn std::error::Error) -> ! {
    eprintln!("error: the demo's journal cannot be written: {error}");
    std::process::exit(1)
}

/// The reading end, while the journal grows.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    unfinished: Vec<u8>,
}

impl Reader {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(dir.join(FILE))?;
        Ok(Self { file, unfinished: Vec::new() })
    }

    /// What was written since. A line that is not finished waits for its end; one that has none,
    /// because its writer was killed, is passed over.
    pub(super) fn read(&mut self) -> io::Result<Vec<Entry>> {
        self.file.read_to_end(&mut self.unfinished)?;
        let end = self.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let finished: Vec<u8> = self.unfinished.drain(..end).collect();
        let lines = finished.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_an_unfinished_line_waits() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), 2).unwrap();
        let mut reader = Reader::open(dir.path()).unwrap();
        let found = Event::Found { line: 7, fate: Fate::Delay(-3) };
        journal.write(found.clone());
        (&journal.file).write_all(b"{\"process\":2,").unwrap();
        assert_eq!(reader.read().unwrap(), [Entry { process: 2, event: found }]);
        (&journal.file).write_all(b"\"event\":\"ready\"}\n").unwrap();
        assert_eq!(reader.read().unwrap(), [Entry { process: 2, event: Event::Ready }]);
    }

    #[test]
    fn an_entry_without_an_end_takes_none_of_the_others_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let [killed, other] = [1, 2].map(|process| Journal::open(dir.path(), process).unwrap());
        killed.write(Event::Ready);
        (&killed.file).write_all(b"\n{\"process\":1,\"eve").unwrap();
        other.write_all([Event::Ready, Event::SentAll]);
        let read = Reader::open(dir.path()).unwrap().read().unwrap();
        let entry = |process, event| Entry { process, event };
        let whole = [entry(1, Event::Ready), entry(2, Event::Ready), entry(2, Event::SentAll)];
        assert_eq!(read, whole);
    }
}
