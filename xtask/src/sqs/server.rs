//! The real binary, serving SQS in a directory of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_conformance::services::free_port;

use super::client::KEY;
use crate::served::{self, LOG, READY};
use crate::workload::Failure;

/// Long enough that nothing but a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Those who sign.
    Keys,
    /// Everybody, so that what they say is read.
    Nobody,
}

/// A server that is killed at the end.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    program: PathBuf,
    dir: PathBuf,
    broker: Option<String>,
    guard: Guard,
    child: Option<Child>,
}

impl Server {
    /// Starts one in `dir`, over the broker with that URL or the engine there, and waits until it serves.
    pub(super) fn start(
        program: &Path,
        dir: &Path,
        broker: Option<String>,
        guard: Guard,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(dir)?;
        let keys = dir.join("keys.yaml");
        let (id, secret) = KEY;
        let rights = "[{queues: '*', actions: [send, receive, inspect, administer]}]";
        fs::write(&keys, format!("- id: {id}\n  secret: {secret}\n  rights: {rights}\n"))?;
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600))?;
        let (program, dir) = (program.to_owned(), dir.canonicalize()?);
        let mut server = Self { port: free_port()?, program, dir, broker, guard, child: None };
        server.run()?;
        Ok(server)
    }

    /// Its process.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            return Err(format!("the server ended by itself: {status}\n{}", self.log()).into());
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts it where it was, and waits until it serves.
    pub(super) fn run(&mut self) -> Result<(), Failure> {
        let ready = self.dir.join(READY);
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let sqs = format!("127.0.0.1:{}", self.port);
        let mut arguments = vec!["--listen", "127.0.0.1:0", "--sqs", &sqs];
        if self.guard == Guard::Keys {
            arguments.extend(["--access-keys", "keys.yaml"]);
        }
        let broker = self.broker.as_deref();
        let mut child = served::serve(&self.program, &self.dir, arguments, broker)?;
        let begun = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait()? {
                return Err(format!("the server ended with {status}\n{}", self.log()).into());
            }
            if begun.elapsed() > PATIENCE {
                self.child = Some(child);
                return Err("the server is not ready".into());
            }
            thread::sleep(LOOK_EVERY);
        }
        self.child = Some(child);
        Ok(())
    }

    /// The end of what it said.
    fn log(&self) -> String {
        let said = fs::read_to_string(self.dir.join(LOG)).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(20).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
