//! What may go wrong with a simulated disk, and how often it did.

/// How a process ends that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process dies, the machine goes on: all that was written is there.
    Kill,
    /// The machine loses its power: what was not synced is there, or not, block by block.
    PowerCut,
}

/// How often calls fail, each in parts of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Syncs of files that fail. Their pages are marked clean, and each block of them is on the
    /// disk or is not; the next sync of the file is `Ok`.
    pub syncs_failing: u32,
    /// Syncs, of files and directories, that say `Ok` and do nothing.
    pub syncs_lying: u32,
    /// Calls of every kind but syncs of files that fail with an input/output error.
    pub errors: u32,
    /// Writes and new files that find the disk full.
    pub full: u32,
}

/// What happened on a machine so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of the disk.
    pub calls: u64,
    /// Writes to files.
    pub writes: u64,
    /// Syncs of files and directories that did what they said.
    pub syncs: u64,
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Syncs that lied.
    pub syncs_lied: u64,
    /// Calls that failed otherwise.
    pub errors: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Those of the kills and cuts that fell into an open.
    pub ended_in_open: u64,
    /// Blocks with unsynced writes that a power cut took back, wholly or in part.
    pub blocks_lost: u64,
    /// Directory entries that a power cut took back.
    pub entries_lost: u64,
    /// Spares that became segments.
    pub rotations: u64,
    /// Segments that were cleaned and became spares.
    pub cleaned: u64,
    /// Bits that were flipped in frames that were synced.
    pub bits_flipped: u64,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        let Self {
            calls,
            writes,
            syncs,
            syncs_failed,
            syncs_lied,
            errors,
            kills,
            power_cuts,
            ended_in_open,
            blocks_lost,
            entries_lost,
            rotations,
            cleaned,
            bits_flipped,
        } = other;
        self.calls += calls;
        self.writes += writes;
        self.syncs += syncs;
        self.syncs_failed += syncs_failed;
        self.syncs_lied += syncs_lied;
        self.errors += errors;
        self.kills += kills;
        self.power_cuts += power_cuts;
        self.ended_in_open += ended_in_open;
        self.blocks_lost += blocks_lost;
        self.entries_lost += entries_lost;
        self.rotations += rotations;
        self.cleaned += cleaned;
        self.bits_flipped += bits_flipped;
    }
}
