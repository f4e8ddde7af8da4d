//! A Redis Cluster of three masters, private to this process, that can be killed and started again: with a replica for
//! each that takes over, or alone.

use std::ops::RangeInclusive;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::redis::PrivateRedis;
use super::{Failure, find_program, free_port};

const CLI: &str = "redis-cli";
/// The slots of a cluster, and the masters that share them.
const SLOTS: u32 = 16_384;
const MASTERS: usize = 3;
/// After how long without word from a server the others take it for gone.
const NODE_TIMEOUT_MS: &str = "2000";
/// How often the cluster is looked at until it is as it should be, and how many times.
const ROUND: Duration = Duration::from_millis(50);
const ROUNDS_MAX: u32 = 1_200;

/// Three masters, maybe with a replica each, that sync every change before they answer. Dropping it ends them.
#[derive(Debug)]
pub struct PrivateCluster {
    servers: Vec<Member>,
    /// How many of them are replicas, as long as all are there.
    replicas: usize,
    _dir: TempDir,
}

/// A server of the cluster.
#[derive(Debug)]
struct Member {
    server: PrivateRedis,
    id: String,
    /// Whether it is stopped in its tracks.
    is_frozen: bool,
}

/// What a server knows of a member.
#[derive(Debug)]
struct Known {
    id: String,
    flags: String,
    /// Of whom it is a replica, else `-`.
    master: String,
    slots: Vec<RangeInclusive<u32>>,
}

impl PrivateCluster {
    /// Starts one of masters alone on fresh data. `None` if this machine has no Redis.
    ///
    /// # Errors
    /// If it is there and does not become whole within a minute.
    pub async fn start() -> Result<Option<Self>, Failure> {
        Self::start_of(MASTERS).await
    }

    /// The same with a replica for each master.
    ///
    /// # Errors
    /// As those of [`Self::start`].
    pub async fn start_with_replicas() -> Result<Option<Self>, Failure> {
        Self::start_of(2 * MASTERS).await
    }

    async fn start_of(count: usize) -> Result<Option<Self>, Failure> {
        if find_program(CLI).is_none() || find_program("redis-server").is_none() {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let (mut servers, mut buses) = (Vec::new(), Vec::new());
        for number in 0..count {
            let own = dir.path().join(number.to_string());
            std::fs::create_dir(&own)?;
            let bus = free_port()?.to_string();
            let settings = [
                ("appendfsync", "always"),
                ("cluster-enabled", "yes"),
                ("cluster-node-timeout", NODE_TIMEOUT_MS),
                // WHY: however long its master was away, a replica takes over.
                ("cluster-replica-validity-factor", "0"),
                // WHY: replicas stay with the masters that they were given.
                ("cluster-allow-replica-migration", "no"),
                ("cluster-port", &bus),
            ];
            let server = PrivateRedis::start_in(&own, &settings).await?;
            let id = ask(&server, &["CLUSTER", "MYID"])?.trim().to_owned();
            servers.push(Member { server, id, is_frozen: false });
            buses.push(bus);
        }
        let mut cluster = Self { servers, replicas: 0, _dir: dir };
        cluster.share_out()?;
        cluster.meet(&buses)?;
        cluster.is_whole().await?;
        cluster.replicate().await?;
        Ok(Some(cluster))
    }

    /// Gives the masters their slots.
    fn share_out(&mut self) -> Result<(), Failure> {
        for (number, member) in (0..).zip(self.servers.iter().take(MASTERS)) {
            let masters = MASTERS as u32;
            let (first, next) = (SLOTS * number / masters, SLOTS * (number + 1) / masters);
            let (first, last) = (first.to_string(), (next - 1).to_string());
            ask(&member.server, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
        }
        for (number, member) in (1..).zip(&self.servers) {
            let epoch: u32 = number;
            ask(&member.server, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch.to_string()])?;
        }
        Ok(())
    }

    fn meet(&self, buses: &[String]) -> Result<(), Failure> {
        let Some((first, others)) = self.servers.split_first() else { return Ok(()) };
        for (other, bus) in others.iter().zip(buses.iter().skip(1)) {
            let port = other.server.port().to_string();
            ask(&first.server, &["CLUSTER", "MEET", "127.0.0.1", &port, bus])?;
        }
        Ok(())
    }

    /// Makes those that are no masters their replicas.
    async fn replicate(&mut self) -> Result<(), Failure> {
        for (replica, master) in self.servers.iter().skip(MASTERS).zip(&self.servers) {
            ask(&replica.server, &["CLUSTER", "REPLICATE", &master.id])?;
        }
        self.replicas = self.servers.len() - MASTERS;
        self.is_whole().await
    }

    /// Kills all servers and starts them again on the same data and ports.
    ///
    /// # Errors
    /// If they do not start, or do not find each other within a minute.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        for member in &mut self.servers {
            member.server.restart().await?;
        }
        self.is_whole().await
    }

    /// Kills a server.
    pub fn kill(&mut self, place: usize) {
        if let Some(member) = self.servers.get_mut(place) {
            member.is_frozen = false;
            member.server.kill();
        }
    }

    /// Stops a server in its tracks: its connections stay and it says nothing. [`Self::thaw`] lets it go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&mut self, place: usize) -> Result<(), Failure> {
        let member = self.servers.get_mut(place).ok_or("there is no such server")?;
        member.server.freeze()?;
        member.is_frozen = true;
        Ok(())
    }

    /// Lets a server go on, where others are missing still.
    ///
    /// # Errors
    /// If it does not run.
    pub fn unfreeze(&mut self, place: usize) -> Result<(), Failure> {
        let member = self.servers.get_mut(place).ok_or("there is no such server")?;
        member.server.unfreeze()?;
        member.is_frozen = false;
        Ok(())
    }

    /// Lets a server go on, and returns once all servers know each other and replicas are as far as their masters.
    ///
    /// # Errors
    /// If it does not run, or that takes more than a minute.
    pub async fn thaw(&mut self, place: usize) -> Result<(), Failure> {
        self.unfreeze(place)?;
        self.is_whole().await
    }

    /// Starts a server that was killed, and returns once it is its successor's replica, and as far as that.
    ///
    /// # Errors
    /// If it does not start, or that takes more than a minute.
    pub async fn bring_back(&mut self, place: usize) -> Result<(), Failure> {
        self.start_again(place).await?;
        self.is_whole().await
    }

    /// Starts a server that was killed, where others are missing still.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_again(&mut self, place: usize) -> Result<(), Failure> {
        let member = self.servers.get_mut(place).ok_or("there is no such server")?;
        member.server.restart().await
    }

    /// Returns the place of the server that has a slot, once all servers that are there say that it is another one
    /// than `before`, and that all slots are served.
    ///
    /// # Errors
    /// If that takes more than a minute.
    pub async fn successor(&self, slot: u32, before: usize) -> Result<usize, Failure> {
        let mut left = ROUNDS_MAX;
        loop {
            let place = self.serving(slot).filter(|place| *place != before);
            if let Some(place) = place {
                return Ok(place);
            }
            left = left.checked_sub(1).ok_or("nobody took over")?;
            tokio::time::sleep(ROUND).await;
        }
    }

    /// The place of the server that has a slot, if all who are there agree on it and serve.
    pub fn serving(&self, slot: u32) -> Option<usize> {
        let mut agreed = None;
        for member in self.there() {
            let info = ask(&member.server, &["CLUSTER", "INFO"]).ok()?;
            info.contains("cluster_state:ok\r").then_some(())?;
            let known = known(&member.server).ok()?;
            let has = |known: &&Known| known.slots.iter().any(|range| range.contains(&slot));
            let id = known.iter().find(has)?.id.clone();
            if *agreed.get_or_insert(id.clone()) != id {
                return None;
            }
        }
        self.servers.iter().position(|member| Some(&member.id) == agreed.as_ref())
    }

    fn there(&self) -> impl Iterator<Item = &Member> {
        let is_there = |member: &&Member| !member.is_frozen && member.server.process().is_some();
        self.servers.iter().filter(is_there)
    }

    /// Its URL, with all servers.
    pub fn url(&self) -> String {
        let places =
            self.servers.iter().map(|member| format!("127.0.0.1:{}", member.server.port()));
        format!("redis-cluster://{}", places.collect::<Vec<_>>().join(","))
    }

    /// The URLs of the servers, by their places.
    pub fn servers(&self) -> Vec<String> {
        self.servers.iter().map(|member| member.server.url()).collect()
    }

    /// Returns once every server knows of all others and serves, and every replica is as far as its master.
    async fn is_whole(&self) -> Result<(), Failure> {
        let mut left = ROUNDS_MAX;
        while !self.servers.iter().all(|member| self.is_settled(member).unwrap_or(false)) {
            left = left.checked_sub(1).ok_or("the cluster does not become whole")?;
            tokio::time::sleep(ROUND).await;
        }
        Ok(())
    }

    fn is_settled(&self, member: &Member) -> Result<bool, Failure> {
        let info = ask(&member.server, &["CLUSTER", "INFO"])?;
        let slots = format!("cluster_slots_ok:{SLOTS}\r");
        let serves = info.contains("cluster_state:ok\r") && info.contains(&slots);
        let known = known(&member.server)?;
        let is_well = |it: &Known| !["fail", "handshake"].iter().any(|bad| it.flags.contains(bad));
        let replicas = known.iter().filter(|it| it.master != "-").count();
        let knows_all = known.len() == self.servers.len() && known.iter().all(is_well);
        let role = ask(&member.server, &["INFO", "replication"])?;
        let is_linked =
            ["role:master\r", "master_link_status:up\r"].iter().any(|it| role.contains(it));
        Ok(serves && knows_all && replicas == self.replicas && is_linked)
    }
}

/// All members, as a server knows them.
fn known(server: &PrivateRedis) -> Result<Vec<Known>, Failure> {
    let nodes = ask(server, &["CLUSTER", "NODES"])?;
    Ok(nodes.lines().filter_map(Known::read).collect())
}

impl Known {
    /// Reads a line: id, address, flags, master, times of ping and pong, epoch, link, and slots.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let id = words.next()?.to_owned();
        let flags = words.nth(1)?.to_owned();
        let master = words.next()?.to_owned();
        let range = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        let slots = words.skip(4).filter_map(range).collect();
        Some(Self { id, flags, master, slots })
    }
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
