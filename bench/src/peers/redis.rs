//! Redis: lists with a list of what is being worked on, and streams with a consumer group.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{AsyncConnectionConfig, Client as Server, Pipeline, RedisResult, cmd, pipe};

use crate::durability::Durability;
use crate::peer::{Client, Kind, Peer, Result};
use tidegate_conformance::services::redis::PrivateRedis;

pub(crate) const LISTS: Kind = Kind {
    name: "redis lists",
    program: Some(PROGRAM),
    setting,
    start: |dir, durability, _| Box::pin(start(dir, durability, Shape::Lists)),
};

pub(crate) const STREAMS: Kind = Kind {
    name: "redis streams",
    program: Some(PROGRAM),
    setting,
    start: |dir, durability, _| Box::pin(start(dir, durability, Shape::Streams)),
};

const PROGRAM: &str = "redis-server";
const QUEUE: &str = "bench";
const WORKING: &str = "bench:working";
const GROUP: &str = "workers";
const FIELD: &str = "payload";
/// Connections that all clients share: commands of many are sent together on each.
const CONNECTIONS: usize = 8;

/// What Redis is set to.
pub(crate) fn setting(durability: Durability) -> Option<&'static str> {
    Some(match durability {
        Durability::Always => "appendfsync always",
        Durability::Interval => "appendfsync everysec",
        Durability::Never => "appendfsync no",
    })
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Lists,
    Streams,
}

struct Redis {
    server: Arc<PrivateRedis>,
    shape: Shape,
    connections: Vec<MultiplexedConnection>,
}

async fn start(dir: &Path, durability: Durability, shape: Shape) -> Result<Box<dyn Peer>> {
    on(serve(dir, durability).await?, shape, CONNECTIONS).await
}

/// A server of one's own.
pub(crate) async fn serve(dir: &Path, durability: Durability) -> Result<Arc<PrivateRedis>> {
    let sync = setting(durability).and_then(|setting| setting.split_once(' '));
    Ok(Arc::new(PrivateRedis::start_in(dir, sync.as_slice()).await?))
}

/// A stream and a consumer group on a server, with one connection for all clients.
pub(crate) async fn streams_on(server: Arc<PrivateRedis>) -> Result<Box<dyn Peer>> {
    on(server, Shape::Streams, 1).await
}

/// A connection for many clients.
pub(crate) async fn connect(server: &PrivateRedis) -> Result<MultiplexedConnection> {
    let server = Server::open(server.url())?;
    // WHY: a sync may take longer than the client's default of half a second.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(server.get_multiplexed_async_connection_with_config(&config).await?)
}

async fn on(server: Arc<PrivateRedis>, shape: Shape, count: usize) -> Result<Box<dyn Peer>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(connect(&server).await?);
    }
    if let (Shape::Streams, Some(first)) = (shape, connections.first_mut()) {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(QUEUE).arg(GROUP).arg("0").arg("MKSTREAM");
        create.query_async::<()>(first).await?;
    }
    Ok(Box::new(Redis { server, shape, connections }))
}

#[async_trait]
impl Peer for Redis {
    async fn client(&self, number: usize) -> Result<Box<dyn Client>> {
        let connection = self.connections.get(number % self.connections.len()).cloned();
        let connection = connection.ok_or("there is no connection")?;
        Ok(match self.shape {
            Shape::Lists => Box::new(Lists { connection, held: Vec::new() }),
            Shape::Streams => {
                let name = format!("worker-{number}");
                Box::new(Streams { connection, name, held: Vec::new() })
            }
        })
    }

    fn server(&self) -> Option<u32> {
        self.server.process()
    }
}

struct Lists {
    connection: MultiplexedConnection,
    held: Vec<Vec<u8>>,
}

#[async_trait]
impl Client for Lists {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut push = cmd("RPUSH");
        push.arg(QUEUE).arg(payloads);
        Ok(push.query_async(&mut self.connection).await?)
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut moves = pipe();
        for _ in 0..most {
            moves.cmd("LMOVE").arg(QUEUE).arg(WORKING).arg("LEFT").arg("RIGHT");
        }
        let moved: Vec<Option<Vec<u8>>> = moves.query_async(&mut self.connection).await?;
        self.held = moved.into_iter().flatten().collect();
        Ok(self.held.clone())
    }

    async fn complete(&mut self) -> Result<()> {
        let mut removals = pipe();
        for payload in self.held.drain(..) {
            removals.cmd("LREM").arg(WORKING).arg(1).arg(payload).ignore();
        }
        run(&removals, &mut self.connection).await
    }
}

struct Streams {
    connection: MultiplexedConnection,
    name: String,
    held: Vec<String>,
}

#[async_trait]
impl Client for Streams {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut adds = pipe();
        for payload in payloads {
            adds.cmd("XADD").arg(QUEUE).arg("*").arg(FIELD).arg(payload).ignore();
        }
        run(&adds, &mut self.connection).await
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.name).arg("COUNT").arg(most);
        read.arg("STREAMS").arg(QUEUE).arg(">");
        let reply: Option<StreamReadReply> = read.query_async(&mut self.connection).await?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        let mut payloads = Vec::new();
        for entry in entries {
            payloads.extend(entry.get(FIELD));
            self.held.push(entry.id);
        }
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        let mut done = pipe();
        done.cmd("XACK").arg(QUEUE).arg(GROUP).arg(&self.held).ignore();
        // WHY: a task that is done is gone, as on every other queue here.
        done.cmd("XDEL").arg(QUEUE).arg(&self.held).ignore();
        self.held.clear();
        run(&done, &mut self.connection).await
    }
}

async fn run(commands: &Pipeline, connection: &mut MultiplexedConnection) -> Result<()> {
    let ran: RedisResult<()> = commands.query_async(connection).await;
    Ok(ran?)
}
