//! One file of a simulated disk: what programs see of it, and what is left of it without power.

use std::collections::BTreeMap;
use std::ops::Range;

use fastrand::Rng;

/// A file.
#[derive(Debug, Default)]
pub(super) struct Inode {
    /// What the page cache shows.
    pub(super) cache: Vec<u8>,
    /// What the disk holds.
    pub(super) disk: Vec<u8>,
    /// Writes that no sync has carried to the disk, in order.
    pending: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    at: usize,
    bytes: Vec<u8>,
}

/// Which of the writes a power cut leaves, drawn anew for each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// All before a place in the order of writing.
    Prefix,
    /// Each block for itself: any of its versions.
    AnyVersion,
    /// All but one block in so many.
    AllButOneIn(u32),
    /// One block in so many.
    OneIn(u32),
}

impl Survival {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..6) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Prefix,
            3 => Self::AllButOneIn(rng.u32(2..6)),
            4 => Self::OneIn(rng.u32(2..6)),
            _ => Self::AnyVersion,
        }
    }

    /// How many of a block's `versions` are there, the newest being the last.
    fn versions(self, versions: usize, rng: &mut Rng) -> usize {
        let all = |all: bool| if all { versions } else { 0 };
        match self {
            Self::Nothing => 0,
            Self::Everything | Self::Prefix => versions,
            Self::AnyVersion => rng.usize(0..=versions),
            Self::AllButOneIn(count) => all(rng.u32(0..count) > 0),
            Self::OneIn(count) => all(rng.u32(0..count) == 0),
        }
    }
}

impl Inode {
    /// A new file of zeros, none of them on the disk yet.
    pub(super) fn new(len: usize) -> Self {
        Self { cache: vec![0; len], ..Self::default() }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        // WHY: a write that fails or ends before its first byte touches no block, and so there is none
        // in which it could be torn.
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        put(&mut self.cache, at, bytes);
        self.pending.push(Write { at, bytes: bytes.to_vec() });
    }

    /// How many writes a sync that begins now is about.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether all that was written is on the disk.
    pub(super) fn is_synced(&self) -> bool {
        self.pending.is_empty() && self.disk.len() == self.cache.len()
    }

    /// Carries the first `count` writes to the disk.
    pub(super) fn sync(&mut self, count: usize) {
        self.disk.resize(self.cache.len(), 0);
        for write in self.pending.drain(..count.min(self.pending.len())) {
            put(&mut self.disk, write.at, &write.bytes);
        }
    }

    /// Marks the first `count` writes as carried out and loses some of their blocks. Returns how
    /// many.
    pub(super) fn fail_sync(&mut self, count: usize, block: usize, rng: &mut Rng) -> u64 {
        let rest = self.pending.split_off(count.min(self.pending.len()));
        self.disk.resize(self.cache.len(), 0);
        let lost = self.settle(Survival::AnyVersion, block, rng);
        self.pending = rest;
        lost
    }

    /// The power is cut: some of what was not synced is on the disk. Returns how many blocks are not
    /// as they were.
    pub(super) fn power_cut(&mut self, survival: Survival, block: usize, rng: &mut Rng) -> u64 {
        if self.disk.len() < self.cache.len() {
            let blocks = (self.cache.len() - self.disk.len()).div_ceil(block);
            let more = survival.versions(blocks, rng) * block;
            self.disk.resize((self.disk.len() + more).min(self.cache.len()), 0);
        }
        let lost = self.settle(survival, block, rng);
        self.cache.clone_from(&self.disk);
        lost
    }

    /// Flips a bit, on the disk and so in what is read of it.
    pub(super) fn flip(&mut self, bit: usize) {
        for bytes in [&mut self.cache, &mut self.disk] {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Programs see what the disk holds of all that is not about to be written.
    pub(super) fn evict(&mut self) {
        self.cache.clone_from(&self.disk);
        for write in &self.pending {
            let end = write.at + write.bytes.len();
            if self.cache.len() < end {
                self.cache.resize(end, 0);
            }
            put(&mut self.cache, write.at, &write.bytes);
        }
    }

    /// Empties `pending` and carries to the disk what survives of it.
    fn settle(&mut self, survival: Survival, block: usize, rng: &mut Rng) -> u64 {
        let mut pending = std::mem::take(&mut self.pending);
        let mut lost = 0;
        if matches!(survival, Survival::Prefix) && !pending.is_empty() {
            lost += cut_short(&mut pending, block, rng);
        }
        let mut versions: BTreeMap<usize, usize> = BTreeMap::new();
        for write in &pending {
            blocks(write, block).for_each(|number| *versions.entry(number).or_default() += 1);
        }
        for count in versions.values_mut() {
            let left = survival.versions(*count, rng);
            lost += u64::from(left < *count);
            *count = left;
        }
        for write in &pending {
            for number in blocks(write, block) {
                let Some(left) = versions.get_mut(&number).filter(|left| **left > 0) else {
                    continue;
                };
                *left -= 1;
                let (start, end) = (write.at, write.at + write.bytes.len());
                let from = start.max(number * block);
                let to = end.min((number + 1) * block).min(self.disk.len());
                let piece = write.bytes.get(from - start..to.max(from) - start);
                put(&mut self.disk, from, piece.unwrap_or_default());
            }
        }
        lost
    }
}

/// Leaves a prefix of the writes, the last one torn at the end of a block.
fn cut_short(pending: &mut Vec<Write>, block: usize, rng: &mut Rng) -> u64 {
    let all: usize = pending.iter().map(|write| blocks(write, block).len()).sum();
    let kept = rng.usize(0..=pending.len());
    let torn = pending.drain(kept..).next();
    if let Some(mut torn) = torn {
        let first_end = (torn.at / block + 1) * block - torn.at;
        let more = rng.usize(0..blocks(&torn, block).len()) * block;
        let len = if more == 0 { 0 } else { first_end + more - block };
        torn.bytes.truncate(len);
        pending.push(torn);
    }
    let left: usize = pending.iter().map(|write| blocks(write, block).len()).sum();
    (all - left.min(all)) as u64
}

/// The numbers of the blocks a write touches.
fn blocks(write: &Write, block: usize) -> Range<usize> {
    write.at / block..(write.at + write.bytes.len()).div_ceil(block)
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = into.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Inode {
        let mut inode = Inode::new(2_048);
        inode.sync(0);
        inode.write(0, &[1; 700]);
        inode
    }

    #[test]
    fn a_power_cut_leaves_any_version_of_each_block() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let mut inode = written();
            inode.power_cut(Survival::AnyVersion, 512, &mut Rng::with_seed(seed));
            assert_eq!(inode.cache, inode.disk);
            seen.insert((inode.disk[0], inode.disk[511], inode.disk[512], inode.disk[700]));
        }
        let expected = [(0, 0, 0, 0), (0, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, 0)];
        assert_eq!(seen, expected.into());
    }

    #[test]
    fn a_failed_sync_shows_in_the_cache_what_the_disk_does_not_hold() {
        let mut rng = Rng::with_seed(0);
        let differs = (0..20).any(|_| {
            let mut inode = written();
            inode.fail_sync(1, 512, &mut rng);
            assert!(inode.is_synced() && inode.cache[699] == 1);
            inode.sync(inode.pending());
            inode.disk != inode.cache
        });
        assert!(differs);
    }

    #[test]
    fn a_sync_is_not_about_what_is_written_while_it_runs() {
        let mut inode = written();
        let count = inode.pending();
        inode.write(1_024, &[2; 10]);
        inode.sync(count);
        inode.power_cut(Survival::Nothing, 512, &mut Rng::with_seed(1));
        assert_eq!((inode.disk[699], inode.disk[1_024]), (1, 0));
    }

    #[test]
    fn a_write_of_nothing_is_none() {
        for seed in 0..20 {
            let mut inode = written();
            inode.sync(1);
            inode.write(512, &[]);
            assert!(inode.is_synced());
            inode.power_cut(Survival::Prefix, 512, &mut Rng::with_seed(seed));
            assert_eq!((inode.disk[699], inode.disk[700]), (1, 0));
        }
    }

    #[test]
    fn a_file_that_was_never_synced_may_be_empty() {
        let mut inode = Inode::new(4_096);
        inode.power_cut(Survival::Nothing, 512, &mut Rng::with_seed(1));
        assert_eq!(inode.cache.len(), 0);
    }
}
