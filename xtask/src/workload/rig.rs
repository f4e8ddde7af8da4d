//! One data directory, the processes that work on it one after the other, and their history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};

use tidegate_conformance::history::{Event, Findings, Outcome, What, check};

use super::clock::now_us;
use super::journal;
use super::producer::producer_name;
use super::stage::DurabilityArg;
use super::{Child, ChildArgs};

/// Bytes of a segment unless a run needs others: so few that a short run rotates and cleans.
pub(crate) const SEGMENT_BYTES: u32 = 64 << 10;

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Rig {
    /// Where the journals lie. Never on a disk that is cut off.
    pub(crate) dir: PathBuf,
    /// What its processes are told.
    args: ChildArgs,
    /// What they did so far.
    pub(crate) history: Vec<Event>,
}

/// A process that works beside others.
#[derive(Debug)]
pub(crate) struct Sharer {
    pub(crate) process: Process,
    pub(crate) journal: PathBuf,
    /// Its producer's name in the history.
    pub(crate) producer: String,
}

impl Sharer {
    /// Lines of its journal so far.
    pub(crate) fn lines(&self) -> Result<u64, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.journal.display());
        match fs::read(&self.journal) {
            Ok(bytes) => Ok(bytes.iter().filter(|byte| **byte == b'\n').count() as u64),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Rig {
    /// A run in a new directory, with the data below it.
    pub(crate) fn new(
        dir: &Path,
        seed: u64,
        durability: DurabilityArg,
        segment_bytes: u32,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", dir.display());
        clear(dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let (data, journal) = (dir.join("data"), PathBuf::new());
        let args =
            ChildArgs { data, broker: None, journal, seed, round: 0, durability, segment_bytes };
        Ok(Self { dir, args, history: Vec::new() })
    }

    /// The same run on a server.
    pub(crate) fn on(mut self, broker: String) -> Self {
        self.args.broker = Some(broker);
        self
    }

    /// The same run with its data elsewhere.
    pub(crate) fn with_data(mut self, data: PathBuf) -> Self {
        self.args.data = data;
        self
    }

    /// Copies data that lie elsewhere to where the journals are.
    pub(crate) fn keep_data(&self) -> Result<(), String> {
        let to = self.dir.join("data");
        copy_dir(self.data(), &to).map_err(|error| format!("{}: {error}", to.display()))
    }

    /// Removes data that lie elsewhere.
    pub(crate) fn remove_data(&self) {
        // WHY: what cannot be removed goes with its file system.
        let _ = fs::remove_dir_all(self.data());
    }

    /// The run as it is now, going on in another directory, with a copy of its data.
    pub(crate) fn copied(&self, dir: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", dir.display());
        clear(dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        copy_dir(self.data(), &dir.join("data")).map_err(failed)?;
        let args = ChildArgs { data: dir.join("data"), ..self.args.clone() };
        Ok(Self { dir, args, history: self.history.clone() })
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.args.data
    }

    /// How many processes worked on it.
    pub(crate) fn round(&self) -> u64 {
        self.args.round
    }

    /// The journal of the process that works now.
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join(format!("journal-{}.jsonl", self.args.round))
    }

    /// Starts a process that works until it is ended.
    pub(crate) fn load(&self) -> io::Result<Process> {
        self.command(Child::LOAD)?.spawn()
    }

    /// Starts a process that works beside others until it is ended.
    pub(crate) fn share(&mut self) -> io::Result<Sharer> {
        let (process, journal) = (self.command(Child::SHARE)?.spawn()?, self.journal());
        let producer = producer_name(self.args.round);
        self.args.round += 1;
        Ok(Sharer { process, journal, producer })
    }

    /// Takes the journal of one that was ended into the history.
    pub(crate) fn left(&mut self, sharer: &Sharer, until_us: u64) -> Result<(), String> {
        self.take(&sharer.journal, until_us)
    }

    /// Another process holds the engine from some time between these on. The leases go on.
    pub(crate) fn changed_hands(&mut self, start_us: u64, end_us: u64) {
        let what = What::Restarted { leases_over: false };
        let (client, outcome) = ("parent".into(), Outcome::Ok);
        self.history.push(Event { client, start_us, end_us, outcome, what });
    }

    /// The process that does always the same.
    pub(crate) fn script(&self) -> io::Result<Command> {
        self.command(Child::SCRIPT)
    }

    /// The process that opens the directory and does nothing.
    pub(crate) fn open(&self) -> io::Result<Command> {
        self.command(Child::OPEN)
    }

    fn command(&self, what: &str) -> io::Result<Command> {
        let ChildArgs { data, broker, journal: _, seed, round, durability, segment_bytes } =
            &self.args;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["workload-child", what, "--data"])
            .arg(data)
            .arg("--journal")
            .arg(self.journal())
            .args(["--seed", &seed.to_string(), "--round", &round.to_string()])
            .args(["--durability", durability.as_str()])
            .args(["--segment-bytes", &segment_bytes.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(broker) = broker {
            command.args(["--broker", broker]);
        }
        Ok(command)
    }

    /// Takes the journal of a process that was ended between these times into the history.
    pub(crate) fn ended(&mut self, from_us: u64, until_us: u64) -> Result<(), String> {
        let path = self.journal();
        self.take(&path, until_us)?;
        let what = What::Restarted { leases_over: true };
        let client = "parent".into();
        let (start_us, end_us, outcome) = (from_us, until_us, Outcome::Ok);
        self.history.push(Event { client, start_us, end_us, outcome, what });
        self.args.round += 1;
        Ok(())
    }

    fn take(&mut self, journal: &Path, until_us: u64) -> Result<(), String> {
        match journal::read(journal, until_us) {
            Ok(events) => self.history.extend(events),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", journal.display())),
        }
        Ok(())
    }

    /// Lets a process complete what is left, and another one, because what comes out after a clean
    /// close was not gone before it.
    pub(crate) fn drained(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            let round = self.args.round;
            let child = self.command(Child::DRAIN).and_then(|mut child| child.output());
            let output = child.map_err(|error| error.to_string())?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let status = output.status;
                return Err(format!("round {round}: draining failed ({status}): {}", said.trim()));
            }
            let ended_us = now_us();
            self.ended(ended_us, ended_us)?;
        }
        Ok(())
    }

    /// What the history says.
    pub(crate) fn judged(&self) -> Findings {
        check(&self.history)
    }

    /// Removes the directory.
    pub(crate) fn remove(&self) {
        // WHY: a directory that cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.dir);
    }

    /// Leaves the whole history beside the data, in the checker's own form.
    pub(crate) fn keep(&self) {
        let mut bytes = Vec::new();
        let written = self
            .history
            .iter()
            .try_for_each(|event| tidegate_conformance::history::write(&mut bytes, event))
            .and_then(|()| fs::write(self.dir.join("history.jsonl"), bytes));
        if let Err(error) = written {
            eprintln!("the history of {} could not be kept: {error}", self.dir.display());
        }
    }
}

/// Whether nothing was found that a sound broker cannot show, and everything could be judged.
pub(crate) fn is_sound(judged: &Result<Findings, String>) -> bool {
    judged.as_ref().is_ok_and(|found| found.is_valid() && found.undecided.is_empty())
}

fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(dir)
}

/// Copies a directory with all below it. One that is not there leaves none.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
