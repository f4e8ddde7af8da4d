//! Servers of others, private to this process: a directory of their own, a free port, ended with it.

pub mod pgbouncer;
pub mod postgres;
pub mod redis;
pub mod redis_cluster;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Why a server is not there.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// How often a server is looked at until it answers, and how many times.
const ROUND: Duration = Duration::from_millis(20);
const ROUNDS_MAX: u32 = 3_000;

/// A server that runs. Dropping it ends it and whatever it started.
#[derive(Debug)]
pub struct Service {
    child: Child,
}

impl Service {
    /// Starts `command` and waits until it listens on `port`.
    ///
    /// # Errors
    /// If it cannot be started, ends at once, or does not listen within a minute.
    pub async fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log)?;
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{name} did not start: {error}"))?;
        let mut service = Self { child };
        let mut left = ROUNDS_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = service.child.try_wait()? {
                return Err(format!("{name} ended at once: {status}").into());
            }
            left -= 1;
            if left == 0 {
                return Err(format!("{name} does not listen on port {port}").into());
            }
            tokio::time::sleep(ROUND).await;
        }
        Ok(service)
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // WHY: its children too, where it has some: a server that was killed leaves none behind.
        let family = family(self.child.id());
        for process in family {
            let id = rustix::process::Pid::from_raw(process.cast_signed());
            if let Some(id) = id {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// A process and all that it started, the youngest first.
pub fn family(process: u32) -> Vec<u32> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    children.flat_map(family).chain([process]).collect()
}

/// A port that nobody listens on.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where a program lies: on the path, where Debian puts it, or where `cargo xtask` has put it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // WHY: RabbitMQ's own folder first: what is on the path there is a wrapper for the system's node.
    let first = ["/usr/lib/rabbitmq/bin"].map(PathBuf::from);
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/services/nats/bin");
    let last = ["/usr/sbin", "/usr/local/bin", own].map(PathBuf::from);
    let folders = first.into_iter().chain(std::env::split_paths(&path)).chain(versions).chain(last);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
