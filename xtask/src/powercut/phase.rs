//! What a process was doing when the power went, as its threads' system calls tell.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use crate::crashpoints::{Call, Kind};

/// From what is rarest to what is most common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It had not begun to work: the log was being read and prepared.
    Opening,
    /// A new segment was being begun.
    Rotation,
    /// The oldest segment was being copied or made a spare.
    Cleaning,
    /// A file of zeros was being made.
    Spare,
    /// Frames were being written or synced.
    Append,
    /// No thread was in a call that changes the disk.
    Between,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "opening",
            Self::Rotation => "rotation",
            Self::Cleaning => "cleaning",
            Self::Spare => "making a spare",
            Self::Append => "append",
            Self::Between => "between calls",
        })
    }
}

impl Phase {
    /// Looks at a process that works on `data` and that has begun to work if its journal is there.
    pub(super) fn of(process: u32, data: &Path, journal: &Path) -> Self {
        if fs::metadata(journal).map_or(0, |journal| journal.len()) == 0 {
            return Self::Opening;
        }
        let threads = fs::read_dir(format!("/proc/{process}/task"));
        let threads = threads.into_iter().flatten().flatten();
        let numbers = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        let phases = numbers.filter_map(|thread: i32| of_thread(process, thread, data));
        phases.min().unwrap_or(Self::Between)
    }
}

fn of_thread(process: u32, thread: i32, data: &Path) -> Option<Phase> {
    let pid = Pid::from_raw(process.cast_signed());
    let call = Call::of(pid, Pid::from_raw(thread), data).ok()??;
    let name = fs::read_to_string(format!("/proc/{process}/task/{thread}/comm")).ok()?;
    let is_janitor = name.starts_with("tidegate-janito");
    Some(match (call.kind(), is_janitor) {
        (Kind::Spare, true) if call.name != "rename" => Phase::Spare,
        (_, true) => Phase::Cleaning,
        (Kind::Directory | Kind::Spare, false) => Phase::Rotation,
        (Kind::Segment | Kind::Lock | Kind::Other, false) => Phase::Append,
    })
}
