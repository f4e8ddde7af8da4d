//! A server, or a cluster, for each case, that can be killed and started again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_conformance::harness::{Deviation, Harness, Stage};
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_conformance::services::redis_cluster::PrivateCluster;
use tidegate_core::Broker;
use tidegate_redis::Config;

/// What a case runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "each test uses one of them")]
pub(crate) enum On {
    Server,
    /// Three masters.
    Cluster,
}

/// Cases that run at one time. They wait more than they work.
const BESIDE_EACH_OTHER: usize = 8;

struct RedisHarness {
    on: On,
}

enum Service {
    Server(PrivateRedis),
    Cluster(PrivateCluster),
}

struct RedisStage {
    service: tokio::sync::Mutex<Service>,
    broker: Mutex<Broker>,
}

/// The whole of a test program.
pub(crate) fn main(on: On) -> ExitCode {
    tidegate_conformance::suite::main_beside(RedisHarness { on }, BESIDE_EACH_OTHER)
}

impl Service {
    async fn start(on: On) -> Option<Self> {
        match on {
            On::Server => PrivateRedis::start().await.unwrap().map(Self::Server),
            On::Cluster => PrivateCluster::start().await.unwrap().map(Self::Cluster),
        }
    }

    async fn restart(&mut self) {
        match self {
            Self::Server(server) => server.restart().await.unwrap(),
            Self::Cluster(cluster) => cluster.restart().await.unwrap(),
        }
    }

    /// Connects to a server that may still read what was written before it was killed.
    async fn connected(&self) -> Broker {
        let url = match self {
            Self::Server(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
        };
        let config = Config::new(&url).unwrap();
        loop {
            match tidegate_redis::connect(config.clone()).await {
                Err(loading) if loading.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                connected => return connected.unwrap(),
            }
        }
    }
}

#[async_trait]
impl Harness for RedisHarness {
    fn name(&self) -> &'static str {
        match self.on {
            On::Server => "redis",
            On::Cluster => "redis-cluster",
        }
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let service = Service::start(self.on).await?;
        let broker = Mutex::new(service.connected().await);
        Some(Box::new(RedisStage { service: tokio::sync::Mutex::new(service), broker }))
    }

    fn tick(&self) -> Duration {
        match self.on {
            On::Server => Duration::from_millis(50),
            // WHY: a cluster that was killed takes no writes for two seconds, less than the 30 ticks that cases allow.
            On::Cluster => Duration::from_millis(120),
        }
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
        let mut service = self.service.lock().await;
        service.restart().await;
        let broker = service.connected().await;
        *self.broker.lock().unwrap() = broker.clone();
        Some(broker)
    }
}
