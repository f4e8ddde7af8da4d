//! One run: one directory, several kills, and the judgement.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tidegate_conformance::history::{Event, Findings, Outcome, What, check};

use super::clock::now_us;
use super::journal;
use super::stage::DurabilityArg;

/// Kills of a run, at least and at most. Fewer than a task has attempts.
const KILLS: std::ops::RangeInclusive<u64> = 2..=4;
/// Lines of a journal after which its process is killed, at most.
const LINES_MAX: u64 = 4_000;
/// A process that writes nothing for this long is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// What one run showed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) durability: DurabilityArg,
    pub(crate) dir: PathBuf,
    pub(crate) kills: u64,
    pub(crate) operations: usize,
    pub(crate) deliveries: usize,
    /// What was found, or why there is nothing to judge.
    pub(crate) judged: Result<Findings, String>,
}

impl Run {
    /// Whether it showed nothing wrong, and everything could be judged.
    pub(crate) fn is_sound(&self) -> bool {
        let sound = |findings: &Findings| findings.is_valid() && findings.undecided.is_empty();
        self.judged.as_ref().is_ok_and(sound)
    }
}

/// Works, kills and judges in a new directory under `dir`, which is removed if all was well.
pub(crate) fn run(seed: u64, durability: DurabilityArg, dir: &Path) -> Run {
    let dir = dir.join(format!("run-{seed}-{}", durability.as_str()));
    let mut work = Work {
        rng: Rng::with_seed(seed),
        seed,
        durability,
        dir: dir.clone(),
        round: 0,
        history: Vec::new(),
    };
    let kills = work.rng.u64(KILLS);
    let worked = work.all(kills);
    let history = work.history;
    let received = |event: &&Event| matches!(event.what, What::Received { .. });
    let run = Run {
        seed,
        durability,
        dir,
        kills,
        operations: history.len(),
        deliveries: history.iter().filter(received).count(),
        judged: worked.map(|()| check(&history)),
    };
    if run.is_sound() {
        // WHY: a directory that cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&run.dir);
    } else {
        keep(&run.dir, &history);
    }
    run
}

/// Leaves the whole history beside the data, in the checker's own form.
fn keep(dir: &Path, history: &[Event]) {
    let mut bytes = Vec::new();
    let written = history
        .iter()
        .try_for_each(|event| tidegate_conformance::history::write(&mut bytes, event))
        .and_then(|()| fs::write(dir.join("history.jsonl"), bytes));
    if let Err(error) = written {
        eprintln!("the history of {} could not be kept: {error}", dir.display());
    }
}

struct Work {
    rng: Rng,
    seed: u64,
    durability: DurabilityArg,
    dir: PathBuf,
    round: u64,
    history: Vec<Event>,
}

impl Work {
    fn all(&mut self, kills: u64) -> Result<(), String> {
        self.clear().map_err(|error| format!("{}: {error}", self.dir.display()))?;
        for _ in 0..kills {
            self.killed().map_err(|why| format!("round {}: {why}", self.round))?;
            self.round += 1;
        }
        // WHY: twice, because what comes out after a clean close was not gone before it.
        for _ in 0..2 {
            self.drained().map_err(|why| format!("round {}: {why}", self.round))?;
            self.round += 1;
        }
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&self.dir)
    }

    /// Starts a process, kills it when its journal is long enough, and reads the journal.
    fn killed(&mut self) -> Result<(), String> {
        let mut child = self.start("load").map_err(|error| error.to_string())?;
        // WHY: none at all one time in eight, to hit the opening of the directory as well.
        let lines = if self.rng.u8(0..8) == 0 { 0 } else { self.rng.u64(1..LINES_MAX) };
        let reached = wait_for_lines(&mut child, &self.journal(), lines);
        let killed_us = now_us();
        child.kill().map_err(|error| error.to_string())?;
        let status = child.wait().map_err(|error| error.to_string())?;
        let ended_us = now_us();
        if reached? {
            self.read(ended_us)?;
            self.history.push(restarted(killed_us, ended_us));
            return Ok(());
        }
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).map_err(|error| error.to_string())?;
        }
        Err(format!("a process ended by itself ({status}): {}", said.trim()))
    }

    /// Lets a process complete what is left.
    fn drained(&mut self) -> Result<(), String> {
        let child = self.start("drain").map_err(|error| error.to_string())?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("draining failed ({}): {}", output.status, said.trim()));
        }
        let ended_us = now_us();
        self.read(ended_us)?;
        self.history.push(restarted(ended_us, ended_us));
        Ok(())
    }

    fn read(&mut self, ended_us: u64) -> Result<(), String> {
        let path = self.journal();
        match journal::read(&path, ended_us) {
            Ok(events) => self.history.extend(events),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        Ok(())
    }

    fn journal(&self) -> PathBuf {
        self.dir.join(format!("journal-{}.jsonl", self.round))
    }

    fn start(&self, what: &str) -> io::Result<Child> {
        Command::new(std::env::current_exe()?)
            .args(["kills-child", what, "--data"])
            .arg(self.dir.join("data"))
            .arg("--journal")
            .arg(self.journal())
            .args(["--seed", &self.seed.to_string(), "--round", &self.round.to_string()])
            .args(["--durability", self.durability.as_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }
}

fn restarted(start_us: u64, end_us: u64) -> Event {
    let what = What::Restarted { leases_over: true };
    Event { client: "parent".into(), start_us, end_us, outcome: Outcome::Ok, what }
}

/// Returns when the journal has this many lines: `true`; or when its process has ended: `false`.
fn wait_for_lines(child: &mut Child, journal: &Path, lines: u64) -> Result<bool, String> {
    let (mut seen, mut last, mut file) = (0, Instant::now(), None);
    let mut bytes = vec![0; 64 << 10];
    while seen < lines {
        if file.is_none() {
            file = fs::File::open(journal).ok();
        }
        let read = file.as_mut().map_or(Ok(0), |file| file.read(&mut bytes));
        let read = read.map_err(|error| error.to_string())?;
        seen += bytes.iter().take(read).filter(|byte| **byte == b'\n').count() as u64;
        if read > 0 {
            last = Instant::now();
            continue;
        }
        if child.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Ok(false);
        }
        if last.elapsed() > STUCK {
            return Err(format!("a process wrote nothing for {STUCK:?} and was killed"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(true)
}
