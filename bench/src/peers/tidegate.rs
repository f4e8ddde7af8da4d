//! Tidegate: the engine in this process, in another behind the socket beside its data, and in another
//! over TCP.

use std::path::Path;
use std::process::Command;

use async_trait::async_trait;
use tidegate::{
    Broker, Capacity, ConnectOptions, LeaseToken, NewTask, QueueName, QueueSpec, ReceiveOptions,
    Receiver, SessionOptions, Settled, Verdict, connect_with,
};
use tidegate_remote::client::{self, Target};

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};
use tidegate_conformance::services::{Service, free_port};

pub(crate) const EMBEDDED: Kind = Kind {
    name: "tidegate embedded",
    program: None,
    setting: |durability| Some(durability.as_str()),
    start: |dir, durability, _| Box::pin(embedded(dir, durability)),
};

pub(crate) const SOCKET: Kind = Kind {
    name: "tidegate socket",
    program: None,
    setting: |durability| Some(durability.as_str()),
    start: |dir, durability, _| Box::pin(over_the_socket(dir, durability)),
};

pub(crate) const TCP: Kind = Kind {
    name: "tidegate tcp",
    program: None,
    setting: |durability| Some(durability.as_str()),
    start: |dir, durability, _| Box::pin(over_tcp(dir, durability)),
};

/// The queue that is made.
pub(crate) const QUEUE: &str = "bench";

struct Tidegate {
    broker: Broker,
    queue: QueueName,
    receiver: Receiver,
    server: Option<u32>,
    _service: Option<Service>,
}

async fn embedded(dir: &Path, durability: Durability) -> Result<Box<dyn Peer>> {
    started(beside(dir, durability).await?, None).await
}

async fn over_the_socket(dir: &Path, durability: Durability) -> Result<Box<dyn Peer>> {
    let port = free_port()?;
    let command = served("socket", dir, durability, port)?;
    let service = Service::start(command, port, &dir.join("service-log")).await?;
    started(beside(dir, durability).await?, Some(service)).await
}

async fn over_tcp(dir: &Path, durability: Durability) -> Result<Box<dyn Peer>> {
    let port = free_port()?;
    let command = served("tcp", dir, durability, port)?;
    let service = Service::start(command, port, &dir.join("service-log")).await?;
    let broker = client::connect(Target::tcp(format!("127.0.0.1:{port}"))).await?;
    started(broker, Some(service)).await
}

/// A process of this program that serves the engine.
fn served(over: &str, dir: &Path, durability: Durability, port: u16) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", over]).arg(dir).args([durability.as_str(), &port.to_string()]);
    Ok(command)
}

async fn beside(dir: &Path, durability: Durability) -> Result<Broker> {
    let url = format!("embedded:{}", dir.display());
    let durability = Some(durability.of_engine());
    Ok(connect_with(&url, ConnectOptions { durability, ..ConnectOptions::default() }).await?)
}

async fn started(broker: Broker, service: Option<Service>) -> Result<Box<dyn Peer>> {
    let server = service.as_ref().map(Service::process);
    Ok(Box::new(Tidegate { _service: service, ..Tidegate::on(broker, server).await? }))
}

/// A queue of any broker, whose server is that process.
pub(crate) async fn on(broker: Broker, server: Option<u32>) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Tidegate::on(broker, server).await?))
}

impl Tidegate {
    async fn on(broker: Broker, server: Option<u32>) -> Result<Self> {
        let queue = QueueName::new(QUEUE)?;
        let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue.clone()) };
        broker.declare(&spec).await?;
        let receiver = broker.open(&queue, &SessionOptions::default()).await?;
        Ok(Self { broker, queue, receiver, server, _service: None })
    }
}

#[async_trait]
impl Peer for Tidegate {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let Self { broker, queue, receiver, server: _, _service: _ } = self;
        let (broker, queue, receiver) = (broker.clone(), queue.clone(), receiver.clone());
        Ok(Box::new(TidegateClient { broker, queue, receiver, held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        self.server
    }
}

struct TidegateClient {
    broker: Broker,
    queue: QueueName,
    receiver: Receiver,
    held: Vec<(LeaseToken, Verdict)>,
}

#[async_trait]
impl Client for TidegateClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let tasks: Vec<_> =
            payloads.iter().map(|payload| NewTask::new("bench", payload.clone())).collect();
        for outcome in self.broker.enqueue(&self.queue, &tasks).await? {
            outcome?;
        }
        Ok(())
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let leases = self.receiver.receive(&ReceiveOptions::up_to(most)).await?;
        let mut payloads = Vec::with_capacity(leases.len());
        for lease in leases {
            payloads.push(lease.task.payload.into());
            self.held.push((lease.token, Verdict::Complete));
        }
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        let settled = self.receiver.settle(&self.held).await?;
        self.held.clear();
        match settled.iter().find(|settled| !matches!(settled, Settled::Done { .. })) {
            None => Ok(()),
            Some(other) => Err(format!("a completion was answered with {other:?}").into()),
        }
    }
}
