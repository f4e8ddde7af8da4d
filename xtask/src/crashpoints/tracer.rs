//! A process that is followed through all of its threads and stopped at each system call, so that
//! it can be killed before any one that changes its data.
//!
//! By `ptrace`: strace's `inject=..:when=N` counts for each thread and each call apart, and cannot
//! be told which thread.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::calls::Call;
use crate::workload::now_us;

/// One call of the process, found again by its thread's name and its number among the calls of
/// threads with that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Point {
    pub(super) thread: String,
    /// From 1.
    pub(super) number: u64,
    /// Whether the kill comes in the middle of it: half of what it writes is there.
    pub(super) torn: bool,
}

/// What a process did.
#[derive(Debug)]
pub(super) struct Traced {
    /// Every call that changed its data, in the order in which they were begun.
    pub(super) calls: Vec<(Point, Call)>,
    /// The call before which it was killed.
    pub(super) killed_at: Option<Call>,
    /// When that was.
    pub(super) killed_us: Option<u64>,
    /// How it ended.
    pub(super) status: String,
    pub(super) succeeded: bool,
}

/// Runs a process that waits for a byte before it begins, and kills it at `stop`.
///
/// # Errors
/// What the kernel does not allow, and calls that cannot be followed. The process has ended then.
pub(super) fn trace(
    mut command: Command,
    data: &Path,
    stop: Option<&Point>,
) -> Result<Traced, String> {
    let child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("the process could not be started: {error}"))?;
    let process = Pid::from_raw(child.id().cast_signed());
    let mut tracer = Tracer {
        process,
        data,
        stop,
        counts: HashMap::new(),
        traced: Traced {
            calls: Vec::new(),
            killed_at: None,
            killed_us: None,
            status: String::new(),
            succeeded: false,
        },
    };
    let followed = tracer.begin().and_then(|()| {
        let told = child.stdin.take().map(|mut input| input.write_all(b"!"));
        told.ok_or("the process has no input")?.map_err(|error| error.to_string())?;
        tracer.follow()
    });
    if let Err(why) = followed {
        // WHY: it may have ended by itself meanwhile; either way it is gone then.
        let _ = kill(process, Signal::SIGKILL);
        let _ = tracer.follow();
        return Err(why);
    }
    Ok(tracer.traced)
}

struct Tracer<'a> {
    process: Pid,
    data: &'a Path,
    stop: Option<&'a Point>,
    counts: HashMap<String, u64>,
    traced: Traced,
}

impl Tracer<'_> {
    fn begin(&self) -> Result<(), String> {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_EXITKILL;
        let attached =
            ptrace::seize(self.process, options).and_then(|()| ptrace::interrupt(self.process));
        attached.map_err(|error| format!("this process may not trace its children: {error}"))
    }

    /// Goes on until all threads have ended.
    fn follow(&mut self) -> Result<(), String> {
        // INVARIANT: only what this thread traces, or threads that trace take each other's stops.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(status) => self.stopped(status)?,
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(format!("waiting for the process: {error}")),
            }
        }
    }

    fn stopped(&mut self, status: WaitStatus) -> Result<(), String> {
        let (thread, signal) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                self.syscall(thread)?;
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::Exited(thread, code) => {
                self.ended(thread, format!("exit {code}"), code == 0);
                return Ok(());
            }
            WaitStatus::Signaled(thread, signal, _) => {
                self.ended(thread, signal.to_string(), false);
                return Ok(());
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => return Ok(()),
        };
        match ptrace::syscall(thread, signal) {
            // WHY: it was killed meanwhile; its end is the next thing to be told.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(format!("letting a thread go on: {error}")),
        }
    }

    fn ended(&mut self, thread: Pid, status: String, succeeded: bool) {
        if thread == self.process {
            self.traced.status = status;
            self.traced.succeeded = succeeded;
        }
    }

    /// Looks at a call that is about to be made, and kills the process if it is the one.
    fn syscall(&mut self, thread: Pid) -> Result<(), String> {
        let info = match ptrace::syscall_info(thread) {
            Ok(info) => info,
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(format!("asking for a system call: {error}")),
        };
        let is_killed = self.traced.killed_at.is_some();
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY || is_killed {
            return Ok(());
        }
        let call = Call::of(self.process, thread, self.data);
        let call = call.map_err(|error| format!("looking at a system call: {error}"))?;
        let Some(call) = call else { return Ok(()) };
        let name = self.name(thread).map_err(|error| format!("a thread's name: {error}"))?;
        let count = self.counts.entry(name.clone()).or_default();
        *count += 1;
        let point = Point { thread: name, number: *count, torn: false };
        if let Some(stop) = self.stop
            && (stop.number, &stop.thread) == (point.number, &point.thread)
        {
            if stop.torn {
                call.tear(self.process).map_err(|error| format!("tearing a write: {error}"))?;
            }
            self.traced.killed_us = Some(now_us());
            kill(self.process, Signal::SIGKILL).map_err(|error| format!("killing: {error}"))?;
            self.traced.killed_at = Some(call.clone());
        }
        self.traced.calls.push((point, call));
        Ok(())
    }

    fn name(&self, thread: Pid) -> std::io::Result<String> {
        if thread == self.process {
            return Ok("main".into());
        }
        let path = format!("/proc/{}/task/{thread}/comm", self.process);
        let name = fs::read_to_string(path)?;
        // WHY: the kernel cuts names off after 15 bytes.
        let full = ["flusher", "janitor", "timekeeper"];
        let short = name.trim().trim_start_matches("tidegate-");
        let full = full.into_iter().find(|full| !short.is_empty() && full.starts_with(short));
        Ok(full.unwrap_or(name.trim()).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read -r x; mkdir log; cd log; echo one >a; echo two >>a; mv a b"]);
        shell.current_dir(dir);
        shell
    }

    #[test]
    fn a_process_is_stopped_before_any_one_of_its_calls() {
        let dir = tempfile::tempdir().unwrap();
        // WHY: the shell names its files as seen from where it is; the paths of an engine are whole.
        let calls = ["write", "write"];
        let traced = trace(script(dir.path()), dir.path(), None).unwrap();
        let seen: Vec<_> = traced.calls.iter().map(|(_, call)| call.name).collect();
        assert_eq!((seen, traced.succeeded), (calls.to_vec(), true));
        assert_eq!(fs::read(dir.path().join("log/b")).unwrap(), b"one\ntwo\n");

        let dir = tempfile::tempdir().unwrap();
        let stop = Point { thread: "main".into(), number: 2, torn: false };
        let traced = trace(script(dir.path()), dir.path(), Some(&stop)).unwrap();
        assert!(!traced.succeeded, "{}", traced.status);
        assert_eq!(traced.killed_at.unwrap().file, Path::new("log/a"));
        assert_eq!(fs::read(dir.path().join("log/a")).unwrap(), b"one\n");
    }
}
