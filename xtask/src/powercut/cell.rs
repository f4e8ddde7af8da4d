//! One cell of the table: one file system, one way of cutting, many cuts.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::phase::Phase;
use crate::kills::wait_for_lines;
use crate::volume::{Cut, FileSystem, Volume};
use crate::workload::{DurabilityArg, Rig, Tally, now_us};

/// Cuts of a run, at most. Fewer than a task has attempts.
const CUTS_MAX: u64 = 4;
/// Lines of a journal after which the power goes, at most.
const LINES_MAX: u64 = 1_500;
/// One cut in so many falls before the process has begun to work.
const OPENING_IN: u64 = 4;
/// Bytes of a segment: the smallest, so that rotation and cleaning are frequent.
const SEGMENT_BYTES: u32 = 16 << 10;

/// What the cuts showed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) cuts: u64,
    pub(super) phases: BTreeMap<Phase, u64>,
    pub(super) tally: Tally,
}

/// Works and cuts until there were `cuts`.
pub(super) fn run(
    dir: &Path,
    file_system: FileSystem,
    how: Cut,
    cuts: u64,
    seed: u64,
) -> Result<Shown, String> {
    let name = format!("{file_system}-{how}").replace(' ', "-").to_lowercase();
    let volume = Volume::new(dir, &name, file_system)?;
    let mut rng = Rng::with_seed(seed);
    let mut shown = Shown::default();
    while shown.cuts < cuts {
        let number = shown.tally.runs;
        let journals = dir.join(format!("{name}-run-{number}"));
        let rig = Rig::new(&journals, seed + number, DurabilityArg::Always, SEGMENT_BYTES)?;
        let mut rig = rig.with_data(volume.point().join(format!("run-{number}")));
        let mut worked = Ok(());
        for _ in 0..CUTS_MAX.min(cuts - shown.cuts) {
            worked = one(&volume, how, &mut rig, &mut rng, &mut shown);
            if worked.is_err() {
                break;
            }
        }
        let has_failed = worked.is_err();
        let judged = worked.and_then(|()| rig.drained()).map(|()| rig.judged());
        let sound = shown.tally.unsound_runs();
        shown.tally.add(&format!("run {number} on {file_system} ({how})"), &rig, judged);
        if shown.tally.unsound_runs() > sound {
            // WHY: the data lies on the volume, which goes.
            rig.keep_data()?;
        }
        rig.remove_data();
        if has_failed {
            // WHY: what cannot be cut or mounted will not be the next time either.
            break;
        }
    }
    Ok(shown)
}

/// Starts a process, cuts the power under it, and mounts the file system again.
fn one(
    volume: &Volume,
    how: Cut,
    rig: &mut Rig,
    rng: &mut Rng,
    shown: &mut Shown,
) -> Result<(), String> {
    let mut child = rig.load().map_err(|error| error.to_string())?;
    let (lines, pause) = if rng.u64(0..OPENING_IN) == 0 {
        (0, Duration::from_micros(rng.u64(0..40_000)))
    } else {
        (rng.u64(1..LINES_MAX), Duration::from_micros(rng.u64(0..3_000)))
    };
    let reached = wait_for_lines(&mut child, &rig.journal(), lines);
    thread::sleep(pause);
    let phase = Phase::of(child.id(), rig.data(), &rig.journal());
    let cut = volume.cut(how);
    // WHY: the process lives on after the cut; what it hands out until here it may have handed out.
    let killed_us = now_us();
    child.kill().map_err(|error| error.to_string())?;
    let status = child.wait().map_err(|error| error.to_string())?;
    let ended_us = now_us();
    volume.unmount()?;
    volume.mount()?;
    cut?;
    if !reached? {
        return Err(format!("a process ended by itself before the cut ({status})"));
    }
    shown.cuts += 1;
    *shown.phases.entry(phase).or_default() += 1;
    rig.ended(killed_us, ended_us)
}
