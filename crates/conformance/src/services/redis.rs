//! Redis, private to this process, that can be killed and started again on its data.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Failure, Service, find_program, free_port};

const PROGRAM: &str = "redis-server";

/// A server that syncs every change before it answers. Dropping it ends the server.
#[derive(Debug)]
pub struct PrivateRedis {
    service: Option<Service>,
    port: u16,
    dir: PathBuf,
    _own: Option<TempDir>,
}

impl PrivateRedis {
    /// Starts a server on data of its own. `None` if this machine has no Redis.
    ///
    /// # Errors
    /// If it is there and does not start.
    pub async fn start() -> Result<Option<Self>, Failure> {
        if find_program(PROGRAM).is_none() {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let mut server = Self::start_in(dir.path()).await?;
        server._own = Some(dir);
        Ok(Some(server))
    }

    /// Starts a server whose data and log lie in `dir`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_in(dir: &Path) -> Result<Self, Failure> {
        let (port, dir) = (free_port()?, dir.to_owned());
        let service = Some(Service::start(command(&dir, port), port, &dir.join("log")).await?);
        Ok(Self { service, port, dir, _own: None })
    }

    /// Kills it and starts it again on the same data and port.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        // Ends it first, so that the port is free.
        self.service = None;
        let command = command(&self.dir, self.port);
        self.service = Some(Service::start(command, self.port, &self.dir.join("log")).await?);
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
}

fn command(dir: &Path, port: u16) -> Command {
    let mut command = Command::new(find_program(PROGRAM).unwrap_or(PROGRAM.into()));
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--loglevel", "warning", "--appendonly", "yes", "--appendfsync", "always"]);
    command.arg("--dir").arg(dir);
    command
}
