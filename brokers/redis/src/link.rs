//! The connection to the server, and the calls of scripts on it.

use std::fmt;
use std::io::ErrorKind::TimedOut;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, Script, ServerErrorKind,
    Value, cmd,
};
use tidegate_core::{Error, Operation, Result};

use crate::config::{Config, Servers};
use crate::errors::error_of;
use crate::partition::Partition;

/// A connection that comes back by itself. Calls of many tasks share it and are pipelined.
#[derive(Clone)]
pub(crate) struct Link {
    connection: Connection,
    server: String,
    /// How long a call goes on asking a cluster that is changing.
    patience: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.server).finish()
    }
}

/// Connects again so often for one call before that call is `Unavailable`.
const RECONNECTS: usize = 2;
/// The pause before a cluster that is changing is asked again.
const PAUSE: Duration = Duration::from_millis(20);

impl Link {
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let server = config.label();
        let connection = Connection::open(config).await;
        let connection = connection.map_err(|error| error_of(error, &server, Operation::Open))?;
        Ok(Self { connection, server, patience: config.response_timeout })
    }

    /// Runs a script on a partition. What may have been carried out is never sent again.
    pub(crate) async fn run(
        &self,
        script: &Script,
        partition: &Partition,
        doing: Operation,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<Value> {
        let mut call = cmd("EVALSHA");
        call.arg(script.get_hash());
        match &self.connection {
            Connection::Server(_) => call.arg(1).arg(partition.meta()),
            Connection::Cluster(_) => call.arg(2).arg(partition.meta()).arg(partition.nothing()),
        };
        arguments(&mut call);
        match self.ask(&call).await {
            Err(error) if is(&error, ServerErrorKind::NoScript) => {
                let mut connection = self.connection.clone();
                let loaded = script.prepare_invoke().load_async(&mut connection).await;
                loaded.map_err(|error| self.error(error, doing))?;
                self.ask(&call).await
            }
            answer => answer,
        }
        .map_err(|error| self.error(error, doing))
    }

    /// Runs a command that is not about one partition.
    pub(crate) async fn command<T: FromRedisValue>(
        &self,
        parts: &[&str],
        doing: Operation,
    ) -> Result<T> {
        let mut command = Cmd::new();
        parts.iter().for_each(|part| {
            command.arg(part);
        });
        self.ask(&command).await.map_err(|error| self.error(error, doing))
    }

    pub(crate) async fn hget(
        &self,
        key: &str,
        field: &str,
        doing: Operation,
    ) -> Result<Option<String>> {
        let answer = self.ask(cmd("HGET").arg(key).arg(field)).await;
        answer.map_err(|error| self.error(error, doing))
    }

    /// Asks again for as long as a cluster says that it has not carried a call out.
    async fn ask<T: FromRedisValue>(&self, call: &Cmd) -> RedisResult<T> {
        match self.connection.clone() {
            Connection::Server(mut server) => call.query_async(&mut server).await,
            Connection::Cluster(mut cluster) => {
                let asking = async {
                    loop {
                        match call.query_async(&mut cluster).await {
                            Err(error) if is_changing(&error) => tokio::time::sleep(PAUSE).await,
                            answer => return answer,
                        }
                    }
                };
                let answer = tokio::time::timeout(self.patience, asking).await;
                answer.unwrap_or_else(|_| Err(std::io::Error::from(TimedOut).into()))
            }
        }
    }

    fn error(&self, error: RedisError, doing: Operation) -> Error {
        error_of(error, &self.server, doing)
    }
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == redis::ErrorKind::Server(kind)
}

/// Whether a cluster says that the slot is elsewhere, on its way or without a master. Whoever says so has done nothing.
fn is_changing(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    [Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain].iter().any(|kind| is(error, *kind))
}

/// To one server, or to all of a cluster.
#[derive(Clone)]
enum Connection {
    Server(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn open(config: &Config) -> RedisResult<Self> {
        // WHY: the library asks for the process's, and panics where there is none. One that was chosen stays.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let timeout = config.response_timeout;
        match &config.servers {
            Servers::One(server) => {
                let settings = ConnectionManagerConfig::new()
                    .set_number_of_retries(RECONNECTS)
                    .set_response_timeout(Some(timeout))
                    .set_connection_timeout(Some(timeout));
                let client = config.client(server)?;
                let manager = client.get_connection_manager_with_config(settings).await?;
                Ok(Self::Server(manager))
            }
            Servers::Cluster(nodes) => {
                let builder = ClusterClientBuilder::new(nodes.clone())
                    // WHY: the library would send again what a lost connection may have carried out.
                    .retries(0)
                    .response_timeout(timeout)
                    .connection_timeout(timeout);
                let builder = match config.tls() {
                    None => builder,
                    Some(tls) => builder.certs(tls),
                };
                Ok(Self::Cluster(builder.build()?.get_async_connection().await?))
            }
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, call: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(call),
            Self::Cluster(cluster) => cluster.req_packed_command(call),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        calls: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(calls, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(calls, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(server) => server.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
