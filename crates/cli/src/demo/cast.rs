//! The demo's processes, watched from outside.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::process::{Child, Command};

use super::args::Role;
use super::journal::{Entry, Event, Reader, Verdict};
use crate::failure::Failure;

/// All processes on the directory and what they said they did.
pub(super) struct Cast {
    dir: PathBuf,
    seed: u64,
    journal: Reader,
    bar: ProgressBar,
    running: Vec<Process>,
    /// How many were started.
    started: u32,
    seen: Seen,
}

/// What the journal said so far.
#[derive(Default)]
pub(super) struct Seen {
    entries: Vec<Entry>,
    /// Processes that have reached the queue.
    pub(super) ready: BTreeSet<u32>,
    /// Lines that are done or dead.
    finished: BTreeSet<u32>,
    pub(super) completed: u64,
    /// Tasks that a consumer holds and will not answer.
    pub(super) hung: u64,
    pub(super) sent_all: bool,
}

struct Process {
    number: u32,
    role: Role,
    child: Child,
    log: PathBuf,
}

/// How often the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Cast {
    pub(super) fn new(dir: &Path, seed: u64, bar: ProgressBar) -> Result<Self, Failure> {
        let journal = Reader::open(dir).map_err(|error| broken(&error))?;
        let (running, seen) = (Vec::new(), Seen::default());
        Ok(Self { dir: dir.to_owned(), seed, journal, bar, running, started: 0, seen })
    }

    /// Starts this very program on the directory. Returns the number of the process.
    pub(super) fn start(&mut self, role: Role) -> Result<u32, Failure> {
        let start = |error: io::Error| {
            Failure::failed(format!("a process of the demo could not be started: {error}"))
        };
        self.started += 1;
        let number = self.started;
        let log = self.dir.join(format!("{}-{number}.log", role.as_str()));
        let child = Command::new(std::env::current_exe().map_err(start)?)
            .args(["demo-child", role.as_str(), "--dir"])
            .arg(&self.dir)
            .args(["--seed", &self.seed.to_string(), "--process", &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(start)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        self.running.push(Process { number, role, child, log });
        Ok(number)
    }

    /// Follows the journal until something was seen.
    pub(super) async fn until(&mut self, seen: impl Fn(&Seen) -> bool) -> Result<(), Failure> {
        loop {
            self.look()?;
            if seen(&self.seen) {
                return Ok(());
            }
            self.all_are_well()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills a process with SIGKILL and returns its process id.
    pub(super) async fn kill(&mut self, number: u32) -> Result<u32, Failure> {
        let mut killed = self.take(number)?;
        let id = killed.child.id().unwrap_or_default();
        killed.child.kill().await.map_err(|error| broken(&error))?;
        self.look()?;
        Ok(id)
    }

    /// Lets all processes end, one after the other.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        while let Some(mut process) = self.running.pop() {
            drop(process.child.stdin.take());
            let status = process.child.wait().await.map_err(|error| broken(&error))?;
            if !status.success() {
                return Err(process.failed());
            }
        }
        self.look()
    }

    pub(super) fn completed(&self) -> u64 {
        self.seen.completed
    }

    /// What all of them said they did, in order.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.seen.entries
    }

    fn take(&mut self, number: u32) -> Result<Process, Failure> {
        let position = self.running.iter().position(|process| process.number == number);
        let position = position.ok_or_else(|| Failure::failed("a process ended too soon"))?;
        Ok(self.running.remove(position))
    }

    fn look(&mut self) -> Result<(), Failure> {
        for entry in self.journal.read().map_err(|error| broken(&error))? {
            self.seen.take(entry);
        }
        self.bar.set_position(self.seen.finished.len() as u64);
        Ok(())
    }

    /// A producer may have ended; nobody else may, and nobody badly.
    fn all_are_well(&mut self) -> Result<(), Failure> {
        for process in &mut self.running {
            match process.child.try_wait().map_err(|error| broken(&error))? {
                Some(status) if status.success() && process.role == Role::Producer => {}
                Some(_) => return Err(process.failed()),
                None => {}
            }
        }
        Ok(())
    }
}

impl Seen {
    fn take(&mut self, entry: Entry) {
        match &entry.event {
            Event::Ready => {
                self.ready.insert(entry.process);
            }
            Event::SentAll => self.sent_all = true,
            Event::Settled { line, verdict: Verdict::Complete, accepted: true } => {
                self.completed += 1;
                self.finished.insert(*line);
            }
            Event::Settled { line, verdict: Verdict::DeadLetter, accepted: true } => {
                self.finished.insert(*line);
            }
            Event::Hung { .. } => self.hung += 1,
            _ => {}
        }
        self.entries.push(entry);
    }
}

impl Process {
    fn failed(&self) -> Failure {
        let what = format!("{} {} ended before its time", self.role.as_str(), self.number);
        Failure::failed(what).with_help(format!("what it said is in {}", self.log.display()))
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::failed(format!("the demo cannot be followed: {error}"))
}
