//! A program of an example that runs, and what it has printed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::language::{Language, Role};
use super::server::until;
use crate::workload::Failure;

/// A program that was started. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) is_success: bool,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Program {
    /// Starts a program at the address of a server.
    pub(super) fn start(
        (language, role): (Language, Role),
        (address, token): (&str, &str),
        queue: &str,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let mut command = language.command(role);
        command.args(["--server", address, "--queue", queue, "--token", token]);
        command.args(arguments);
        Self::run(command)
    }

    /// Starts a command, whose output is kept.
    pub(crate) fn run(mut command: Command) -> Result<Self, Failure> {
        command.stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take(), Arc::clone(&stdout)),
            collect(child.stderr.take(), Arc::clone(&stderr)),
        ];
        Ok(Self { child, stdout, stderr, readers })
    }

    /// How many lines it has printed.
    pub(crate) fn printed(&self) -> usize {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Fails if it has ended.
    pub(crate) fn must_run(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
                Err(format!("it ended with {status}: {said}").into())
            }
        }
    }

    /// Asks it to end and waits for that.
    pub(crate) fn stop(self) -> Result<Ended, Failure> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Result<Ended, Failure> {
        until("it ends", || Ok(self.child.try_wait()?.is_some()))?;
        let is_success = self.child.wait()?.success();
        for reader in self.readers.drain(..) {
            reader.join().map_err(|_| "a reader of its output panicked")?;
        }
        let lines =
            |of: &Mutex<Vec<String>>| of.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Ended { is_success, stdout: lines(&self.stdout), stderr: lines(&self.stderr) })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already where nothing went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What it printed, if it was a success.
    pub(super) fn lines(self) -> Result<Vec<String>, Failure> {
        self.says_nothing_strange()?;
        if self.is_success {
            return Ok(self.stdout);
        }
        Err(format!("it failed: {}", self.stderr.join("\n    ")).into())
    }

    fn says_nothing_strange(&self) -> Result<(), Failure> {
        let is_known = |line: &&String| {
            KNOWN.iter().any(|known| line.starts_with(known)) || line.ends_with(" were refused")
        };
        match self.stderr.iter().find(|line| !is_known(line)) {
            None => Ok(()),
            Some(_) => Err(format!("it says: {}", self.stderr.join("\n    ")).into()),
        }
    }

    /// Whether it failed with all of these words in one line on stderr.
    pub(super) fn failed_with(&self, words: &[&str]) -> Result<(), Failure> {
        self.says_nothing_strange()?;
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        if !self.is_success && self.stderr.iter().any(|line| has_all(&line)) {
            return Ok(());
        }
        let how = if self.is_success { "succeeded" } else { "failed" };
        Err(format!("it {how} without {words:?}: {}", self.stderr.join("\n    ")).into())
    }
}

/// What may stand on stderr; else something went wrong that the program does not know of.
const KNOWN: [&str; 4] =
    ["failed: ", "trying again: UNAVAILABLE: ", "connecting again: UNAVAILABLE: ", "task "];

fn collect(
    from: Option<impl Read + Send + 'static>,
    lines: Arc<Mutex<Vec<String>>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let Some(from) = from else { return };
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}
