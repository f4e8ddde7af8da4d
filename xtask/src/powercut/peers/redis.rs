//! Redis: a list in an append-only file.

use std::fmt;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use tidegate_conformance::services::free_port;

use super::wire::{Wire, until_gone};
use super::{Peer, TASK_BYTES, started};

/// Redis with one setting of `appendfsync`.
#[derive(Debug)]
pub(super) struct Redis {
    appendfsync: &'static str,
    port: u16,
}

impl Redis {
    pub(super) fn new(appendfsync: &'static str) -> Self {
        Self { appendfsync, port: 0 }
    }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis, RPUSH, appendfsync {}", self.appendfsync)
    }
}

impl Peer for Redis {
    fn start(&mut self, data: &Path) -> Result<Child, String> {
        self.port = free_port().map_err(|error| error.to_string())?;
        let (port, data) = (self.port.to_string(), data.display().to_string());
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--dir", &data, "--save", ""];
        let durable = ["--appendonly", "yes", "--appendfsync", self.appendfsync];
        let arguments: Vec<_> = arguments.iter().chain(&durable).map(ToString::to_string).collect();
        started("redis-server", &arguments, || {
            let answer = ask(&mut Wire::connect(self.port)?, b"PING\r\n")?;
            if answer == "+PONG" { Ok(()) } else { Err(answer) }
        })
    }

    fn send(&mut self, until: Instant) -> Result<u64, String> {
        let mut wire = Wire::connect(self.port)?;
        let mut command =
            format!("*3\r\n$5\r\nRPUSH\r\n$5\r\ntasks\r\n${TASK_BYTES}\r\n").into_bytes();
        command.resize(command.len() + TASK_BYTES, b'x');
        command.extend(b"\r\n");
        until_gone(until, || {
            let answer = ask(&mut wire, &command)?;
            if answer.starts_with(':') { Ok(()) } else { Err(answer) }
        })
    }

    fn held(&mut self) -> Result<u64, String> {
        let answer = ask(&mut Wire::connect(self.port)?, b"LLEN tasks\r\n")?;
        let length = answer.strip_prefix(':').and_then(|length| length.parse().ok());
        length.ok_or(answer)
    }
}

fn ask(wire: &mut Wire, command: &[u8]) -> Result<String, String> {
    wire.write(command)?;
    wire.line()
}
