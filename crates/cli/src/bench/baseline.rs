//! The full life of a task on the bare log: two durable frames, and a lease in between.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegate::Durability;
use tokio::task::JoinSet;

use super::bare_log::BareLog;
use super::sample::{Latencies, Load, Quota, Sample, Stopwatch};

/// Bytes that the engine writes beside a payload when a task is enqueued, per frame and per task.
const ENQUEUED_BYTES: (usize, usize) = (9, 53);
/// The same for a lease.
const LEASED_BYTES: (usize, usize) = (14, 12);
/// The same for a completion.
const COMPLETED_BYTES: (usize, usize) = (0, 14);

/// Measures `load` on a new bare log in `dir`.
pub(super) async fn measure(dir: &Path, durability: Durability, load: Load) -> io::Result<Sample> {
    let log = Arc::new(BareLog::create(dir, durability)?);
    let quota = Arc::new(Quota::new(load.tasks));
    let stopwatch = Stopwatch::start();
    let mut clients = JoinSet::new();
    for _ in 0..load.clients {
        clients.spawn(client(log.clone(), quota.clone(), load));
    }
    let mut tasks = 0;
    while let Some(done) = clients.join_next().await {
        tasks += done.map_err(io::Error::other)??;
    }
    Ok(stopwatch.stop(tasks, Latencies::default()))
}

async fn client(log: Arc<BareLog>, quota: Arc<Quota>, load: Load) -> io::Result<u64> {
    let mut done = 0;
    loop {
        let tasks = quota.take(load.batch);
        if tasks == 0 {
            return Ok(done);
        }
        let bytes = |(frame, task): (usize, usize)| vec![7; frame + task * tasks];
        let mut enqueued = bytes(ENQUEUED_BYTES);
        enqueued.resize(enqueued.len() + load.payload * tasks, 7);
        let place = log.append(&enqueued).await?;
        log.append_relaxed(&bytes(LEASED_BYTES))?;
        std::hint::black_box(log.read(place)?);
        log.append(&bytes(COMPLETED_BYTES)).await?;
        done += tasks as u64;
    }
}
