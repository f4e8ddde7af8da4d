//! NATS JetStream: a work-queue stream in files, a pull consumer, acknowledgements that are
//! themselves acknowledged.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, Message, stream};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::StreamExt;

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};
use tidegate_conformance::services::{Service, find_program, free_port};

pub(crate) const KIND: Kind = Kind {
    name: "nats jetstream",
    program: Some(PROGRAM),
    setting: |durability| match durability {
        Durability::Always => Some("sync_interval always"),
        Durability::Interval => Some("sync_interval 1s"),
        Durability::Never => Some("sync_interval 2m (default)"),
    },
    start: |dir, durability, _| Box::pin(start(dir, durability)),
};

const PROGRAM: &str = "nats-server";
const QUEUE: &str = "bench";
/// How long a pull waits for a first task.
const WAIT: Duration = Duration::from_millis(100);

struct Nats {
    service: Service,
    url: String,
}

async fn start(dir: &Path, durability: Durability) -> Result<Box<dyn Peer>> {
    let port = free_port()?;
    let sync = match durability {
        Durability::Always => "always",
        Durability::Interval => "1s",
        Durability::Never => "2m",
    };
    let config = dir.join("nats.conf");
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {dir:?}, sync_interval: {sync:?} }}\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(find_program(PROGRAM).unwrap_or(PROGRAM.into()));
    command.arg("-c").arg(config);
    let service = Service::start(command, port, &dir.join("log")).await?;
    let url = format!("nats://127.0.0.1:{port}");
    let context = jetstream::new(async_nats::connect(&url).await?);
    let config = stream::Config {
        name: QUEUE.into(),
        subjects: vec![QUEUE.into()],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        ..Default::default()
    };
    let stream = context.create_stream(config).await?;
    let consumer = pull::Config {
        durable_name: Some(QUEUE.into()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: -1,
        ..Default::default()
    };
    stream.create_consumer(consumer).await?;
    Ok(Box::new(Nats { service, url }))
}

#[async_trait]
impl Peer for Nats {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let context = jetstream::new(async_nats::connect(&self.url).await?);
        let consumer = context.get_consumer_from_stream(QUEUE, QUEUE).await?;
        Ok(Box::new(NatsClient { context, consumer, held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        Some(self.service.process())
    }
}

struct NatsClient {
    context: Context,
    consumer: PullConsumer,
    held: Vec<Message>,
}

#[async_trait]
impl Client for NatsClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut acknowledgements = Vec::with_capacity(payloads.len());
        for payload in payloads {
            acknowledgements.push(self.context.publish(QUEUE, payload.clone().into()).await?);
        }
        for acknowledgement in acknowledgements {
            acknowledgement.await?;
        }
        Ok(())
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let batch = self.consumer.batch().max_messages(most).expires(WAIT);
        let mut messages = batch.messages().await?;
        let mut payloads = Vec::with_capacity(most);
        while let Some(message) = messages.next().await {
            let message = message?;
            payloads.push(message.payload.to_vec());
            self.held.push(message);
        }
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        try_join_all(self.held.iter().map(|message| message.double_ack())).await?;
        self.held.clear();
        Ok(())
    }
}
