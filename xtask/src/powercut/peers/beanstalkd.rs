//! beanstalkd with a binlog.

use std::fmt;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use tidegate_conformance::services::free_port;

use super::wire::{Wire, until_gone};
use super::{Peer, TASK_BYTES, started};

/// beanstalkd with one setting of `-f`, or its default.
#[derive(Debug)]
pub(super) struct Beanstalkd {
    fsync_ms: Option<u32>,
    port: u16,
}

impl Beanstalkd {
    pub(super) fn new(fsync_ms: Option<u32>) -> Self {
        Self { fsync_ms, port: 0 }
    }
}

impl fmt::Display for Beanstalkd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fsync_ms {
            Some(ms) => write!(f, "beanstalkd -f {ms}"),
            None => f.write_str("beanstalkd, default (-f 50)"),
        }
    }
}

impl Peer for Beanstalkd {
    fn start(&mut self, data: &Path) -> Result<Child, String> {
        self.port = free_port().map_err(|error| error.to_string())?;
        let data = data.display().to_string();
        let mut arguments = ["-l", "127.0.0.1", "-b", &data].map(str::to_owned).to_vec();
        arguments.extend(["-p".into(), self.port.to_string()]);
        if let Some(ms) = self.fsync_ms {
            arguments.extend(["-f".into(), ms.to_string()]);
        }
        started("beanstalkd", &arguments, || Wire::connect(self.port).map(drop))
    }

    fn send(&mut self, until: Instant) -> Result<u64, String> {
        let mut wire = Wire::connect(self.port)?;
        let mut command = format!("put 0 0 60 {TASK_BYTES}\r\n").into_bytes();
        command.resize(command.len() + TASK_BYTES, b'x');
        command.extend(b"\r\n");
        until_gone(until, || {
            wire.write(&command)?;
            let answer = wire.line()?;
            if answer.starts_with("INSERTED") { Ok(()) } else { Err(answer) }
        })
    }

    fn held(&mut self) -> Result<u64, String> {
        let mut wire = Wire::connect(self.port)?;
        wire.write(b"stats\r\n")?;
        let answer = wire.line()?;
        let bytes = answer.strip_prefix("OK ").and_then(|count| count.parse().ok());
        let stats = wire.bytes(bytes.ok_or(answer)?)?;
        let stats = String::from_utf8_lossy(&stats).into_owned();
        let ready = stats.lines().find_map(|line| line.strip_prefix("current-jobs-ready: "));
        ready.and_then(|ready| ready.trim().parse().ok()).ok_or(stats)
    }
}
