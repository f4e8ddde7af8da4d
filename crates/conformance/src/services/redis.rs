//! Redis, private to this process, that can be killed and started again on its data.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Failure, Service, find_program, free_port};

const PROGRAM: &str = "redis-server";

const READY_EVERY: Duration = Duration::from_millis(5);
const READY_ROUNDS_MAX: u32 = 6_000;
/// Who does not answer in this time is asked again.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the server of a test is set to: every change is synced before it is answered.
const FOR_TESTS: &[(&str, &str)] = &[("appendfsync", "always")];

/// A server that writes every change to its log. Dropping it ends the server.
#[derive(Debug)]
pub struct PrivateRedis {
    service: Option<Service>,
    port: u16,
    dir: PathBuf,
    settings: Vec<(String, String)>,
    _own: Option<TempDir>,
}

impl PrivateRedis {
    /// Starts a server for tests on data of its own. `None` if this machine has no Redis.
    ///
    /// # Errors
    /// If it is there and does not start.
    pub async fn start() -> Result<Option<Self>, Failure> {
        if find_program(PROGRAM).is_none() {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let mut server = Self::start_in(dir.path(), FOR_TESTS).await?;
        server._own = Some(dir);
        Ok(Some(server))
    }

    /// Starts a server whose data and log lie in `dir`, with these settings.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_in(dir: &Path, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let (port, dir, settings) = (free_port()?, dir.to_owned(), settings.collect());
        let mut server = Self { service: None, port, dir, settings, _own: None };
        server.run().await?;
        Ok(server)
    }

    /// Kills it and starts it again on the same data and port.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        // Ends it first, so that the port is free.
        self.service = None;
        self.run().await
    }

    /// Kills it. [`Self::restart`] starts it again.
    pub fn kill(&mut self) {
        self.service = None;
    }

    /// Stops it in its tracks: its connections stay and it says nothing. [`Self::unfreeze`] lets it go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn unfreeze(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let process = self.process().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(kill_process(process.ok_or("the server does not run")?, signal)?)
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut command = Command::new(find_program(PROGRAM).unwrap_or(PROGRAM.into()));
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--loglevel", "warning", "--appendonly", "yes"]);
        command.arg("--dir").arg(&self.dir);
        for (name, value) in &self.settings {
            command.arg(format!("--{name}")).arg(value);
        }
        self.service = Some(Service::start(command, self.port, &self.dir.join("log")).await?);
        // WHY: it listens before it has read what was written before it was killed.
        let mut left = READY_ROUNDS_MAX;
        while !is_ready(self.port) {
            left -= 1;
            if left == 0 {
                return Err("Redis listens and does not serve".into());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        Ok(())
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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

/// Whether it serves. While it reads its data it says so instead.
fn is_ready(port: u16) -> bool {
    let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut server| {
        server.set_read_timeout(Some(READY_TIMEOUT))?;
        server.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        server.read_exact(&mut answer)?;
        Ok(answer)
    });
    asked.is_ok_and(|answer| answer == *b"+PONG")
}
