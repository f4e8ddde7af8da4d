//! beanstalkd, by its own protocol: lines and bodies over TCP, many at once on each connection.

use std::path::Path;
use std::process::Command;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};
use tidegate_conformance::services::{Service, free_port};

pub(crate) const KIND: Kind = Kind {
    name: "beanstalkd",
    program: Some(PROGRAM),
    setting: |durability| Some(setting(durability)),
    start: |dir, durability, _| Box::pin(start(dir, durability)),
};

const PROGRAM: &str = "beanstalkd";

/// What it is told on its command line.
fn setting(durability: Durability) -> &'static str {
    match durability {
        Durability::Always => "-f 0",
        Durability::Interval => "-f 1000",
        Durability::Never => "-F",
    }
}

struct Beanstalkd {
    service: Service,
    port: u16,
}

async fn start(dir: &Path, durability: Durability) -> Result<Box<dyn Peer>> {
    let port = free_port()?;
    let mut command = Command::new(PROGRAM);
    command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-b"]).arg(dir);
    command.args(setting(durability).split(' '));
    let service = Service::start(command, port, &dir.join("log")).await?;
    Ok(Box::new(Beanstalkd { service, port }))
}

#[async_trait]
impl Peer for Beanstalkd {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(BeanstalkdClient { stream: BufReader::new(stream), held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        Some(self.service.process())
    }
}

struct BeanstalkdClient {
    stream: BufReader<TcpStream>,
    held: Vec<u64>,
}

impl BeanstalkdClient {
    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }

    async fn expect(&mut self, start: &str) -> Result<()> {
        let line = self.line().await?;
        if line.starts_with(start) { Ok(()) } else { Err(format!("answered {line:?}").into()) }
    }
}

#[async_trait]
impl Client for BeanstalkdClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut bytes = Vec::new();
        for payload in payloads {
            bytes.extend_from_slice(format!("put 0 0 30 {}\r\n", payload.len()).as_bytes());
            bytes.extend_from_slice(payload);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&bytes).await?;
        for _ in payloads {
            self.expect("INSERTED ").await?;
        }
        Ok(())
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        self.stream.write_all("reserve-with-timeout 0\r\n".repeat(most).as_bytes()).await?;
        let mut payloads = Vec::with_capacity(most);
        for _ in 0..most {
            let line = self.line().await?;
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("RESERVED"), Some(id), Some(len)) => {
                    let mut payload = vec![0; len.parse::<usize>()? + 2];
                    self.stream.read_exact(&mut payload).await?;
                    payload.truncate(payload.len() - 2);
                    payloads.push(payload);
                    self.held.push(id.parse()?);
                }
                (Some("TIMED_OUT" | "DEADLINE_SOON"), _, _) => {}
                _ => return Err(format!("answered {line:?}").into()),
            }
        }
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let bytes: String = held.iter().map(|id| format!("delete {id}\r\n")).collect();
        self.stream.write_all(bytes.as_bytes()).await?;
        for _ in held {
            self.expect("DELETED").await?;
        }
        Ok(())
    }
}
