//! The floor of an idle pick-up: one sync of a small write, and two wakes of another thread.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use tidegate::Durability;

use super::sample::{Latencies, Load, Sample, Stopwatch, percentile_us};

/// Bytes of the file, written with zeros before.
const FILE_BYTES: usize = 4 << 20;
/// Bytes of a record beside its payload, about.
const RECORD_BYTES: usize = 100;

/// Measures the floor on the disk of `dir`: its rate is that of one pick-up after the other.
pub(super) fn measure(dir: &Path, durability: Durability, load: Load) -> io::Result<Sample> {
    let stopwatch = Stopwatch::start();
    let mut syncs = syncs(dir, durability, load)?;
    let mut wakes = round_trips(load)?;
    let floor_us = percentile_us(&mut syncs, 50.0) + percentile_us(&mut wakes, 50.0);
    let sample = stopwatch.stop(load.tasks, Latencies::default());
    Ok(Sample { tasks_per_second: 1e6 / floor_us, ..sample })
}

/// How long a write takes, with its sync if the log is synced.
fn syncs(dir: &Path, durability: Durability, load: Load) -> io::Result<Vec<u64>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(dir.join("sync"))?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let record = vec![7; load.payload + RECORD_BYTES];
    let mut times = Vec::new();
    for number in 0..load.tasks as usize {
        std::thread::park_timeout(load.pause);
        let at = number * record.len() % (FILE_BYTES - record.len());
        let started = Instant::now();
        file.write_all_at(&record, at as u64)?;
        if durability == Durability::Always {
            file.sync_data()?;
        }
        times.push(started.elapsed().as_nanos() as u64);
    }
    Ok(times)
}

/// How long it takes to wake a thread that waits, and to be woken by it, after a rest: a processor that has
/// rested takes longer to wake than one that has not.
fn round_trips(load: Load) -> io::Result<Vec<u64>> {
    let (there, arrived) = sync_channel::<()>(1);
    let (back, returned) = sync_channel::<()>(1);
    let echo = std::thread::Builder::new()
        .spawn(move || arrived.iter().all(|()| back.send(()).is_ok()))?;
    let mut times = Vec::new();
    for _ in 0..load.tasks {
        std::thread::park_timeout(load.pause);
        let started = Instant::now();
        there.send(()).map_err(io::Error::other)?;
        returned.recv().map_err(io::Error::other)?;
        times.push(started.elapsed().as_nanos() as u64);
    }
    drop(there);
    // An echo that panicked has said so.
    let _ = echo.join();
    Ok(times)
}
