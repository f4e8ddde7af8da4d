//! A server to be attacked, and what shows that it is none the worse.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{
    Broker, Capacity, ManualClock, NewTask, QueueName, QueueSpec, ReceiveOptions, Result,
    SessionOptions, memory,
};
use tidegate_remote::client::{self, Target};
use tidegate_remote::listen::{Options, Server, Tcp};
use tidegate_remote::proto::broker_client::BrokerClient;
use tidegate_remote::proto::{HelloRequest, HelloResponse};
use tokio::net::TcpStream;
use tonic::{Status, Streaming};

use crate::frames::Raw;

/// Long enough for a machine that does other things too; nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Connections of a server under attack.
pub(crate) const SEATS: usize = 4;

/// A server over a broker in memory whose time is told.
pub(crate) struct Stand {
    pub(crate) broker: Broker,
    pub(crate) clock: ManualClock,
    pub(crate) address: SocketAddr,
    server: Server,
    tcp: Tcp,
}

pub(crate) fn mail() -> QueueName {
    QueueName::new("mail").unwrap()
}

/// A broker with the queue "mail".
pub(crate) async fn broker(clock: &ManualClock) -> Broker {
    let broker = memory::broker(Arc::new(clock.clone()));
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(mail()) };
    broker.declare(&spec).await.unwrap();
    broker
}

pub(crate) fn options() -> Options {
    Options { connections_max: SEATS, ..Options::default() }
}

/// What closes a connection soon on which no call was let in.
pub(crate) fn impatient() -> Options {
    Options { first_call_within: Duration::from_millis(200), ..options() }
}

impl Stand {
    pub(crate) async fn new(options: Options) -> Self {
        let clock = ManualClock::new();
        let broker = broker(&clock).await;
        Self::over(broker, clock, options).await
    }

    pub(crate) async fn over(broker: Broker, clock: ManualClock, options: Options) -> Self {
        let free = Tcp::open(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self::on(free, broker, clock, options).await
    }

    pub(crate) async fn on(tcp: Tcp, broker: Broker, clock: ManualClock, options: Options) -> Self {
        let server = Server::new(broker.clone(), options);
        let address = server.listen_tcp(tcp.clone()).await.unwrap();
        Self { broker, clock, address, server, tcp }
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A client that has said what it speaks, and nothing yet.
    pub(crate) async fn raw(&self) -> Raw {
        let mut raw = Raw::over(self.tcp().await);
        raw.greet(&[]).await;
        raw
    }

    /// Somebody else is served, from the first call to the last.
    pub(crate) async fn serves(&self) {
        // WHY: on a busy machine a good client may be too slow for an impatient server, and comes again.
        let served = async { while self.serve_one().await.is_err() {} };
        tokio::time::timeout(PATIENCE, served).await.expect("a good client is served");
    }

    async fn serve_one(&self) -> Result<()> {
        let client = client::connect(Target::tcp(self.address.to_string())).await?;
        let queue = mail();
        client.enqueue_one(&queue, NewTask::new("mail", "of a good client")).await?;
        let receiver = client.open(&queue, &SessionOptions::default()).await?;
        loop {
            let options = ReceiveOptions::up_to(1).waiting(PATIENCE);
            for lease in receiver.receive(&options).await? {
                let _ = receiver.complete(&lease).await?;
                if lease.task.payload == "of a good client" {
                    return Ok(());
                }
            }
        }
    }

    /// Nothing was lost to those who came: all seats can be taken, and everything that began has ended.
    pub(crate) async fn ends_unharmed(self) {
        if self.tcp.tls.is_none() {
            self.serves().await;
            let mut seated = Vec::new();
            let all = async {
                while seated.len() < SEATS {
                    // Refused as long as somebody's connection is about to be closed.
                    match self.greeted().await {
                        Ok(hello) => seated.push(hello),
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            };
            let all = tokio::time::timeout(PATIENCE, all).await;
            assert!(all.is_ok(), "of {SEATS} seats {} can be taken", seated.len());
        }
        assert!(self.server.stop(PATIENCE).await, "something that began has not ended");
    }

    async fn greeted(&self) -> Result<Streaming<HelloResponse>, Status> {
        let connected = BrokerClient::connect(format!("http://{}", self.address)).await;
        let mut client = connected.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut hello = client.hello(HelloRequest::default()).await?.into_inner();
        hello.message().await?;
        Ok(hello)
    }
}
