//! One process at work, watched from outside.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use indicatif::ProgressBar;
use tokio::process::{Child, Command};

use super::LOOK_EVERY;
use super::journal::{Entry, Event, Reader, Verdict};
use crate::failure::Failure;

/// One process and what it said it did.
pub(super) struct Run {
    child: Child,
    pid: u32,
    log: PathBuf,
    entries: Vec<Entry>,
    completed: u64,
    /// Lines that are done or dead, as far as the journal says.
    finished: BTreeSet<u32>,
    /// Whether a consumer holds tasks whose tokens are known.
    hung: u64,
}

/// How a process ended.
pub(super) enum Ended {
    Killed { pid: u32, completed: u64 },
    Well,
    Failed { status: ExitStatus },
}

/// The first process is killed no sooner than a consumer holds so many tasks.
const HUNG_LEAST: u64 = 3;

impl Run {
    /// Starts this very program on the directory.
    pub(super) fn start(dir: &Path, seed: u64, run: u32) -> Result<Self, Failure> {
        let broken = |error: std::io::Error| {
            Failure::failed(format!("the demo's process could not be started: {error}"))
        };
        let log = dir.join(format!("run-{run}.log"));
        let child = Command::new(std::env::current_exe().map_err(broken)?)
            .arg("demo-child")
            .arg("--dir")
            .arg(dir)
            .args(["--seed", &seed.to_string(), "--run", &run.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(broken)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(broken)?;
        let pid = child.id().unwrap_or_default();
        let (entries, finished) = (Vec::new(), BTreeSet::new());
        Ok(Self { child, pid, log, entries, completed: 0, finished, hung: 0 })
    }

    /// Goes on counting where the run before was killed.
    pub(super) fn continue_after(&mut self, before: &Self) {
        self.finished.clone_from(&before.finished);
    }

    /// Follows the journal until the process ends. With `kill_after` it is killed as soon as it has
    /// completed so many tasks and a consumer holds some.
    pub(super) async fn watch(
        &mut self,
        reader: &mut Reader,
        bar: &ProgressBar,
        kill_after: Option<u64>,
    ) -> Result<Ended, Failure> {
        let broken = |error: std::io::Error| {
            Failure::failed(format!("the demo cannot be followed: {error}"))
        };
        loop {
            let ended = self.child.try_wait().map_err(broken)?;
            self.take(reader.read().map_err(broken)?, bar);
            match ended {
                Some(status) if status.success() => return Ok(Ended::Well),
                Some(status) => return Ok(Ended::Failed { status }),
                None => {}
            }
            if kill_after.is_some_and(|most| self.completed >= most && self.hung >= HUNG_LEAST) {
                let completed = self.completed;
                // Sends SIGKILL and waits for the end.
                self.child.kill().await.map_err(broken)?;
                self.take(reader.read().map_err(broken)?, bar);
                return Ok(Ended::Killed { pid: self.pid, completed });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn take(&mut self, entries: Vec<Entry>, bar: &ProgressBar) {
        for entry in &entries {
            match &entry.event {
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
        }
        self.entries.extend(entries);
        bar.set_position(self.finished.len() as u64);
    }

    /// Where its stderr went.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// What it said it did, in order.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }
}
