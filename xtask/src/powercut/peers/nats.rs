//! NATS JetStream: a stream in files.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use serde_json::Value;
use tidegate_conformance::services::free_port;

use super::wire::{Wire, until_gone};
use super::{Peer, TASK_BYTES, started};

/// NATS with one setting of `sync_interval`, or its default of two minutes.
#[derive(Debug)]
pub(super) struct Nats {
    sync_interval: Option<&'static str>,
    port: u16,
}

impl Nats {
    pub(super) fn new(sync_interval: Option<&'static str>) -> Self {
        Self { sync_interval, port: 0 }
    }
}

impl fmt::Display for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sync_interval {
            Some(interval) => write!(f, "NATS JetStream, sync_interval {interval}"),
            None => f.write_str("NATS JetStream, default (2 min)"),
        }
    }
}

impl Peer for Nats {
    fn start(&mut self, data: &Path) -> Result<Child, String> {
        self.port = free_port().map_err(|error| error.to_string())?;
        let is_new = !data.join("store").exists();
        let interval = self.sync_interval.map(|interval| format!("sync_interval: {interval:?}\n"));
        let config = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{\nstore_dir: {:?}\n{}}}\n",
            self.port,
            data.join("store"),
            interval.unwrap_or_default()
        );
        // WHY: beside the file system that is cut off.
        let path = std::env::temp_dir().join(format!("tidegate-nats-{}.conf", std::process::id()));
        fs::write(&path, config).map_err(|error| error.to_string())?;
        let arguments = ["-c".to_owned(), path.display().to_string()];
        let server = started("nats-server", &arguments, || {
            let info = ask(self.port, "$JS.API.INFO", "")?;
            if info.get("error").is_none() { Ok(()) } else { Err(info.to_string()) }
        })?;
        let _ = fs::remove_file(&path);
        if is_new {
            let stream = r#"{"name":"tasks","subjects":["task"],"storage":"file"}"#;
            let made = ask(self.port, "$JS.API.STREAM.CREATE.tasks", stream)?;
            if made.get("error").is_some() {
                super::Server(server).end();
                return Err(made.to_string());
            }
        }
        Ok(server)
    }

    fn send(&mut self, until: Instant) -> Result<u64, String> {
        let mut wire = connected(self.port)?;
        let mut command = format!("PUB task reply {TASK_BYTES}\r\n").into_bytes();
        command.resize(command.len() + TASK_BYTES, b'x');
        command.extend(b"\r\n");
        until_gone(until, || {
            wire.write(&command)?;
            let answer = message(&mut wire)?;
            if answer.get("seq").is_some() { Ok(()) } else { Err(answer.to_string()) }
        })
    }

    fn held(&mut self) -> Result<u64, String> {
        let info = ask(self.port, "$JS.API.STREAM.INFO.tasks", "")?;
        let held = info.pointer("/state/messages").and_then(Value::as_u64);
        match info.pointer("/error/code").and_then(Value::as_u64) {
            // WHY: there is no such stream: it went with all it held.
            Some(404) => Ok(0),
            _ => held.ok_or(info.to_string()),
        }
    }
}

fn connected(port: u16) -> Result<Wire, String> {
    let mut wire = Wire::connect(port)?;
    wire.line()?;
    wire.write(b"CONNECT {\"verbose\":false}\r\nSUB reply 1\r\n")?;
    Ok(wire)
}

fn ask(port: u16, subject: &str, body: &str) -> Result<Value, String> {
    let mut wire = connected(port)?;
    wire.write(format!("PUB {subject} reply {}\r\n{body}\r\n", body.len()).as_bytes())?;
    message(&mut wire)
}

/// The next message: `MSG subject sid [reply] bytes`, and its body behind it.
fn message(wire: &mut Wire) -> Result<Value, String> {
    loop {
        let line = wire.line()?;
        let is_with_headers = line.starts_with("HMSG ");
        if line == "PING" {
            wire.write(b"PONG\r\n")?;
        } else if line.starts_with("MSG ") || is_with_headers {
            let bytes = line.rsplit(' ').next().and_then(|count| count.parse().ok());
            let body = wire.bytes(bytes.ok_or(&*line)?)?;
            if is_with_headers {
                return Err(String::from_utf8_lossy(&body).into_owned());
            }
            return serde_json::from_slice(&body).map_err(|error| error.to_string());
        } else if line.starts_with("-ERR") {
            return Err(line);
        }
    }
}
