//! A Redis Cluster of three masters, private to this process, that can be killed and started again.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::redis::PrivateRedis;
use super::{Failure, find_program, free_port};

const CLI: &str = "redis-cli";
/// The slots of a cluster, and the masters that share them.
const SLOTS: u32 = 16_384;
const MASTERS: u32 = 3;
/// After how long without word from a server the others take it for gone.
const NODE_TIMEOUT_MS: &str = "2000";
/// How often the cluster is looked at until it is whole, and how many times.
const ROUND: Duration = Duration::from_millis(50);
const ROUNDS_MAX: u32 = 1_200;

/// Three masters that sync every change before they answer. Dropping it ends them.
#[derive(Debug)]
pub struct PrivateCluster {
    servers: Vec<PrivateRedis>,
    _dir: TempDir,
}

impl PrivateCluster {
    /// Starts one on fresh data. `None` if this machine has no Redis.
    ///
    /// # Errors
    /// If it is there and does not become whole within a minute.
    pub async fn start() -> Result<Option<Self>, Failure> {
        if find_program(CLI).is_none() || find_program("redis-server").is_none() {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let mut servers = Vec::new();
        for number in 0..MASTERS {
            let own = dir.path().join(number.to_string());
            std::fs::create_dir(&own)?;
            let bus = free_port()?.to_string();
            let settings = [
                ("appendfsync", "always"),
                ("cluster-enabled", "yes"),
                ("cluster-node-timeout", NODE_TIMEOUT_MS),
                ("cluster-port", &bus),
            ];
            servers.push((PrivateRedis::start_in(&own, &settings).await?, bus));
        }
        for (number, (server, _)) in (0..MASTERS).zip(&servers) {
            let (first, next) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS);
            let (first, last) = (first.to_string(), (next - 1).to_string());
            ask(server, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            ask(server, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        if let Some(((first, _), others)) = servers.split_first() {
            for (other, bus) in others {
                let port = other.port().to_string();
                ask(first, &["CLUSTER", "MEET", "127.0.0.1", &port, bus])?;
            }
        }
        let servers = servers.into_iter().map(|(server, _)| server).collect();
        let cluster = Self { servers, _dir: dir };
        cluster.is_whole().await?;
        Ok(Some(cluster))
    }

    /// Kills all servers and starts them again on the same data and ports.
    ///
    /// # Errors
    /// If they do not start, or do not find each other within a minute.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        for server in &mut self.servers {
            server.restart().await?;
        }
        self.is_whole().await
    }

    /// Its URL, with all servers.
    pub fn url(&self) -> String {
        let places = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port()));
        format!("redis-cluster://{}", places.collect::<Vec<_>>().join(","))
    }

    /// The URLs of the servers.
    pub fn servers(&self) -> Vec<String> {
        self.servers.iter().map(PrivateRedis::url).collect()
    }

    /// Returns once every server knows of all others and serves.
    async fn is_whole(&self) -> Result<(), Failure> {
        let mut left = ROUNDS_MAX;
        for server in &self.servers {
            while !knows_all(&ask(server, &["CLUSTER", "INFO"]).unwrap_or_default()) {
                left -= 1;
                if left == 0 {
                    return Err("the cluster does not become whole".into());
                }
                tokio::time::sleep(ROUND).await;
            }
        }
        Ok(())
    }
}

fn knows_all(info: &str) -> bool {
    let all = format!("cluster_known_nodes:{MASTERS}\r");
    let slots = format!("cluster_slots_ok:{SLOTS}\r");
    [&all, &slots, "cluster_state:ok\r"].iter().all(|line| info.contains(*line))
}

/// What a server answers to a command.
fn ask(server: &PrivateRedis, command: &[&str]) -> Result<String, Failure> {
    let program = find_program(CLI).unwrap_or(CLI.into());
    let asked =
        Command::new(program).args(["-p", &server.port().to_string()]).args(command).output();
    let answer = String::from_utf8_lossy(&asked?.stdout).into_owned();
    // WHY: the program ends well whatever the server said.
    if ["ERR", "Could not"].iter().any(|error| answer.starts_with(error)) {
        return Err(format!("{}: {}", command.join(" "), answer.trim()).into());
    }
    Ok(answer)
}
