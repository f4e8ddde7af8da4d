//! Files that wait to become segments: written with zeros, or used before. They are also the
//! reserve with which acknowledgements and deletes go on when the disk is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{Segment, SegmentHeader, segment_path, spare_path};
use crate::disk::{Disk, DiskFile, Zeros};

/// Smallest and largest segment. Small ones keep a small queue small; large ones make rotation rare.
pub(crate) const SEGMENT_BYTES_MIN: u32 = 4 << 20;
/// Largest segment unless one frame needs more.
pub(crate) const SEGMENT_BYTES_MAX: u32 = 64 << 20;

/// The spare files.
#[derive(Debug)]
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Vec<Spare>,
    next_number: u64,
    /// Whether the directory's entries are made durable at once.
    synced: bool,
    /// Bytes of the next file that is made.
    segment_bytes: u32,
    /// Whether the disk had no room for another file when it was last asked.
    pub(crate) disk_full: bool,
    /// Why the directory's entries may not be durable. A later sync that succeeds proves nothing.
    failure: Option<String>,
}

#[derive(Debug)]
struct Spare {
    number: u64,
    file: Arc<dyn DiskFile>,
    size: u32,
}

impl Spares {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, segment_bytes: u32, synced: bool) -> Self {
        Self {
            disk,
            dir,
            files: Vec::new(),
            next_number: 1,
            synced,
            segment_bytes,
            disk_full: false,
            failure: None,
        }
    }

    /// Bytes of all spares.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|spare| u64::from(spare.size)).sum()
    }

    pub(crate) fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    pub(crate) fn set_segment_bytes(&mut self, bytes: u32) {
        self.segment_bytes = bytes;
    }

    /// A name for a file that is made elsewhere.
    pub(crate) fn next_path(&mut self) -> (u64, PathBuf) {
        let number = self.next_number;
        self.next_number += 1;
        (number, spare_path(&self.dir, number))
    }

    /// Adds a file that lies under the path of its number.
    pub(crate) fn add(&mut self, number: u64, file: Arc<dyn DiskFile>, size: u32) {
        self.next_number = self.next_number.max(number + 1);
        self.files.push(Spare { number, file, size });
    }

    /// Takes a file off the list, for it to be removed.
    pub(crate) fn take_extra(&mut self) -> Option<PathBuf> {
        let spare = self.files.pop()?;
        Some(spare_path(&self.dir, spare.number))
    }

    /// Makes a spare a segment with at least `needed` bytes. Its header is not written yet. Makes
    /// a new file where no spare is large enough.
    pub(crate) fn take_segment(
        &mut self,
        header: SegmentHeader,
        needed: u64,
    ) -> io::Result<Arc<Segment>> {
        // WHY: the largest, so that segments end less often.
        let largest = self.files.iter().enumerate().max_by_key(|(_, spare)| spare.size);
        let fitting = largest.filter(|(_, spare)| u64::from(spare.size) >= needed);
        let spare = match fitting.map(|(place, _)| place) {
            Some(place) => self.files.swap_remove(place),
            None => self.make(needed)?,
        };
        let to = segment_path(&self.dir, header.id);
        self.disk.rename(&spare_path(&self.dir, spare.number), &to)?;
        self.sync_dir()?;
        let Spare { number: _, file, size } = spare;
        Ok(Arc::new(Segment { id: header.id, file, size, salt: header.salt() }))
    }

    /// Makes the directory's entries durable.
    pub(crate) fn sync_dir(&mut self) -> io::Result<()> {
        let synced = if self.synced { self.disk.sync_dir(&self.dir) } else { Ok(()) };
        synced.inspect_err(|error| {
            self.failure = Some(format!("syncing the log's directory: {error}"));
        })
    }

    /// Why the log is to be poisoned, if it is.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Makes one more spare here and now.
    pub(crate) fn make_one(&mut self) -> io::Result<()> {
        let spare = self.make(0)?;
        self.files.push(spare);
        Ok(())
    }

    fn make(&mut self, needed: u64) -> io::Result<Spare> {
        let size = u64::from(self.segment_bytes).max(needed);
        let size = u32::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let (number, path) = self.next_path();
        let made = make_file(&*self.disk, &path, u64::from(size), self.synced);
        match made {
            Ok(file) => Ok(Spare { number, file, size }),
            Err(error) => {
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

/// Makes a file of zeros, durable if the log is.
pub(crate) fn make_file(
    disk: &dyn Disk,
    path: &Path,
    len: u64,
    synced: bool,
) -> io::Result<Arc<dyn DiskFile>> {
    let zeros = if synced { Zeros::Written } else { Zeros::Promised };
    let file = disk.create(path, len, zeros)?;
    if synced {
        file.sync()?;
    }
    Ok(file)
}
