//! One run of the program.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tidegate::{Bytes, Context, Task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use super::environment;
use crate::failure::Failure;

/// How much of the end of stderr is kept; an error kept with a task holds as much.
const STDERR_BYTES: usize = 900;
/// How long the end of stderr is waited for once the program is over: something it left behind may
/// hold it open for ever.
const STDERR_PATIENCE: Duration = Duration::from_millis(200);

/// What is run for every task.
#[derive(Debug)]
pub(super) struct Program {
    path: OsString,
    arguments: Vec<OsString>,
    /// Its stdout goes to stderr where stdout is for JSON.
    stdout_to_stderr: bool,
}

/// How a run of the program ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) how: How,
    /// The last bytes of its stderr.
    pub(super) stderr: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Exited(i32),
    Killed(i32),
}

impl Program {
    pub(super) fn new(command: Vec<OsString>, stdout_to_stderr: bool) -> Result<Self, Failure> {
        let mut words = command.into_iter();
        let path = words.next().ok_or_else(|| Failure::usage("name a program behind `--`"))?;
        Ok(Self { path, arguments: words.collect(), stdout_to_stderr })
    }

    /// Runs the program on a task. When the context is cancelled it gets SIGTERM; dropping the
    /// future kills it. The error says why it could not be started.
    pub(super) async fn work_on(&self, task: &Task, context: &Context) -> Result<End, String> {
        let mut child = self.start(task)?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
        let feed = tokio::spawn(feed(child.stdin.take(), task.payload.clone()));
        let kept = Kept::default();
        let listen = tokio::spawn(tail(child.stderr.take(), kept.clone()));
        let status = wait(&mut child, &group, context).await;
        group.forget();
        feed.abort();
        let stop = listen.abort_handle();
        if tokio::time::timeout(STDERR_PATIENCE, listen).await.is_err() {
            stop.abort();
        }
        let stderr = lock(&kept).drain(..).collect();
        Ok(End { how: how(status?), stderr })
    }

    fn start(&self, task: &Task) -> Result<Child, String> {
        let mut command = Command::new(&self.path);
        for name in environment::inherited() {
            command.env_remove(name);
        }
        command.args(&self.arguments).envs(environment::of(task));
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if self.stdout_to_stderr {
            command.stdout(std::io::stderr());
        }
        // WHY: a group of its own, so that Ctrl-C reaches the worker alone and a program's own
        // children get the signal that it gets.
        command.process_group(0);
        command.spawn().map_err(|error| {
            format!("{} could not be started: {error}", self.path.to_string_lossy())
        })
    }
}

async fn feed(stdin: Option<ChildStdin>, payload: Bytes) {
    if let Some(mut stdin) = stdin {
        // A program that does not read its stdin is free to.
        let _ = stdin.write_all(&payload).await;
    }
}

/// The last bytes of stderr so far.
type Kept = Arc<Mutex<VecDeque<u8>>>;

fn lock(kept: &Kept) -> MutexGuard<'_, VecDeque<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes stderr on and keeps its end.
async fn tail(stderr: Option<ChildStderr>, kept: Kept) {
    let Some(mut stderr) = stderr else { return };
    let mut chunk = [0; 4_096];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        let read = chunk.get(..count).unwrap_or_default();
        // Nobody reads our stderr any more; the end is kept still.
        let _ = std::io::stderr().write_all(read);
        let mut kept = lock(&kept);
        kept.extend(read);
        let beyond = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..beyond);
    }
}

async fn wait(child: &mut Child, group: &Group, context: &Context) -> Result<ExitStatus, String> {
    let lost = |error: std::io::Error| format!("the program could not be waited for: {error}");
    tokio::select! {
        status = child.wait() => return status.map_err(lost),
        () = context.cancelled() => group.signal(Signal::TERM),
    }
    child.wait().await.map_err(lost)
}

fn how(status: ExitStatus) -> How {
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Exited(code),
        (None, signal) => How::Killed(signal.unwrap_or(0)),
    }
}

/// The process group of a program. Dropping it before the program is over kills all of it.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl End {
    /// `what` with the end of stderr, where there was any.
    pub(super) fn with_stderr(&self, what: &str) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        match text.trim() {
            "" => what.to_owned(),
            told => format!("{what}: {told}"),
        }
    }
}
