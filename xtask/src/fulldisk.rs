//! A real file system that is filled up: sends are refused, everything else goes on, and space that
//! returns is used without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use tidegate_core::{
    Broker, Capacity, ErrorKind, NewTask, QueueName, QueueSpec, ReceiveOptions, SessionOptions,
    Settled, State,
};
use tidegate_engine::Options;

use crate::cargo::Counts;
use crate::volume::{self, FileSystem, Volume};
use crate::workload::Failure;

/// Bytes that the ballast leaves free.
const FREE_BYTES: u64 = 40 << 20;
/// Bytes of a task.
const TASK_BYTES: usize = 16 << 10;
/// Tasks that are sent at once.
const BATCH: usize = 16;
/// How long space may take to be noticed: the janitor looks every second.
const NOTICED_MAX: Duration = Duration::from_secs(20);

/// How `fulldisk` is run.
#[derive(Debug, Args)]
pub(crate) struct FulldiskArgs {
    /// Where the files of the file systems lie
    #[arg(long, default_value = "target/fulldisk")]
    dir: PathBuf,
}

/// Fills one file system of each kind.
pub(crate) fn main(args: &FulldiskArgs) -> ExitCode {
    if let Some(missing) = volume::missing() {
        eprintln!("skipped, nothing was filled: {missing}");
        return ExitCode::FAILURE;
    }
    if run(&args.dir).failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same as tests, where file systems can be mounted.
pub(crate) fn counted() -> Counts {
    run(&crate::cargo::root().join("target/fulldisk"))
}

fn run(dir: &Path) -> Counts {
    let file_systems = [FileSystem::Ext4, FileSystem::Xfs, FileSystem::Tmpfs];
    let one = |file_system: FileSystem| match fill(dir, file_system) {
        Ok(seen) => {
            println!("{file_system}: {seen}");
            Counts::one(true)
        }
        Err(error) => {
            println!("{file_system}: failed to {error}");
            Counts::one(false)
        }
    };
    file_systems.into_iter().map(one).fold(Counts::default(), Counts::plus)
}

fn fill(dir: &Path, file_system: FileSystem) -> Result<String, Failure> {
    fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    let volume = Volume::new(&dir, &file_system.to_string().to_lowercase(), file_system)?;
    let ballast = volume.point().join("ballast");
    fill_up(&ballast, FREE_BYTES)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    runtime.block_on(work(volume.point(), &ballast))
}

/// Writes a file until only so many bytes are free.
fn fill_up(ballast: &Path, leave: u64) -> io::Result<()> {
    use io::Write;
    let mut file = fs::File::create(ballast)?;
    let bytes = vec![7; 1 << 20];
    loop {
        match file.write_all(&bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
            Err(error) => return Err(error),
        }
    }
    let len = file.metadata()?.len();
    file.set_len(len.saturating_sub(leave))?;
    file.sync_all()
}

async fn work(point: &Path, ballast: &Path) -> Result<String, Failure> {
    let data = point.join("data");
    let [keep, drop] = [QueueName::new("keep")?, QueueName::new("drop")?];
    let broker = tidegate_engine::open(Options::new(&data)).await?;
    for queue in [&keep, &drop] {
        let spec = QueueSpec { capacity: Capacity::Unbounded, ..QueueSpec::new(queue.clone()) };
        broker.declare(&spec).await?;
    }
    send(&broker, &drop, BATCH).await?;
    let mut live = 0;
    let refused = loop {
        match send(&broker, &keep, BATCH).await {
            Ok(()) => live += BATCH as u64,
            Err(error) => break error,
        }
    };
    let sent = live;
    let says = refused.to_string().contains("free some space");
    if refused.kind() != ErrorKind::DiskFull || !refused.is_retryable() || !says || sent == 0 {
        return Err(format!("have sends refused clearly: after {sent}: {refused}").into());
    }
    broker.admin()?.delete(&drop).await?;
    live -= complete(&broker, &keep, sent / 4).await?;

    // Somebody else gives space back: sends go on though nothing else was settled.
    fs::remove_file(ballast)?;
    let begun = Instant::now();
    while let Err(error) = send(&broker, &keep, 1).await {
        if begun.elapsed() > NOTICED_MAX {
            return Err(format!("send again though there is room: {error}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    live += 1;
    let noticed = begun.elapsed();
    std::mem::drop(broker);

    let broker = tidegate_engine::open(Options::new(&data)).await?;
    let held = broker.inspect()?.stats(&keep).await?.live();
    if held != live {
        return Err(format!("find all after a restart: {held} of {live} tasks").into());
    }
    live -= complete(&broker, &keep, live).await?;
    broker.close().await?;
    if live > 0 {
        return Err(format!("complete {live} tasks").into());
    }
    Ok(format!(
        "{sent} tasks of {TASK_BYTES} bytes until sends were refused; a quarter completed and a queue \
         deleted on the full disk; sends again {:.1} s after there was room; nothing lost",
        noticed.as_secs_f64()
    ))
}

async fn send(broker: &Broker, queue: &QueueName, count: usize) -> tidegate_core::Result<()> {
    let tasks: Vec<_> = (0..count).map(|_| NewTask::new("work", vec![7; TASK_BYTES])).collect();
    for outcome in broker.enqueue(queue, &tasks).await? {
        outcome?;
    }
    Ok(())
}

/// Receives and completes so many tasks, one by one, and tells how many there were.
async fn complete(broker: &Broker, queue: &QueueName, count: u64) -> Result<u64, Failure> {
    let receiver = broker.open(queue, &SessionOptions::default()).await?;
    for done in 0..count {
        let leases = receiver.receive(&ReceiveOptions::up_to(1)).await?;
        let Some(lease) = leases.first() else { return Ok(done) };
        if lease.task.payload.len() != TASK_BYTES || lease.task.payload.iter().any(|b| *b != 7) {
            return Err("receive what was sent".into());
        }
        let settled = receiver.complete(lease).await?;
        if settled != (Settled::Done { state: State::Done }) {
            return Err(format!("complete a task: {settled:?}").into());
        }
    }
    Ok(count)
}
