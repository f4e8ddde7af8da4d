//! The connection to the server, and the calls of scripts on it.

use std::fmt;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Script, ScriptInvocation, Value, cmd};
use tidegate_core::{Error, Operation, Result};

use crate::config::Config;
use crate::errors::error_of;
use crate::partition::Partition;

/// A connection that comes back by itself. Calls of many tasks share it and are pipelined.
#[derive(Clone)]
pub(crate) struct Link {
    manager: ConnectionManager,
    server: String,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.server).finish()
    }
}

/// Connects again so often for one call before that call is `Unavailable`.
const RECONNECTS: usize = 2;

impl Link {
    pub(crate) async fn open(client: &Client, config: &Config) -> Result<Self> {
        let server = config.label();
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(RECONNECTS)
            .set_response_timeout(Some(config.response_timeout))
            .set_connection_timeout(Some(config.response_timeout));
        let manager = client.get_connection_manager_with_config(settings).await;
        let manager = manager.map_err(|error| error_of(error, &server, Operation::Open))?;
        Ok(Self { manager, server })
    }

    /// Runs a script on a partition. Nothing is ever sent twice.
    pub(crate) async fn run(
        &self,
        script: &Script,
        partition: &Partition,
        doing: Operation,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<Value> {
        let mut call = script.key(partition.meta());
        arguments(&mut call);
        let answer = call.invoke_async(&mut self.manager.clone()).await;
        answer.map_err(|error| self.error(error, doing))
    }

    /// Runs a command that is not about one partition.
    pub(crate) async fn command<T: FromRedisValue>(
        &self,
        parts: &[&str],
        doing: Operation,
    ) -> Result<T> {
        let mut command = redis::Cmd::new();
        parts.iter().for_each(|part| {
            command.arg(part);
        });
        let answer = command.query_async(&mut self.manager.clone()).await;
        answer.map_err(|error| self.error(error, doing))
    }

    pub(crate) async fn hget(
        &self,
        key: &str,
        field: &str,
        doing: Operation,
    ) -> Result<Option<String>> {
        let answer = cmd("HGET").arg(key).arg(field).query_async(&mut self.manager.clone()).await;
        answer.map_err(|error| self.error(error, doing))
    }

    fn error(&self, error: redis::RedisError, doing: Operation) -> Error {
        error_of(error, &self.server, doing)
    }
}
