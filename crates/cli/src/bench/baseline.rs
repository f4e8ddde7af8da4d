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
pub async fn measure(dir: &Path, durability: Durability, load: Load) -> io::Result<Sample> {
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
    let payload = vec![7; load.payload];
    let mut done = 0;
    loop {
        let tasks = quota.take(load.batch);
        if tasks == 0 {
            return Ok(done);
        }
        let place = log.append(&enqueued(&payload, tasks)).await?;
        log.append_relaxed(&vec![7; LEASED_BYTES.0 + LEASED_BYTES.1 * tasks])?;
        for payload in payloads(&log.read(place)?, load.payload) {
            std::hint::black_box(payload);
        }
        log.append(&vec![7; COMPLETED_BYTES.0 + COMPLETED_BYTES.1 * tasks]).await?;
        done += tasks as u64;
    }
}

/// The records of a batch: each task's has a head with a check sum of its own, as the engine's has.
fn enqueued(payload: &[u8], tasks: usize) -> Vec<u8> {
    let (frame, head) = ENQUEUED_BYTES;
    let mut bytes = vec![7; frame];
    bytes.reserve((head + payload.len()) * tasks);
    for _ in 0..tasks {
        let start = bytes.len();
        bytes.resize(start + head - 4, 7);
        bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// What a batch's receiver gets: each task's payload as its own.
fn payloads(batch: &[u8], payload: usize) -> impl Iterator<Item = Vec<u8>> {
    let (frame, head) = ENQUEUED_BYTES;
    let records = batch.get(frame..).unwrap_or_default().chunks_exact(head + payload);
    records.filter_map(move |record| record.get(head..)).map(<[u8]>::to_vec)
}
