//! A server for one case: a directory, a port and tokens of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tidegate_conformance::services::free_port;
use tidegate_core::{Broker, QueueName, QueueStats};

use crate::cargo::root;
use crate::programs;
use crate::served::{self, READY};
use crate::workload::Failure;

/// Long enough that nothing but a hang takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// May do everything.
pub(super) const TOKEN: &str = "a-token-that-may-do-everything";
/// May send and nothing else.
pub(super) const SENDERS_TOKEN: &str = "a-token-that-may-only-send";

/// Counts the servers of this process.
static NUMBER: AtomicU16 = AtomicU16::new(0);

/// A server that is ready. It is killed at the end, and its directory is removed.
#[derive(Debug)]
pub(super) struct Server {
    dir: PathBuf,
    address: String,
    child: Child,
}

impl Server {
    pub(super) fn start() -> Result<Self, Failure> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = format!("server-{}-{number}", std::process::id());
        let dir = root().join("target/examples").join(dir);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let entry = |name: &str, secret: &str, actions: &str| {
            format!(
                "- name: {name}\n  secret: {secret}\n  rights:\n    - queues: \"*\"\n      \
                 actions: [{actions}]\n"
            )
        };
        let everything = entry("everything", TOKEN, "send, receive, inspect, administer");
        let tokens = everything + &entry("sender", SENDERS_TOKEN, "send");
        let file = dir.join("tokens.yaml");
        fs::write(&file, tokens)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let child = serve(&dir, &address)?;
        let mut server = Self { dir, address, child };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where it is: host and port, the same after a restart.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks it to end, as a service manager would, waits for that, and starts it again.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("the server ended with {status}").into());
        }
        self.start_again()
    }

    /// Kills it, and starts it again.
    pub(super) fn kill_and_restart(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        // WHY: only a graceful end removes it.
        fs::remove_file(self.dir.join(READY))?;
        self.start_again()
    }

    /// What is in a queue.
    pub(super) fn stats(&self, queue: &str) -> Result<QueueStats, Failure> {
        self.with_broker(async |broker| {
            Ok(broker.inspect()?.stats(&QueueName::new(queue)?).await?)
        })
    }

    /// Does something at the server by the Rust client.
    pub(super) fn with_broker<T>(
        &self,
        act: impl AsyncFnOnce(&Broker) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let broker = tidegate::connect(&format!("tidegate://{TOKEN}@{}", self.address)).await?;
            let done = act(&broker).await;
            broker.close().await?;
            done
        })
    }

    fn start_again(&mut self) -> Result<(), Failure> {
        self.child = serve(&self.dir, &self.address)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let ready = self.dir.join(READY);
        until("the server is ready", || {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended with {status}").into());
            }
            Ok(ready.exists())
        })
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Waits until something holds.
pub(crate) fn until(
    what: &str,
    mut holds: impl FnMut() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited in vain until {what}").into());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn serve(dir: &Path, address: &str) -> Result<Child, Failure> {
    let arguments = ["--no-sqs", "--listen", address, "--tokens", "tokens.yaml"];
    served::serve(&programs::binary(false)?, dir, arguments, None)
}
