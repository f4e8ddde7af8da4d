//! PostgreSQL, private to this process.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Failure, Service, find_program, free_port};

/// The user that a server started by root must run as, and that clients connect as.
pub const USER: &str = "postgres";

/// What the server of a test is set to: connections for many brokers at once, and no waits for the disk,
/// which no test cuts the power of.
const FOR_TESTS: &[(&str, &str)] = &[("max_connections", "400"), ("fsync", "off")];

const READY_EVERY: Duration = Duration::from_millis(50);
const READY_ROUNDS_MAX: u32 = 600;

/// A server with a data directory of its own. Dropping it ends the server.
#[derive(Debug)]
pub struct PrivatePostgres {
    service: Service,
    port: u16,
    _dir: Option<TempDir>,
}

impl PrivatePostgres {
    /// Starts a server for tests. `None` if this machine has no PostgreSQL.
    ///
    /// # Errors
    /// If it is there and does not start.
    pub fn start() -> Result<Option<Self>, Failure> {
        if find_program("postgres").is_none() || find_program("initdb").is_none() {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut server = runtime.block_on(Self::start_in(dir.path(), FOR_TESTS))?;
        server._dir = Some(dir);
        Ok(Some(server))
    }

    /// Starts a server whose data, socket and log lie in `dir`, with these settings.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_in(dir: &Path, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let port = free_port()?;
        let data = dir.join("data");
        let is_root = rustix::process::geteuid().is_root();
        std::fs::create_dir(&data)?;
        if is_root {
            let (user, group) = user_ids()?;
            chown(dir, Some(user), Some(group))?;
            chown(&data, Some(user), Some(group))?;
        }
        let mut init = as_user("initdb", is_root);
        init.args(["-A", "trust", "-U", USER, "-D"]).arg(&data).stdout(Stdio::null());
        if !init.status()?.success() {
            return Err("initdb failed".into());
        }
        let mut command = as_user("postgres", is_root);
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", dir.display()));
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let service = Service::start(command, port, &dir.join("log")).await?;
        // WHY: it listens before it lets anybody in.
        let mut left = READY_ROUNDS_MAX;
        while !is_ready(port)? {
            left -= 1;
            if left == 0 {
                return Err("PostgreSQL listens and lets nobody in".into());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        Ok(Self { service, port, _dir: None })
    }

    /// Its URL; the database is the one that every server has.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{USER}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.service.process()
    }
}

fn is_ready(port: u16) -> Result<bool, Failure> {
    let program = find_program("pg_isready").unwrap_or("pg_isready".into());
    let mut ask = Command::new(program);
    ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    Ok(ask.status()?.success())
}

/// The server does not run as root.
fn as_user(name: &str, is_root: bool) -> Command {
    let program = find_program(name).unwrap_or(name.into());
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command
}

fn user_ids() -> Result<(u32, u32), Failure> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut fields = line.ok_or("there is no user postgres")?.split(':').skip(1);
    let mut number = || fields.next().and_then(|id| id.parse().ok()).ok_or("an unreadable user");
    Ok((number()?, number()?))
}
