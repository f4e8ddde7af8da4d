//! The whole contract on a real server, each case on one of its own that can be killed and started again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_conformance::harness::{Deviation, Harness, Stage};
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::Broker;
use tidegate_redis::Config;

/// Cases that run at one time. They wait more than they work.
const BESIDE_EACH_OTHER: usize = 8;

struct RedisHarness;

struct RedisStage {
    server: tokio::sync::Mutex<PrivateRedis>,
    broker: Mutex<Broker>,
}

fn main() -> ExitCode {
    tidegate_conformance::suite::main_beside(RedisHarness, BESIDE_EACH_OTHER)
}

/// Connects to a server that may still read what was written before it was killed.
async fn connected(server: &PrivateRedis) -> Broker {
    let config = Config::new(&server.url()).unwrap();
    loop {
        match tidegate_redis::connect(config.clone()).await {
            Err(loading) if loading.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            connected => return connected.unwrap(),
        }
    }
}

#[async_trait]
impl Harness for RedisHarness {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let server = PrivateRedis::start().await.unwrap()?;
        let broker = Mutex::new(connected(&server).await);
        Some(Box::new(RedisStage { server: tokio::sync::Mutex::new(server), broker }))
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
        let mut server = self.server.lock().await;
        server.restart().await.unwrap();
        let broker = connected(&server).await;
        *self.broker.lock().unwrap() = broker.clone();
        Some(broker)
    }
}
