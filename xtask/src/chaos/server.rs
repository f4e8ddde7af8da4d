//! A server of one's own, for a program without a runtime.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use tidegate_conformance::services::postgres::{PrivatePostgres, USER};
use tidegate_conformance::services::redis::PrivateRedis;
use tokio::runtime::{Builder, Runtime};

use crate::needs::{FOR_POSTGRES, FOR_REDIS, Need};

/// Which server. Each syncs every change before it answers, unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ServerArg {
    /// Redis, with `appendfsync always` unless `--appendfsync` says otherwise
    Redis,
    /// PostgreSQL, as it comes: `fsync` and `synchronous_commit` are on
    Postgres,
}

impl ServerArg {
    /// What the machine must have.
    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Self::Redis => FOR_REDIS,
            Self::Postgres => FOR_POSTGRES,
        }
    }

    /// Its name on the command line.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// The broker's URL on a port that leads to it.
    pub(super) fn url(self, port: u16) -> String {
        match self {
            Self::Redis => format!("redis://127.0.0.1:{port}?response_timeout_ms=2000"),
            // WHY: three of these and their listeners stay below the server's 100 connections, with those of
            // the killed that it has not seen end yet.
            Self::Postgres => {
                format!("postgres://{USER}@127.0.0.1:{port}/{USER}?connections=8&sslmode=disable")
            }
        }
    }
}

/// A server that runs. Dropping it ends it.
pub(super) struct Server {
    service: Service,
    runtime: Runtime,
}

enum Service {
    Redis(PrivateRedis),
    Postgres(PrivatePostgres),
}

impl Server {
    /// Starts one on fresh data.
    pub(super) fn start(which: ServerArg, appendfsync: &str, dir: &Path) -> Result<Self, String> {
        let made = fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
        let dir = &made.map_err(|error| format!("{}: {error}", dir.display()))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let started = runtime.block_on(async {
            Ok(match which {
                ServerArg::Redis => {
                    let settings = [("appendfsync", appendfsync)];
                    Service::Redis(PrivateRedis::start_in(dir, &settings).await?)
                }
                ServerArg::Postgres => {
                    Service::Postgres(PrivatePostgres::start_in(dir, &[]).await?)
                }
            })
        });
        let service = started.map_err(|error: tidegate_conformance::services::Failure| {
            format!("{} did not start: {error}", which.as_str())
        })?;
        Ok(Self { service, runtime })
    }

    /// Kills it and starts it again.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        let Self { service, runtime } = self;
        let restarted = runtime.block_on(async {
            match service {
                Service::Redis(redis) => redis.restart().await,
                Service::Postgres(postgres) => postgres.restart().await,
            }
        });
        restarted.map_err(|error| error.to_string())
    }

    pub(super) fn port(&self) -> u16 {
        match &self.service {
            Service::Redis(redis) => redis.port(),
            Service::Postgres(postgres) => postgres.port(),
        }
    }
}
