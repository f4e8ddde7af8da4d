//! A Redis server of one's own that is killed and started again on its data.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that syncs every change before it answers. Dropping it ends it.
pub(super) struct Redis {
    pub(super) port: u16,
    dir: PathBuf,
    process: Child,
}

impl Redis {
    /// Starts one on fresh data.
    pub(super) fn start(dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let port = free.map_err(|error| error.to_string())?.port();
        let (dir, process) = (dir.to_owned(), spawn(dir, port)?);
        let server = Self { port, dir, process };
        server.answers()?;
        Ok(server)
    }

    /// Kills it and starts it again.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .map_err(|error| error.to_string())?;
        self.process = spawn(&self.dir, self.port)?;
        self.answers()
    }

    /// The broker's URL on a port that leads here.
    pub(super) fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}?response_timeout_ms=2000")
    }

    fn answers(&self) -> Result<(), String> {
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(format!("redis-server does not listen on port {}", self.port));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that has ended already is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &Path, port: u16) -> Result<Child, String> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--loglevel", "warning", "--appendonly", "yes", "--appendfsync", "always"]);
    command.arg("--dir").arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("redis-server did not start: {error}"))
}
