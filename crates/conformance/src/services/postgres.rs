//! PostgreSQL, private to this process, that can be killed and started again on its data.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
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
/// How often a server that was killed is started again while processes of its own are still ending.
const STARTS_MAX: u32 = 100;

/// A server with a data directory of its own. Dropping it ends the server.
#[derive(Debug)]
pub struct PrivatePostgres {
    service: Option<Service>,
    port: u16,
    dir: PathBuf,
    settings: Vec<(String, String)>,
    _own: Option<TempDir>,
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
        server._own = Some(dir);
        Ok(Some(server))
    }

    /// Starts a server whose data, socket and log lie in `dir`, with these settings.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_in(dir: &Path, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let port = free_port()?;
        let data = dir.join("data");
        std::fs::create_dir(&data)?;
        give_to_user(dir)?;
        give_to_user(&data)?;
        let mut init = as_user("initdb");
        init.args(["-A", "trust", "-U", USER, "-D"]).arg(&data).stdout(Stdio::null());
        if !init.status()?.success() {
            return Err("initdb failed".into());
        }
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let (dir, settings) = (dir.to_owned(), settings.collect());
        let mut server = Self { service: None, port, dir, settings, _own: None };
        server.run().await?;
        Ok(server)
    }

    /// Kills it, with all of its processes, and starts it again on the same data and port.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.service = None;
        let mut left = STARTS_MAX;
        // WHY: it does not start while a process of the one before holds its memory, and those that were
        // killed with it end a little later than it does.
        while let Err(why) = self.run().await {
            left -= 1;
            if left == 0 {
                return Err(why);
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        Ok(())
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut command = as_user("postgres");
        command.arg("-D").arg(self.dir.join("data")).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.dir.display()));
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let service = Service::start(command, self.port, &self.dir.join("log")).await?;
        self.service = Some(service);
        // WHY: it listens before it lets anybody in.
        let mut left = READY_ROUNDS_MAX;
        while !is_ready(self.port)? {
            left -= 1;
            if left == 0 {
                return Err("PostgreSQL listens and lets nobody in".into());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        Ok(())
    }

    /// Its URL; the database is the one that every server has.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{USER}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process; `None` if it could not be started again.
    pub fn process(&self) -> Option<u32> {
        self.service.as_ref().map(Service::process)
    }
}

fn is_ready(port: u16) -> Result<bool, Failure> {
    let program = find_program("pg_isready").unwrap_or("pg_isready".into());
    let mut ask = Command::new(program);
    ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    Ok(ask.status()?.success())
}

/// What PostgreSQL and its pooler are started by: they do not run as root.
pub(super) fn as_user(name: &str) -> Command {
    let program = find_program(name).unwrap_or(name.into());
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command
}

/// Makes a file or directory that user's.
///
/// # Errors
/// If it cannot be given away.
pub fn give_to_user(path: &Path) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        let (user, group) = user_ids()?;
        chown(path, Some(user), Some(group))?;
    }
    Ok(())
}

fn user_ids() -> Result<(u32, u32), Failure> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut fields = line.ok_or("there is no user postgres")?.split(':').skip(1);
    let mut number = || fields.next().and_then(|id| id.parse().ok()).ok_or("an unreadable user");
    Ok((number()?, number()?))
}
