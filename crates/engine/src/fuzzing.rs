//! What the fuzz targets see of the engine: its readers of bytes, without a disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::ErrorKind;

use crate::disk::{Disk, DiskFile, DiskLock, Zeros};
use crate::log::segment::segment_path;
use crate::log::{frame, record, recovery};
use crate::position::Position;
use crate::state::State;

/// A frame that was found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub lsn: u64,
    /// The newest frame that was known to be synced when it was written.
    pub synced_up_to: u64,
    /// Its records.
    pub body: Vec<u8>,
}

/// Reads the frame at the start of `bytes`, if there is a sound one, in a segment with this salt.
pub fn read_frame(bytes: &[u8], salt: u32) -> Option<Frame> {
    let (header, body) = frame::read(bytes, salt).ok()?;
    let (lsn, synced_up_to) = (header.lsn, header.synced_up_to);
    Some(Frame { lsn, synced_up_to, body: body.to_vec() })
}

/// How many records a frame's body holds, and whether all of it could be read.
pub fn read_records(body: &[u8]) -> (usize, bool) {
    let records: Vec<_> = record::read(body, Position::START).collect();
    (records.iter().flatten().count(), records.iter().all(Option::is_some))
}

/// What an open makes of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The number of the next frame.
    pub next_lsn: u64,
    /// Where the log ends: the segment and the place in it.
    pub end: (u32, u32),
    /// The frames that are named as gone: from, and up to but not including.
    pub damage: Vec<(u64, u64)>,
}

/// Reads a log that consists of these segments, by their numbers. `None` if there is no log.
///
/// # Errors
/// The kind of error with which an open would be refused.
pub fn recover(segments: Vec<(u32, Vec<u8>)>) -> Result<Option<Recovered>, ErrorKind> {
    let disk: Arc<dyn Disk> = Arc::new(Image { segments });
    let read = recovery::recover(&disk, Path::new(""), &mut State::new());
    let recovered = read.map_err(|error| error.kind())?;
    Ok(recovered.map(|found| Recovered {
        next_lsn: found.next_lsn,
        end: (found.end.segment(), found.end.offset()),
        damage: found.damage.iter().map(|damage| (damage.from_lsn, damage.to_lsn)).collect(),
    }))
}

/// Segments that can only be read.
#[derive(Debug)]
struct Image {
    segments: Vec<(u32, Vec<u8>)>,
}

impl Image {
    fn name(id: u32) -> String {
        segment_path(Path::new(""), id).to_string_lossy().into_owned()
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Image {
    fn make_dir(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, _path: &Path) -> io::Result<Vec<String>> {
        Ok(self.segments.iter().map(|(id, _)| Self::name(*id)).collect())
    }

    fn create(&self, _path: &Path, _len: u64, _zeros: Zeros) -> io::Result<Arc<dyn DiskFile>> {
        refused()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let found = self.segments.iter().find(|(id, _)| Path::new(&Self::name(*id)) == path);
        let bytes = found.map(|(_, bytes)| bytes.clone()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(ImageFile(bytes)))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _path: &Path, _holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        refused()
    }
}

#[derive(Debug)]
struct ImageFile(Vec<u8>);

impl DiskFile for ImageFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = self.0.get(from..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
