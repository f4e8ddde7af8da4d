//! One kill: a new directory, the script up to the call, the opens that are killed too, and the
//! judgement.

use std::path::Path;

use super::calls::Call;
use super::tracer::{Point, Traced, trace};
use crate::workload::{DurabilityArg, Rig, now_us};

/// Bytes of a segment: the smallest, so that a short script fills and cleans many.
const SEGMENT_BYTES: u32 = 16 << 10;
/// What the script does. The same for all, or a call could not be found again.
const SEED: u64 = 7;
/// How often a call is looked for: the engine's own threads do not take turns in exactly the same
/// way every time.
const TRIES: u64 = 4;

/// What a kill showed, for those who count.
pub(super) trait Witness {
    /// A kill before `call`, or in the middle of it, of the script or of an open.
    fn killed(&mut self, point: &Point, call: &Call, in_open: bool);
    /// The history that ends with everything drained.
    fn judge(&mut self, what: &str, rig: &Rig, worked: Result<(), String>);
}

/// A run of the script without a kill, which tells what calls there are.
pub(super) fn reference(dir: &Path) -> Result<Traced, String> {
    let rig = Rig::new(&dir.join("reference"), SEED, DurabilityArg::Always, SEGMENT_BYTES)?;
    let traced = trace(rig.script().map_err(|error| error.to_string())?, rig.data(), None)?;
    rig.remove();
    if traced.succeeded { Ok(traced) } else { Err(format!("the script failed: {}", traced.status)) }
}

/// Kills the script at one call. With `with_opens`, the opens that follow are killed at every call
/// too, each on a copy. Tells whether the call was reached.
pub(super) fn one(
    dir: &Path,
    point: &Point,
    with_opens: bool,
    witness: &mut impl Witness,
) -> Result<bool, String> {
    let what = name(point);
    for _ in 0..TRIES {
        let mut rig = Rig::new(&dir.join(&what), SEED, DurabilityArg::Always, SEGMENT_BYTES)?;
        let traced = followed(&mut rig, Rig::script, Some(point))?;
        let Some(call) = &traced.killed_at else {
            rig.remove();
            continue;
        };
        witness.killed(point, call, false);
        if with_opens {
            opens(&rig, &what, witness)?;
        }
        let worked = rig.drained();
        witness.judge(&format!("kill at {what} ({call})"), &rig, worked);
        return Ok(true);
    }
    Ok(false)
}

/// Opens copies of the directory, one killed at each call of an open, and one not killed.
fn opens(rig: &Rig, what: &str, witness: &mut impl Witness) -> Result<(), String> {
    let copy = |name: &str| rig.copied(&rig.dir.with_extension(name));
    let mut whole = copy("open")?;
    let traced = followed(&mut whole, Rig::open, None)?;
    let worked = whole.drained();
    witness.judge(&format!("kill at {what}, then an open without a close"), &whole, worked);
    let torn = |(point, call): &(Point, Call)| {
        call.can_be_torn().then(|| (Point { torn: true, ..point.clone() }, call.clone()))
    };
    let halves = traced.calls.iter().filter_map(torn).collect::<Vec<_>>();
    for (point, call) in traced.calls.iter().chain(&halves) {
        let mut rig = copy(&format!("open-{}", name(point)))?;
        let again = followed(&mut rig, Rig::open, Some(point))?;
        if again.killed_at.is_some() {
            witness.killed(point, call, true);
        }
        let worked = rig.drained();
        let open = format!("kill at {what}, then of an open at {} ({call})", name(point));
        witness.judge(&open, &rig, worked);
    }
    Ok(())
}

/// Runs a process on the rig, killed at `stop`, and takes its journal into the history.
fn followed(
    rig: &mut Rig,
    process: fn(&Rig) -> std::io::Result<std::process::Command>,
    stop: Option<&Point>,
) -> Result<Traced, String> {
    let command = process(rig).map_err(|error| error.to_string())?;
    let traced = trace(command, rig.data(), stop)?;
    if traced.killed_at.is_none() && !traced.succeeded {
        let dir = rig.dir.display();
        return Err(format!("a process that was not killed failed ({}) in {dir}", traced.status));
    }
    let ended_us = now_us();
    rig.ended(traced.killed_us.unwrap_or(ended_us), ended_us)?;
    Ok(traced)
}

/// The point as a part of a file's name.
fn name(point: &Point) -> String {
    let Point { thread, number, torn } = point;
    format!("{thread}-{number}{}", if *torn { "-torn" } else { "" })
}
