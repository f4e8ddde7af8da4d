//! A server for one run: a directory and ports of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::Value;
use tidegate_conformance::services::free_port;
use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_conformance::services::redis::PrivateRedis;
use tidegate_core::{QueueName, QueueStats};

use super::python;
use crate::examples::server::until;
use crate::programs;
use crate::served::{self, READY};
use crate::workload::Failure;

/// The access keys of the checks.
const KEYS: &str = "access-keys.yaml";

/// What the server stands on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Engine,
    /// Those who ask must sign.
    Keys,
    Redis,
    Postgres,
}

/// A broker of others that runs for one server. Dropping it ends it.
#[derive(Debug)]
pub(super) enum Stood {
    Engine,
    Keys,
    Redis(PrivateRedis),
    Postgres(PrivatePostgres),
}

impl Stood {
    /// `None` where its server is not installed.
    pub(super) fn of(over: Over) -> Result<Option<Self>, Failure> {
        Ok(match over {
            Over::Engine => Some(Self::Engine),
            Over::Keys => Some(Self::Keys),
            Over::Redis => runtime()?.block_on(PrivateRedis::start())?.map(Self::Redis),
            Over::Postgres => PrivatePostgres::start()?.map(Self::Postgres),
        })
    }

    /// The broker's URL; none is the engine in the server's directory.
    fn url(&self) -> Option<String> {
        match self {
            Self::Engine | Self::Keys => None,
            Self::Redis(redis) => Some(redis.url()),
            Self::Postgres(postgres) => Some(postgres.url()),
        }
    }
}

/// A server that is ready. It is killed at the end, and its directory is removed.
#[derive(Debug)]
pub(super) struct Server {
    dir: PathBuf,
    arguments: Vec<String>,
    broker: Option<String>,
    child: Child,
    ready: Value,
}

impl Server {
    pub(super) fn start(dir: &Path, stood: &Stood) -> Result<Self, Failure> {
        let dir = dir.to_owned();
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        let (native, sqs) = (address()?, address()?);
        let arguments = ["--listen", &native, "--sqs", &sqs];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        if matches!(stood, Stood::Keys) {
            fs::copy(python::source().join(KEYS), dir.join(KEYS))?;
            fs::set_permissions(dir.join(KEYS), fs::Permissions::from_mode(0o600))?;
            arguments.extend(["--access-keys", KEYS].map(str::to_owned));
        }
        let broker = stood.url();
        let child = serve(&dir, &arguments, broker.as_deref())?;
        let mut server = Self { dir, arguments, broker, child, ready: Value::Null };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Where it speaks SQS.
    pub(super) fn url(&self) -> &str {
        self.ready.pointer("/sqs/0/url").and_then(Value::as_str).unwrap_or_default()
    }

    /// Kills it, and starts it again at the same addresses.
    pub(super) fn kill_and_restart(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        // WHY: only a graceful end removes it.
        fs::remove_file(self.dir.join(READY))?;
        self.child = serve(&self.dir, &self.arguments, self.broker.as_deref())?;
        self.wait_until_ready()
    }

    /// What is in a queue, by the native protocol.
    pub(super) fn stats(&self, queue: &str) -> Result<QueueStats, Failure> {
        let url = self.ready.pointer("/listen/0/url").and_then(Value::as_str);
        let url = url.ok_or("the ready file has no URL")?;
        runtime()?.block_on(async {
            let broker = tidegate::connect(url).await?;
            let stats = broker.inspect()?.stats(&QueueName::new(queue)?).await;
            broker.close().await?;
            Ok(stats?)
        })
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let ready = self.dir.join(READY);
        until("the server is ready", || match self.child.try_wait()? {
            Some(status) => Err(format!("the server ended with {status}").into()),
            None => Ok(ready.exists()),
        })?;
        self.ready = serde_json::from_str(&fs::read_to_string(ready)?)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn address() -> Result<String, Failure> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

fn serve(dir: &Path, arguments: &[String], broker: Option<&str>) -> Result<Child, Failure> {
    served::serve(&programs::binary(false)?, dir, arguments, broker)
}
