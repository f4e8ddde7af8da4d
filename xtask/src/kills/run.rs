//! One run: one directory, and several kills.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::workload::{Rig, now_us};

/// Kills of a run, at least and at most. Fewer than a task has attempts.
pub(super) const KILLS: std::ops::RangeInclusive<u64> = 2..=4;
/// Lines of a journal after which its process is killed, at most.
const LINES_MAX: u64 = 4_000;
/// A process that writes nothing for this long is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Works and kills, as often as `seed` says, and completes what is left. Tells how many kills.
pub(crate) fn run(rig: &mut Rig, seed: u64) -> (u64, Result<(), String>) {
    let mut rng = Rng::with_seed(seed);
    let kills = rng.u64(KILLS);
    let mut worked = Ok(());
    for _ in 0..kills {
        let round = rig.round();
        worked = killed(rig, &mut rng).map_err(|why| format!("round {round}: {why}"));
        if worked.is_err() {
            break;
        }
    }
    (kills, worked.and_then(|()| rig.drained()))
}

/// Starts a process, kills it when its journal is long enough, and reads the journal.
fn killed(rig: &mut Rig, rng: &mut Rng) -> Result<(), String> {
    let mut child = rig.load().map_err(|error| error.to_string())?;
    // WHY: none at all one time in eight, to hit the opening of the directory as well.
    let lines = if rng.u8(0..8) == 0 { 0 } else { rng.u64(1..LINES_MAX) };
    let reached = wait_for_lines(&mut child, &rig.journal(), lines);
    let killed_us = now_us();
    child.kill().map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    let ended_us = now_us();
    if reached? {
        return rig.ended(killed_us, ended_us);
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).map_err(|error| error.to_string())?;
    }
    Err(format!("a process ended by itself ({status}): {}", said.trim()))
}

/// Returns when the journal has this many lines: `true`; or when its process has ended: `false`.
pub(crate) fn wait_for_lines(
    child: &mut Child,
    journal: &Path,
    lines: u64,
) -> Result<bool, String> {
    let (mut seen, mut last, mut file) = (0, Instant::now(), None);
    let mut bytes = vec![0; 64 << 10];
    while seen < lines {
        if file.is_none() {
            file = fs::File::open(journal).ok();
        }
        let read = file.as_mut().map_or(Ok(0), |file| file.read(&mut bytes));
        let read = read.map_err(|error| error.to_string())?;
        seen += bytes.iter().take(read).filter(|byte| **byte == b'\n').count() as u64;
        if read > 0 {
            last = Instant::now();
            continue;
        }
        if child.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Ok(false);
        }
        if last.elapsed() > STUCK {
            return Err(format!("a process wrote nothing for {STUCK:?} and was killed"));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(true)
}
