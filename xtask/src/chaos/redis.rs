//! A Redis server of one's own, for a program without a runtime.

use std::fs;
use std::path::Path;

use tidegate_conformance::services::redis::PrivateRedis;
use tokio::runtime::{Builder, Runtime};

/// A server that syncs every change before it answers. Dropping it ends it.
pub(super) struct Redis {
    server: PrivateRedis,
    runtime: Runtime,
}

impl Redis {
    /// Starts one on fresh data.
    pub(super) fn start(dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let server = runtime.block_on(PrivateRedis::start_in(dir));
        Ok(Self { server: server.map_err(|error| error.to_string())?, runtime })
    }

    /// Kills it and starts it again.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        self.runtime.block_on(self.server.restart()).map_err(|error| error.to_string())
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    /// The broker's URL on a port that leads here.
    pub(super) fn url(port: u16) -> String {
        format!("redis://127.0.0.1:{port}?response_timeout_ms=2000")
    }
}
