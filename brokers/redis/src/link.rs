//! The connection to the server, and the calls of scripts on it.

use std::error::Error as _;
use std::fmt;
use std::io::ErrorKind::TimedOut;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    Arg, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind,
    Value, cmd, from_redis_value,
};
use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::Mutex;

use crate::config::{Config, Servers};
use crate::errors::error_of;
use crate::partition::Partition;
use crate::script::{Replicas, Script};

/// A connection that comes back by itself. Calls of many tasks share it and are pipelined.
#[derive(Clone)]
pub(crate) struct Link {
    line: Arc<Line>,
    server: String,
    response_timeout: Duration,
    /// Replicas that must have what is promised.
    wait_replicas: u32,
    rounds: u32,
}

/// The connection that calls go over now.
struct Line {
    config: Config,
    /// With the number of those before it.
    now: RwLock<(u64, Connection)>,
    /// Held while another one is made.
    replacing: Mutex<()>,
}

/// What a server answered, and how many replicas had what was written by then, if that was asked.
struct Answer {
    value: Value,
    reached: u32,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.server).finish()
    }
}

/// Connects again so often for one call before that call is `Unavailable`.
const RECONNECTS: usize = 2;
/// The pause before a cluster that is changing is asked again.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

impl Link {
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let server = config.label();
        let connection = Connection::open(config).await;
        let connection = connection.map_err(|error| error_of(error, &server, Operation::Open))?;
        let (response_timeout, wait_replicas) = (config.response_timeout, config.wait_replicas);
        let rounds = match connection {
            Connection::Server(_) => 1,
            Connection::Cluster(_) => response_timeout.div_duration_f64(PAUSE).max(1.0) as u32,
        };
        let now = RwLock::new((0, connection));
        let line = Arc::new(Line { config: config.clone(), now, replacing: Mutex::default() });
        Ok(Self { line, server, response_timeout, wait_replicas, rounds })
    }

    /// The same link, of which a call asks a cluster that is changing only once.
    pub(crate) fn impatient(&self) -> Self {
        Self { rounds: 1, ..self.clone() }
    }

    /// How often a cluster that is changing is asked, [`PAUSE`] apart. A single server does not change.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
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
        call.arg(&script.hash);
        match self.line.now().1 {
            Connection::Server(_) => call.arg(1).arg(partition.meta()),
            Connection::Cluster(_) => call.arg(2).arg(partition.meta()).arg(partition.nothing()),
        };
        arguments(&mut call);
        let replicas = match script.replicas {
            Replicas::Have => self.wait_replicas,
            Replicas::MayLack => 0,
        };
        let answer = match self.ask(&call, replicas).await {
            // WHY: with its text it goes to the server that has the partition, and no other needs to be there.
            Err(error) if is(&error, ServerErrorKind::NoScript) => {
                self.ask(&with_text(&call, script), replicas).await
            }
            answer => answer,
        };
        let Answer { value, reached } = answer.map_err(|error| self.error(error, doing))?;
        if reached < replicas {
            return Err(self.lacking(reached, doing));
        }
        Ok(value)
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
        self.answer(&command, doing).await
    }

    pub(crate) async fn hget(
        &self,
        key: &str,
        field: &str,
        doing: Operation,
    ) -> Result<Option<String>> {
        self.answer(cmd("HGET").arg(key).arg(field), doing).await
    }

    async fn answer<T: FromRedisValue>(&self, call: &Cmd, doing: Operation) -> Result<T> {
        let answer = self.ask(call, 0).await;
        let answer = answer.and_then(|answer| Ok(from_redis_value(answer.value)?));
        answer.map_err(|error| self.error(error, doing))
    }

    /// Asks again for as long as a cluster says that it has not carried a call out.
    async fn ask(&self, call: &Cmd, replicas: u32) -> RedisResult<Answer> {
        let (number, connection) = self.line.now();
        let mut said = None;
        let asking = async {
            loop {
                match self.ask_once(connection.clone(), call, replicas).await {
                    Err(error) if self.rounds > 1 && says_changing(&error) => {
                        said = Some(error);
                        tokio::time::sleep(PAUSE).await;
                    }
                    answer => return answer,
                }
            }
        };
        let answer = tokio::time::timeout(self.response_timeout, asking).await;
        let silent = || std::io::Error::from(TimedOut).into();
        let answer = answer.unwrap_or_else(|_| Err(said.unwrap_or_else(silent)));
        // WHY: the library stays with a connection that is silent, and with what it knew of the cluster then.
        if answer.as_ref().is_err_and(RedisError::is_timeout) {
            tokio::spawn(self.line.clone().replace(number));
        }
        answer
    }

    async fn ask_once(
        &self,
        mut connection: Connection,
        call: &Cmd,
        replicas: u32,
    ) -> RedisResult<Answer> {
        if replicas == 0 {
            let value = connection.req_packed_command(call).await?.extract_error()?;
            return Ok(Answer { value, reached: 0 });
        }
        let mut both = Pipeline::with_capacity(2);
        both.add_command(call.clone());
        // INVARIANT: behind the call on the same connection, for what was written on it is what is waited for.
        both.cmd("WAIT").arg(replicas).arg(self.wait_timeout().as_millis() as u64);
        let answers = connection.req_packed_commands(&both, 0, 2).await?;
        let mut answers = answers.into_iter().map(Value::extract_error);
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let value = next()?;
        // WHY: a master that stops being one refuses to wait. What it has done may be lost with that.
        let reached = next().ok().and_then(|reached| from_redis_value(reached).ok());
        Ok(Answer { value, reached: reached.unwrap_or(0) })
    }

    /// How long replicas may take.
    ///
    /// WHY: less than an answer may, so that it says that they have not got it, instead of nothing.
    fn wait_timeout(&self) -> Duration {
        // And never nothing, which is to wait for ever.
        (self.response_timeout / 2).max(Duration::from_millis(1))
    }

    fn lacking(&self, reached: u32, doing: Operation) -> Error {
        let Self { server, wait_replicas, .. } = self;
        let why = format!(
            "{server} has carried it out, but {reached} replicas had it after {} ms, and `wait_replicas` is \
             {wait_replicas}: a failover would lose it. A retry may carry it out again; start replicas, or ask for fewer",
            self.wait_timeout().as_millis()
        );
        Error::new(ErrorKind::Unavailable, doing, why)
    }

    fn error(&self, error: RedisError, doing: Operation) -> Error {
        error_of(error, &self.server, doing)
    }
}

impl Line {
    fn now(&self) -> (u64, Connection) {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another connection for calls from now on, unless that is done or under way. Calls that are out on the one
    /// before still hear.
    async fn replace(self: Arc<Self>, number: u64) {
        let Ok(_only) = self.replacing.try_lock() else { return };
        if self.now().0 != number {
            return;
        }
        match Connection::open(&self.config).await {
            Ok(other) => {
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = (number + 1, other);
            }
            Err(error) => tracing::debug!(%error, "there is no other connection yet"),
        }
    }
}

/// The call of a script by its name as one that brings it along.
fn with_text(call: &Cmd, script: &Script) -> Cmd {
    let mut whole = cmd("EVAL");
    whole.arg(&script.code);
    for argument in call.args_iter().skip(2) {
        if let Arg::Simple(bytes) = argument {
            whole.arg(bytes);
        }
    }
    whole
}

fn is(error: &RedisError, kind: ServerErrorKind) -> bool {
    error.kind() == redis::ErrorKind::Server(kind)
}

/// Whether a cluster says that the slot is elsewhere, on its way or without a master. Whoever says so has done nothing.
pub(crate) fn says_changing(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    [Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain].iter().any(|kind| is(error, *kind))
}

/// The same of the error of a call.
pub(crate) fn is_changing(error: &Error) -> bool {
    error.source().and_then(|source| source.downcast_ref()).is_some_and(says_changing)
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
