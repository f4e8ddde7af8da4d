//! The adapter of Redis, its scripts called by the bare client, and a stream with a consumer group.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Script, Value};
use tidegate::TaskId;
use tidegate_conformance::services::redis::PrivateRedis;

use super::Contest;
use crate::durability::Durability;
use crate::peer::{Client, Peer, Result};
use crate::peers;

pub(super) async fn start(dir: &Path, durability: Durability) -> Result<Contest> {
    let server = peers::redis::serve(dir, durability).await?;
    // WHY: queues of their own, so that none finds what another has left.
    let url = |prefix: &str| format!("{}?prefix={prefix}", server.url());
    let adapter = peers::tidegate::on(tidegate::connect(&url("adapter")).await?, server.process());
    let made = peers::tidegate::on(tidegate::connect(&url("same")).await?, server.process());
    made.await?;
    Ok(Contest {
        setting: peers::redis::setting(durability).unwrap_or_default(),
        adapter: adapter.await?,
        same_calls: Box::new(SameCalls::new(server.clone()).await?),
        minimum: peers::redis::streams_on(server).await?,
    })
}

/// The scripts on a queue that the adapter has made.
struct SameCalls {
    server: Arc<PrivateRedis>,
    connection: MultiplexedConnection,
    scripts: Arc<Scripts>,
}

struct Scripts {
    enqueue: Script,
    receive: Script,
    settle: Script,
    /// The key that every call is given.
    key: String,
}

impl SameCalls {
    async fn new(server: Arc<PrivateRedis>) -> Result<Self> {
        let connection = peers::redis::connect(&server).await?;
        let [enqueue, receive, settle] = tidegate_redis::of_a_life().map(Script::new);
        let scripts = Arc::new(Scripts {
            enqueue,
            receive,
            settle,
            key: format!("same:{{{}/0}}:m", peers::tidegate::QUEUE),
        });
        Ok(Self { server, connection, scripts })
    }
}

#[async_trait]
impl Peer for SameCalls {
    async fn client(&self, _number: usize) -> Result<Box<dyn Client>> {
        let (connection, scripts) = (self.connection.clone(), self.scripts.clone());
        Ok(Box::new(SameCallsClient { connection, scripts, held: None }))
    }

    fn server(&self) -> Option<u32> {
        self.server.process()
    }
}

/// What one call has received.
struct Held {
    queue: i64,
    fence: i64,
    numbers: Vec<String>,
}

struct SameCallsClient {
    connection: MultiplexedConnection,
    scripts: Arc<Scripts>,
    held: Option<Held>,
}

#[async_trait]
impl Client for SameCallsClient {
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()> {
        let mut call = self.scripts.enqueue.key(&self.scripts.key);
        call.arg(-1);
        for payload in payloads {
            let id = TaskId::new().to_string();
            call.arg("3").arg(&id).arg("bench").arg(payload);
        }
        let answer: (i64, Value) = call.invoke_async(&mut self.connection).await?;
        match answer.1 {
            // All were taken.
            Value::Int(_first) => Ok(()),
            Value::Array(each) if each.iter().all(|it| matches!(it, Value::Int(_))) => Ok(()),
            other => Err(format!("a send was answered with {other:?}").into()),
        }
    }

    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut call = self.scripts.receive.key(&self.scripts.key);
        call.arg(most).arg(-1).arg(1).arg("tidegate").arg("").arg("new").arg(16 << 20);
        let answer: Value = call.invoke_async(&mut self.connection).await?;
        let (leases, queue, fence) = told(answer).ok_or("an answer that nobody expected")?;
        let mut payloads = Vec::with_capacity(leases.len());
        let mut numbers = Vec::with_capacity(leases.len());
        for lease in leases.chunks(LEASE) {
            let (number, data) = leased(lease).ok_or("a lease that nobody expected")?;
            numbers.push(number);
            payloads.push(data);
        }
        self.held = Some(Held { queue, fence, numbers });
        Ok(payloads)
    }

    async fn complete(&mut self) -> Result<()> {
        let mut call = self.scripts.settle.key(&self.scripts.key);
        if let Some(Held { queue, fence, numbers }) = self.held.take() {
            call.arg("C").arg(queue).arg(fence).arg(numbers.len()).arg(0).arg("").arg(numbers);
        }
        let answer: (i64, Value) = call.invoke_async(&mut self.connection).await?;
        match answer.1 {
            Value::Int(_done) => Ok(()),
            Value::Array(each) if each.iter().all(|it| *it == Value::BulkString(b"D".into())) => {
                Ok(())
            }
            other => Err(format!("a completion was answered with {other:?}").into()),
        }
    }
}

/// The leases of an answer of `receive.lua`, the queue's id and the fence.
fn told(answer: Value) -> Option<(Vec<Value>, i64, i64)> {
    let mut answer = array(array(answer)?.into_iter().nth(1)?)?.into_iter();
    let leases = array(answer.next()?)?;
    let queue = redis::from_redis_value(answer.nth(2)?).ok()?;
    Some((leases, queue, redis::from_redis_value(answer.nth(1)?).ok()?))
}

/// The id of its entry, and the values of its three fields.
const LEASE: usize = 4;

/// Number and payload of a lease.
fn leased(lease: &[Value]) -> Option<(String, Vec<u8>)> {
    // The payload is the value of the last field.
    let [Value::BulkString(id), .., Value::BulkString(data)] = lease else { return None };
    let id = std::str::from_utf8(id).ok()?;
    Some((id.strip_suffix("-0")?.to_owned(), data.clone()))
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}
