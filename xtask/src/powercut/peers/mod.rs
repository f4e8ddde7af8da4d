//! The same cuts under other brokers, and under this one with every durability: how many tasks that
//! were acknowledged are not there afterwards.
//!
//! One client sends one task after the other, each 256 bytes, and counts the answers. Only hard
//! cuts. What was there before the sending began is synced, so that no broker is blamed for a
//! queue that was made a moment ago.

mod beanstalkd;
mod engine;
mod nats;
mod redis;
mod wire;

use std::fmt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use engine::{SenderArgs, sender};

use tidegate_conformance::services::find_program;

use crate::volume::{Cut, FileSystem, Volume};
use crate::workload::DurabilityArg;
use beanstalkd::Beanstalkd;
use engine::Engine;
use nats::Nats;
use redis::Redis;

/// Bytes of a task.
pub(super) const TASK_BYTES: usize = 256;
/// How long a server may take to answer after it was started.
const START_MAX: Duration = Duration::from_secs(30);
/// Between the last answer that counts and the cut.
const MARGIN: Duration = Duration::from_millis(5);
/// A row is given up after so many cuts that could not be done.
const FAILURES_MAX: usize = 3;

/// A broker that acknowledges tasks and can be asked how many it holds.
pub(super) trait Peer: fmt::Display {
    /// Starts it on a directory and waits until it answers. Empty directories are made ready.
    fn start(&mut self, data: &Path) -> Result<Child, String>;
    /// Sends for so long, unless the broker goes, and tells how many were acknowledged.
    fn send(&mut self, until: Instant) -> Result<u64, String>;
    /// How many tasks it holds.
    fn held(&mut self) -> Result<u64, String>;
}

/// Cuts every broker on every file system and prints a table.
pub(super) fn run(dir: &Path, only: Option<&str>, cuts: u64, seconds: f64) -> Result<(), String> {
    println!(
        "| broker | file system | cuts | sent/s | acknowledged | lost | lost per cut: least, median, most |"
    );
    println!("|---|---|---|---|---|---|---|");
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        for mut peer in peers() {
            if only.is_some_and(|only| !peer.to_string().contains(only)) {
                continue;
            }
            let row = row(dir, file_system, &mut *peer, cuts, Duration::from_secs_f64(seconds));
            match row {
                Ok(row) => println!("| {peer} | {file_system} | {row} |"),
                Err(why) => println!("| {peer} | {file_system} | skipped: {why} | | | | |"),
            }
        }
    }
    Ok(())
}

fn peers() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(Engine::new(DurabilityArg::Always)),
        Box::new(Engine::new(DurabilityArg::Interval)),
        Box::new(Engine::new(DurabilityArg::Never)),
        Box::new(Redis::new("always")),
        Box::new(Redis::new("everysec")),
        Box::new(Nats::new(Some("always"))),
        Box::new(Nats::new(None)),
        Box::new(Beanstalkd::new(Some(0))),
        Box::new(Beanstalkd::new(None)),
    ]
}

/// One cut.
#[derive(Clone, Copy, Debug)]
struct Loss {
    acknowledged: u64,
    lost: u64,
    took: Duration,
}

fn row(
    dir: &Path,
    file_system: FileSystem,
    peer: &mut dyn Peer,
    cuts: u64,
    sending: Duration,
) -> Result<String, String> {
    let volume = Volume::new(dir, &format!("peers-{file_system}").to_lowercase(), file_system)?;
    let mut losses = Vec::new();
    let mut failures = Vec::new();
    while (losses.len() as u64) < cuts {
        let data = volume.point().join(format!("data-{}", losses.len() + failures.len()));
        match one(&volume, peer, &data, sending) {
            Ok(loss) => losses.push(loss),
            Err(why) => {
                eprintln!("{peer} on {file_system}: {why}");
                failures.push(why);
            }
        }
        let _ = std::fs::remove_dir_all(&data);
        if failures.len() == FAILURES_MAX {
            return Err(failures.pop().unwrap_or_default());
        }
    }
    Ok(summary(&losses))
}

fn summary(losses: &[Loss]) -> String {
    let acknowledged: u64 = losses.iter().map(|loss| loss.acknowledged).sum();
    let lost: u64 = losses.iter().map(|loss| loss.lost).sum();
    let seconds: f64 = losses.iter().map(|loss| loss.took.as_secs_f64()).sum();
    let mut each: Vec<u64> = losses.iter().map(|loss| loss.lost).collect();
    each.sort_unstable();
    let at = |place: usize| each.get(place).copied().unwrap_or_default();
    let (least, median, most) = (at(0), at(each.len() / 2), at(each.len().saturating_sub(1)));
    let rate = acknowledged as f64 / seconds.max(f64::EPSILON);
    let cuts = losses.len();
    format!("{cuts} | {rate:.0} | {acknowledged} | {lost} | {least}, {median}, {most}")
}

/// Starts the broker, sends until the power goes, and counts what is there after a restart.
fn one(
    volume: &Volume,
    peer: &mut dyn Peer,
    data: &Path,
    sending: Duration,
) -> Result<Loss, String> {
    std::fs::create_dir(data).map_err(|error| format!("{}: {error}", data.display()))?;
    let mut server = Server(peer.start(data)?);
    volume.sync()?;
    let begun = Instant::now();
    let sent = thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            thread::sleep(sending + MARGIN);
            volume.cut(Cut::Hard)
        });
        let sent = peer.send(begun + sending);
        let cut = cutter.join().unwrap_or_else(|_| Err("the cut panicked".into()));
        cut.and(sent)
    });
    let took = begun.elapsed().min(sending);
    server.end();
    volume.unmount()?;
    volume.mount()?;
    let acknowledged = sent?;
    let mut server = Server(peer.start(data)?);
    let held = peer.held();
    server.end();
    Ok(Loss { acknowledged, lost: acknowledged.saturating_sub(held?), took })
}

/// A process that ends with its owner.
#[derive(Debug)]
struct Server(Child);

impl Server {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a server that is asked through `answers` until it does.
fn started(
    program: &str,
    arguments: &[String],
    mut answers: impl FnMut() -> Result<(), String>,
) -> Result<Child, String> {
    let mut command = Command::new(find_program(program).unwrap_or_else(|| program.into()));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let begun = Instant::now();
    loop {
        let Err(why) = answers() else { return Ok(child) };
        let ended = child.try_wait().map_err(|error| error.to_string())?;
        if begun.elapsed() > START_MAX || ended.is_some() {
            Server(child).end();
            return Err(format!("{program} does not answer: {why}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
