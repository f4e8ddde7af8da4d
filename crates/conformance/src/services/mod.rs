//! Servers of others, private to this process: a directory of their own, a free port, ended with it.

pub mod pgbouncer;
pub mod postgres;
pub mod redis;
pub mod redis_cluster;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
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

/// The ports that servers are given: below those that the system gives to clients.
///
/// WHY: a client is given a port of its own for each connection. Until a server listens, and while it is away,
/// one of the system's could be given to a client, and the server would not start.
const PORTS: Range<u16> = 10_000..32_000;

/// A port that nobody listens on, and that this process was not given before.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let ports = u32::from(PORTS.end - PORTS.start);
    // Processes that look at the same time begin apart.
    let next = NEXT.get_or_init(|| AtomicU32::new(fastrand::u32(0..ports)));
    for _ in 0..ports {
        let step = next.fetch_add(1, Relaxed) % ports;
        let port = PORTS.start + u16::try_from(step)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("every port for servers is taken".into())
}

/// Where a program lies: on the path, where Debian puts it, or where `cargo xtask` has put it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // WHY: RabbitMQ's own folder first: what is on the path there is a wrapper for the system's node.
    let first = ["/usr/lib/rabbitmq/bin"].map(PathBuf::from);
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/services/python/bin");
    let last = ["/usr/sbin", "/usr/local/bin", own].map(PathBuf::from);
    let folders = first.into_iter().chain(std::env::split_paths(&path)).chain(versions).chain(last);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_or_to_a_client() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(PORTS.end <= first, "the system gives {first} and up to clients");
        let ports: Vec<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }
}
