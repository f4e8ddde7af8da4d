//! This project's engine in a process of its own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tidegate_core::{Capacity, NewTask, QueueName, QueueSpec};
use tidegate_engine::Options;

use super::{Peer, START_MAX, TASK_BYTES};
use crate::workload::{DurabilityArg, Failure};

/// What a process of a row is told. Not for people.
#[derive(Debug, Args)]
pub(crate) struct SenderArgs {
    /// The data directory
    #[arg(long)]
    data: PathBuf,
    /// When acknowledged changes are on the disk
    #[arg(long)]
    durability: DurabilityArg,
    /// Where the number of acknowledged tasks is kept, on another disk
    #[arg(long)]
    count: PathBuf,
}

/// The engine with one durability.
#[derive(Debug)]
pub(super) struct Engine {
    durability: DurabilityArg,
    data: PathBuf,
    count: PathBuf,
}

impl Engine {
    pub(super) fn new(durability: DurabilityArg) -> Self {
        let count = std::env::temp_dir().join(format!("tidegate-sent-{}", std::process::id()));
        Self { durability, data: PathBuf::new(), count }
    }

    fn sent(&self) -> Result<u64, String> {
        let bytes = fs::read(&self.count).map_err(|error| error.to_string())?;
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or("no count".into())
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.durability {
            DurabilityArg::Always => "Tidegate, always",
            DurabilityArg::Interval => "Tidegate, interval (20 ms)",
            DurabilityArg::Never => "Tidegate, never",
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.count);
    }
}

impl Peer for Engine {
    /// The first start of a directory begins to send; another one only holds the place.
    fn start(&mut self, data: &Path) -> Result<Child, String> {
        let is_new = !data.join("log").exists();
        data.clone_into(&mut self.data);
        if !is_new {
            return Command::new("true").spawn().map_err(|error| error.to_string());
        }
        let _ = fs::remove_file(&self.count);
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .arg("powercut-sender")
            .arg("--data")
            .arg(data)
            .args(["--durability", self.durability.as_str()])
            .arg("--count")
            .arg(&self.count)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let (child, begun) = (child.map_err(|error| error.to_string())?, Instant::now());
        while self.sent().is_err() {
            if begun.elapsed() > START_MAX {
                super::Server(child).end();
                return Err("the engine did not begin to send".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(child)
    }

    fn send(&mut self, until: Instant) -> Result<u64, String> {
        thread::sleep(until.saturating_duration_since(Instant::now()));
        self.sent()
    }

    fn held(&mut self) -> Result<u64, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let held = runtime.map_err(|error| error.to_string())?.block_on(async {
            let broker = tidegate_engine::open(Options::new(&self.data)).await?;
            let stats = broker.inspect()?.stats(&queue()).await;
            broker.close().await?;
            stats
        });
        match held {
            Ok(stats) => Ok(stats.ready),
            Err(error) if error.kind() == tidegate_core::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn queue() -> QueueName {
    QueueName::new("tasks").unwrap_or_else(|_| unreachable!("a sound name"))
}

/// Sends one task after the other until the disk is gone.
pub(crate) fn sender(args: &SenderArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    let sent = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(send(args)));
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

async fn send(args: &SenderArgs) -> Result<(), Failure> {
    use std::os::unix::fs::FileExt;
    let SenderArgs { data, durability, count } = args;
    let options = Options { durability: durability.as_option(), ..Options::new(data) };
    let broker = tidegate_engine::open(options).await?;
    let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue()) };
    broker.declare(&spec).await?;
    let file = fs::File::create(count)?;
    for sent in 0_u64.. {
        file.write_all_at(&sent.to_le_bytes(), 0)?;
        broker.enqueue_one(&queue(), NewTask::new("work", vec![b'x'; TASK_BYTES])).await?;
    }
    Ok(())
}
