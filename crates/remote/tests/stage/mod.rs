//! The engine behind the protocol, on the suite's stage.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_conformance::harness::{Deviation, Harness, Stage};
use tidegate_core::{Broker, BrokerParts, ManualClock, QueueName, SessionOptions};
use tidegate_engine::Options;
use tidegate_remote::client::{self, Target};
use tidegate_remote::listen::{self, Server, Tcp};
use tokio::runtime::Runtime;

/// How the client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "each test uses one of them")]
pub(crate) enum Over {
    Socket,
    Tcp,
}

pub(crate) struct RemoteHarness {
    pub(crate) name: &'static str,
    pub(crate) over: Over,
}

struct RemoteStage {
    dir: TempDir,
    over: Over,
    clock: ManualClock,
    served: Mutex<Option<Served>>,
    client: Mutex<Broker>,
}

/// A server on a runtime of its own, so that it can be cut off from one moment to the next.
struct Served {
    engine: Broker,
    _server: Server,
    runtime: Option<Runtime>,
    target: Target,
}

#[async_trait]
impl Harness for RemoteHarness {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let served = Served::start(dir.path(), self.over, &clock).await.unwrap();
        let client = served.client(&clock).await;
        let (served, client) = (Mutex::new(Some(served)), Mutex::new(client));
        Some(Box::new(RemoteStage { dir, over: self.over, clock, served, client }))
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn in_process(&self) -> bool {
        false
    }

    fn deviations(&self) -> &'static [Deviation] {
        &[]
    }
}

#[async_trait]
impl Stage for RemoteStage {
    fn broker(&self) -> Broker {
        self.client.lock().unwrap().clone()
    }

    async fn let_time_pass(&self, by: Duration) {
        tokio::task::yield_now().await;
        // WHY: steps of one connection are begun in their order. When the first of these is answered,
        // whoever was about to wait has asked to; when the second is, the engine knows.
        for _ in 0..2 {
            let nowhere = QueueName::new("nowhere").unwrap();
            let opened = self.broker().open(&nowhere, &SessionOptions::default()).await;
            assert!(opened.is_err());
        }
        self.clock.advance(by);
    }

    fn time_stands_still(&self) -> bool {
        true
    }

    async fn restart(&self) -> Option<Broker> {
        let before = self.served.lock().unwrap().take();
        before.unwrap().cut_off().await;
        let served = Served::start(self.dir.path(), self.over, &self.clock).await.unwrap();
        let client = served.client(&self.clock).await;
        *self.served.lock().unwrap() = Some(served);
        *self.client.lock().unwrap() = client.clone();
        Some(client)
    }
}

impl Served {
    async fn start(dir: &Path, over: Over, clock: &ManualClock) -> io::Result<Self> {
        let options = Options {
            segment_bytes: 64 << 10,
            payload_memory_bytes: 512 << 10,
            clock: Arc::new(clock.clone()),
            ..Options::new(dir)
        };
        let engine = tidegate_engine::open(options).await.map_err(io::Error::other)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let server = Server::new(engine.clone(), listen::Options::default());
        let (socket, listens) = (dir.join("socket"), server.clone());
        let listening = runtime.spawn(async move {
            match over {
                Over::Socket => {
                    listens.listen_unix(&socket).await?;
                    Ok(Target::unix(socket))
                }
                Over::Tcp => {
                    let free = Tcp::open(SocketAddr::from(([127, 0, 0, 1], 0)));
                    let bound = listens.listen_tcp(free).await.map_err(io::Error::other)?;
                    Ok::<_, io::Error>(Target::tcp(bound.to_string()))
                }
            }
        });
        let target = listening.await.map_err(io::Error::other)??;
        Ok(Self { engine, _server: server, runtime: Some(runtime), target })
    }

    /// A client that goes by the engine's clock.
    async fn client(&self, clock: &ManualClock) -> Broker {
        let client = client::connect(self.target.clone()).await.unwrap();
        let clock = Arc::new(clock.clone());
        Broker::new(BrokerParts { clock, ..client.parts().clone() })
    }

    /// Ends every connection in the middle of whatever it does, and the engine after it.
    async fn cut_off(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.engine.close().await.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
