//! The whole contract on a real server, each case on one of its own that can be killed and started again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_conformance::harness::{Deviation, Harness, Stage};
use tidegate_core::Broker;
use tidegate_redis::Config;

struct RedisHarness;

struct RedisStage {
    dir: TempDir,
    port: u16,
    server: Mutex<Child>,
    broker: Mutex<Broker>,
}

fn main() -> ExitCode {
    tidegate_conformance::main(RedisHarness)
}

fn start(dir: &TempDir, port: u16) -> Option<Child> {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--loglevel",
        "warning",
    ]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

async fn connected(port: u16) -> Broker {
    let config = Config::new(&format!("redis://127.0.0.1:{port}")).unwrap();
    loop {
        match tidegate_redis::connect(config.clone()).await {
            Ok(broker) => return broker,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[async_trait]
impl Harness for RedisHarness {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let server = Mutex::new(start(&dir, port)?);
        let broker = Mutex::new(connected(port).await);
        Some(Box::new(RedisStage { dir, port, server, broker }))
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn in_process(&self) -> bool {
        false
    }

    fn deviations(&self) -> &'static [Deviation] {
        &[]
    }
}

#[async_trait]
impl Stage for RedisStage {
    fn broker(&self) -> Broker {
        self.broker.lock().unwrap().clone()
    }

    async fn let_time_pass(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn time_stands_still(&self) -> bool {
        false
    }

    async fn restart(&self) -> Option<Broker> {
        {
            let mut server = self.server.lock().unwrap();
            server.kill().unwrap();
            server.wait().unwrap();
            *server = start(&self.dir, self.port)?;
        }
        let broker = connected(self.port).await;
        *self.broker.lock().unwrap() = broker.clone();
        Some(broker)
    }
}

impl Drop for RedisStage {
    fn drop(&mut self) {
        let mut server = self.server.lock().unwrap();
        let _ = server.kill();
        let _ = server.wait();
    }
}
