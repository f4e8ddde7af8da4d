//! The server: connections to it, and calls over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use tidegate_core::{Operation, Result};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{NoTls, Row};

use crate::clock::ServerClock;
use crate::config::{Config, SslMode};
use crate::direct::is_direct;
use crate::errors;
use crate::statements::{Frequent, Statements};
use crate::tls;

/// A parameter and its type. Given with every call, so that nothing need be prepared: such a statement needs
/// no session of its own, and goes through a pooler.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What the server says of a row that was moved to another slot meanwhile.
const MOVED: SqlState = SqlState::T_R_SERIALIZATION_FAILURE;
/// How often a call may meet that, or what follows. Rows are moved once in seconds.
const AGAIN_MAX: u32 = 3;
/// What the server says of a statement that was prepared before a newer program changed the schema.
const CHANGED: SqlState = SqlState::FEATURE_NOT_SUPPORTED;

/// The server at one URL.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) statements: Statements,
    pub(crate) clock: ServerClock,
    pool: Pool,
    /// False once a connection turned out to go through a pooler.
    prepares: Arc<AtomicBool>,
    is_closed: AtomicBool,
}

impl Server {
    pub(crate) fn new(config: Config) -> Result<Self> {
        let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match config.ssl_mode {
            SslMode::Disable => Manager::from_config(client_config(&config), NoTls, how),
            _ => Manager::from_config(client_config(&config), tls::connector(&config)?, how),
        };
        let timeout = Some(config.connect_timeout);
        let builder = Pool::builder(manager).max_size(config.connections);
        let builder =
            builder.timeouts(Timeouts { wait: timeout, create: timeout, recycle: timeout });
        let statements = Statements::new(&config.schema);
        let prepares = Arc::new(AtomicBool::new(true));
        let keep = prepares.clone();
        let settings: Arc<str> = statements.settings.as_str().into();
        // INVARIANT: before the connection is used for anything else.
        let builder = builder.post_create(Hook::async_fn(move |client, _| {
            let (keep, settings) = (keep.clone(), settings.clone());
            Box::pin(async move {
                if is_direct(client).await {
                    client.batch_execute(&settings).await.map_err(HookError::Backend)
                } else {
                    keep.store(false, Ordering::Release);
                    Ok(())
                }
            })
        }));
        let pool = builder.runtime(Runtime::Tokio1).build();
        let pool = pool.map_err(|error| {
            let why = format!("no connections can be kept: {error}");
            tidegate_core::Error::new(tidegate_core::ErrorKind::Unexpected, Operation::Open, why)
        })?;
        let (clock, is_closed) = (ServerClock::new(), AtomicBool::new(false));
        Ok(Self { config, statements, clock, pool, prepares, is_closed })
    }

    /// A connection of the pool.
    pub(crate) async fn connection(&self, operation: Operation) -> Result<Object> {
        self.check_open(operation)?;
        let connection = self.pool.get().await;
        connection.map_err(|error| errors::no_connection(&self.config, operation, error))
    }

    /// Calls a statement in a transaction of its own.
    pub(crate) async fn call(
        &self,
        operation: Operation,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        self.call_either(operation, (statement, statement), parameters).await
    }

    /// Calls one that is called for every task.
    pub(crate) async fn call_frequent(
        &self,
        operation: Operation,
        statement: &Frequent,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        let Frequent { anywhere, bare } = statement;
        self.call_either(operation, (anywhere, bare), parameters).await
    }

    /// The second statement is for connections that nobody else uses.
    async fn call_either(
        &self,
        operation: Operation,
        (anywhere, bare): (&str, &str),
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        let connection = self.connection(operation).await?;
        let prepares = self.prepares.load(Ordering::Acquire);
        let statement = if prepares { bare } else { anywhere };
        let mut left = AGAIN_MAX;
        loop {
            let answer = if prepares {
                prepared(&connection, statement, parameters).await
            } else {
                connection.query_typed(statement, parameters).await
            };
            match answer {
                Ok(rows) => return Ok(rows),
                // WHY: the upkeep has moved a row on its way to it. The server has undone all of the call.
                Err(error) if error.code() == Some(&MOVED) && left > 0 => left -= 1,
                Err(error) if error.code() == Some(&CHANGED) && prepares && left > 0 => {
                    left -= 1;
                    connection.statement_cache.remove(statement, &types(parameters));
                }
                Err(error) => return Err(self.failed(operation, error)),
            }
        }
    }

    pub(crate) fn failed(
        &self,
        operation: Operation,
        error: tokio_postgres::Error,
    ) -> tidegate_core::Error {
        if self.is_closed() {
            return errors::closed(operation);
        }
        errors::failed(&self.config, operation, error)
    }

    /// Asks the server for its time.
    pub(crate) async fn ask_time(&self, operation: Operation) -> Result<()> {
        let connection = self.connection(operation).await?;
        for _ in 0..3 {
            let asked = self.clock.elapsed_micros();
            let rows = connection.query_typed("SELECT clock_timestamp()", &[]).await;
            let rows = rows.map_err(|error| self.failed(operation, error))?;
            let answered = self.clock.elapsed_micros();
            if let Some(row) = rows.first() {
                self.clock.told(crate::rows::field(row, 0, operation)?, asked, answered);
            }
        }
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self, operation: Operation) -> Result<()> {
        if self.is_closed() { Err(errors::closed(operation)) } else { Ok(()) }
    }

    /// Takes no more calls. Those under way end by themselves.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.pool.close();
    }
}

/// Calls a statement that is prepared at its first call on a connection: the server then reads and plans it
/// once, not at every call.
async fn prepared(
    connection: &Object,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
    let statement = connection.prepare_typed_cached(statement, &types(parameters)).await?;
    let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
    connection.query(&statement, &values).await
}

fn types(parameters: &[Parameter<'_>]) -> Vec<Type> {
    parameters.iter().map(|(_, kind)| kind.clone()).collect()
}

/// How the client connects.
pub(crate) fn client_config(config: &Config) -> tokio_postgres::Config {
    let mut client = tokio_postgres::Config::new();
    client.host(&config.host).port(config.port).user(&config.user).dbname(&config.database);
    client
        .application_name(format!("tidegate {}", config.schema))
        .connect_timeout(config.connect_timeout);
    if let Some(password) = &config.password {
        client.password(password);
    }
    client.ssl_mode(match config.ssl_mode {
        SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    client
}
