//! PgBouncer in front of a PostgreSQL server, private to this process.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::postgres::{PrivatePostgres, USER, as_user, give_to_user};
use super::{Failure, Service, find_program, free_port};

const PROGRAM: &str = "pgbouncer";

/// Fewer than a broker has, so that a connection of a client is another one of the server's each time.
const SERVER_CONNECTIONS: usize = 3;

/// A pooler in transaction mode. Dropping it ends it.
#[derive(Debug)]
pub struct PrivatePgBouncer {
    service: Option<Service>,
    port: u16,
    dir: TempDir,
}

impl PrivatePgBouncer {
    /// Starts one in front of a server. `None` if this machine has no PgBouncer.
    ///
    /// # Errors
    /// If it is there and does not start.
    pub async fn start(server: &PrivatePostgres) -> Result<Option<Self>, Failure> {
        if find_program(PROGRAM).is_none() {
            return Ok(None);
        }
        let (port, dir) = (free_port()?, tempfile::tempdir()?);
        let mut pooler = Self { service: None, port, dir };
        write_settings(pooler.dir.path(), port, server.port())?;
        pooler.run().await?;
        Ok(Some(pooler))
    }

    /// Kills it, with all connections through it, and starts it again.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        // Ends it first, so that the port is free.
        self.service = None;
        self.run().await
    }

    /// The server's URL through it.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{USER}", self.port)
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let mut command: Command = as_user(PROGRAM);
        command.arg(self.dir.path().join("settings.ini"));
        let log = self.dir.path().join("log");
        self.service = Some(Service::start(command, self.port, &log).await?);
        Ok(())
    }
}

fn write_settings(dir: &Path, port: u16, server: u16) -> Result<(), Failure> {
    let users = dir.join("users");
    std::fs::write(&users, format!("\"{USER}\" \"\"\n"))?;
    let settings = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {}\n\
         pool_mode = transaction\n\
         default_pool_size = {SERVER_CONNECTIONS}\n\
         max_client_conn = 1000\n",
        users.display()
    );
    let file = dir.join("settings.ini");
    std::fs::write(&file, settings)?;
    for path in [dir, &users, &file] {
        give_to_user(path)?;
    }
    Ok(())
}
