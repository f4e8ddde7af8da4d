//! The embedded engine.

use std::path::Path;

use async_trait::async_trait;
use tidegate::{
    Broker, Capacity, ConnectOptions, LeaseToken, NewTask, QueueName, QueueSpec, ReceiveOptions,
    Receiver, SessionOptions, Settled, Verdict, connect_with,
};

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};

pub(crate) const KIND: Kind = Kind {
    name: "tidegate embedded",
    program: None,
    setting: |durability| Some(durability.as_str()),
    start: |dir, durability, _| Box::pin(start(dir, durability)),
};

struct Embedded {
    broker: Broker,
    queue: QueueName,
    receiver: Receiver,
}

async fn start(dir: &Path, durability: Durability) -> Result<Box<dyn Peer>> {
    let url = format!("embedded:{}", dir.display());
    let durability = Some(durability.of_engine());
    let broker =
        connect_with(&url, ConnectOptions { durability, ..ConnectOptions::default() }).await?;
    let queue = QueueName::new("bench")?;
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue.clone()) };
    broker.declare(&spec).await?;
    let receiver = broker.open(&queue, &SessionOptions::default()).await?;
    Ok(Box::new(Embedded { broker, queue, receiver }))
}

#[async_trait]
impl Peer for Embedded {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let Self { broker, queue, receiver } = self;
        let (broker, queue, receiver) = (broker.clone(), queue.clone(), receiver.clone());
        Ok(Box::new(EmbeddedClient { broker, queue, receiver, held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        None
    }
}

struct EmbeddedClient {
    broker: Broker,
    queue: QueueName,
    receiver: Receiver,
    held: Vec<(LeaseToken, Verdict)>,
}

#[async_trait]
impl Client for EmbeddedClient {
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
