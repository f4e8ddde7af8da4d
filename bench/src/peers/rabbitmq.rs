//! RabbitMQ: a quorum queue of one node, publisher confirms, one consumer whose deliveries all
//! clients share.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::sync::Mutex;

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};
use tidegate_conformance::services::{Service, find_program, free_port};

pub(crate) const KIND: Kind = Kind {
    name: "rabbitmq quorum",
    program: Some(PROGRAM),
    setting: |durability| (durability == Durability::Always).then_some("quorum queue, confirms"),
    start: |dir, _, clients| Box::pin(start(dir, clients)),
};

const PROGRAM: &str = "rabbitmq-server";
const QUEUE: &str = "bench";
/// Connections that all clients share, each with channels of its own.
const CONNECTIONS: usize = 4;
/// How long the broker behind the port may take until it lets one in.
const PATIENCE: Duration = Duration::from_secs(60);
/// The message is kept when the broker restarts.
const PERSISTENT: u8 = 2;
/// How long a client waits for a delivery before it looks again.
const WAIT: Duration = Duration::from_millis(100);

struct RabbitMq {
    service: Service,
    _epmd: Service,
    connections: Vec<Connection>,
    deliveries: Arc<Mutex<Consumer>>,
}

async fn start(dir: &Path, clients: usize) -> Result<Box<dyn Peer>> {
    let (port, distribution, names) = (free_port()?, free_port()?, free_port()?);
    // WHY: else the node starts one for the whole machine, which stays.
    let mut command = Command::new("epmd");
    command.args(["-address", "127.0.0.1", "-port", &names.to_string()]);
    let epmd = Service::start(command, names, &dir.join("epmd.log")).await?;
    let (config, plugins) = (dir.join("rabbitmq.conf"), dir.join("plugins"));
    std::fs::write(&config, format!("listeners.tcp.default = 127.0.0.1:{port}\n"))?;
    std::fs::write(&plugins, "[].\n")?;
    let program = find_program(PROGRAM).unwrap_or(PROGRAM.into());
    let mut command = Command::new(program);
    command
        .env("RABBITMQ_NODENAME", format!("bench{port}@localhost"))
        .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", dir.join("logs"))
        .env("RABBITMQ_CONFIG_FILE", &config)
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins)
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("ERL_EPMD_PORT", names.to_string())
        .env("HOME", dir);
    let service = Service::start(command, port, &dir.join("log")).await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(port).await?);
    }
    let first = connections.first().ok_or("there is no connection")?;
    let channel = first.create_channel().await?;
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare(QUEUE.into(), durable, quorum).await?;
    let prefetch = u16::try_from(clients * 64).unwrap_or(u16::MAX).min(2_000);
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume(QUEUE.into(), "bench".into(), options, FieldTable::default()).await?;
    let deliveries = Arc::new(Mutex::new(consumer));
    Ok(Box::new(RabbitMq { service, _epmd: epmd, connections, deliveries }))
}

async fn connect(port: u16) -> Result<Connection> {
    let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let started = Instant::now();
    loop {
        match Connection::connect(&url, ConnectionProperties::default()).await {
            Ok(connection) => return Ok(connection),
            Err(error) if started.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

#[async_trait]
impl Peer for RabbitMq {
    async fn client(&self, number: usize) -> Result<Box<dyn Client>> {
        let connection = self.connections.get(number % self.connections.len());
        let channel = connection.ok_or("there is no connection")?.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let deliveries = self.deliveries.clone();
        Ok(Box::new(RabbitMqClient { channel, deliveries, held: Vec::new() }))
    }

    fn server(&self) -> Option<u32> {
        Some(self.service.process())
    }
}

struct RabbitMqClient {
    channel: Channel,
    deliveries: Arc<Mutex<Consumer>>,
    held: Vec<Delivery>,
}

#[async_trait]
impl Client for RabbitMqClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut confirms = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let options = BasicPublishOptions::default();
            let published =
                self.channel.basic_publish("".into(), QUEUE.into(), options, payload, properties);
            confirms.push(published.await?);
        }
        for confirm in confirms {
            if !confirm.await?.is_ack() {
                return Err("a message was not confirmed".into());
            }
        }
        Ok(())
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut deliveries = self.deliveries.lock().await;
        while self.held.len() < most {
            match tokio::time::timeout(WAIT, deliveries.next()).await {
                Ok(Some(delivery)) => self.held.push(delivery?),
                Ok(None) => return Err("the consumer was cancelled".into()),
                Err(_) => break,
            }
        }
        Ok(self.held.iter().map(|delivery| delivery.data.clone()).collect())
    }

    async fn complete(&mut self) -> Result<()> {
        for delivery in self.held.drain(..) {
            delivery.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }
}
