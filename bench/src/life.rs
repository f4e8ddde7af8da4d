//! The full life of tasks on a queue: sent, received, completed.

use std::sync::Arc;
use std::time::Instant;

use tidegate_cli::bench::sample::{Latencies, Load, Quota, Sample, Stopwatch};
use tokio::task::JoinSet;

use crate::peer::{Client, Peer, Result};
use tidegate_conformance::services::family;

/// What was found, the server's part included.
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    /// Processor time of the server's processes for each task.
    pub(crate) server_us_per_task: f64,
}

/// Measures `load` on a queue that is empty.
pub(crate) async fn measure(peer: &dyn Peer, load: Load) -> Result<Measured> {
    let mut clients = Vec::new();
    for number in 0..load.clients {
        clients.push(peer.client(number).await?);
    }
    let quota = Arc::new(Quota::new(load.tasks));
    let epoch = Instant::now();
    let server_before = peer.server().map_or(0, ticks);
    let stopwatch = Stopwatch::start();
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(live(client, quota.clone(), load, epoch));
    }
    let (mut tasks, mut latencies) = (0, Latencies::default());
    while let Some(done) = running.join_next().await {
        let (count, measured) = done??;
        tasks += count;
        latencies.extend(measured);
    }
    let sample = stopwatch.stop(tasks, latencies);
    let server = peer.server().map_or(0, ticks) - server_before;
    let tick_us = 1e6 / rustix::param::clock_ticks_per_second() as f64;
    Ok(Measured { sample, server_us_per_task: server as f64 * tick_us / tasks.max(1) as f64 })
}

async fn live(
    mut client: Box<dyn Client>,
    quota: Arc<Quota>,
    load: Load,
    epoch: Instant,
) -> Result<(u64, Latencies)> {
    let mut latencies = Latencies::default();
    let mut done = 0;
    loop {
        let tasks = quota.take(load.batch);
        if tasks == 0 {
            return Ok((done, latencies));
        }
        let sent_at = epoch.elapsed().as_nanos() as u64;
        let payload = stamped(sent_at, load.payload);
        client.send(&vec![payload; tasks]).await?;
        latencies.enqueue.push(epoch.elapsed().as_nanos() as u64 - sent_at);
        let mut left = tasks;
        while left > 0 {
            let payloads = client.receive(left).await?;
            let now = epoch.elapsed().as_nanos() as u64;
            left =
                left.checked_sub(payloads.len()).ok_or("it handed out more than was asked for")?;
            latencies.pickup.extend(payloads.iter().filter_map(|payload| {
                let sent_at = u64::from_str_radix(stamp(payload)?, 16).ok()?;
                Some(now.saturating_sub(sent_at))
            }));
            if payloads.is_empty() {
                tokio::task::yield_now().await;
            } else {
                client.complete().await?;
            }
        }
        done += tasks as u64;
    }
}

const STAMP_BYTES: usize = 16;

/// A payload of text that begins with the time.
fn stamped(nanos: u64, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{nanos:016x}").into_bytes();
    payload.resize(bytes.max(STAMP_BYTES), b'x');
    payload
}

fn stamp(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload.get(..STAMP_BYTES)?).ok()
}

/// Processor time of a process and those it started, in the kernel's ticks.
fn ticks(process: u32) -> u64 {
    family(process).into_iter().filter_map(ticks_of).sum()
}

fn ticks_of(process: u32) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // WHY: the name before it may hold anything, and ends with the last parenthesis.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_when_it_was_sent() {
        let payload = stamped(77, 256);
        assert_eq!(payload.len(), 256);
        assert_eq!(u64::from_str_radix(stamp(&payload).unwrap(), 16), Ok(77));
    }

    #[test]
    fn this_process_has_used_the_processor() {
        assert!(ticks_of(std::process::id()).is_some());
        assert!(family(std::process::id()).contains(&std::process::id()));
    }
}
