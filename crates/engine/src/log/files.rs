//! Opening the files that are named as segments, and telling what log they are of.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::{Error, ErrorKind, Operation};

use super::segment::{
    FORMAT_VERSION, FRAMES_START, HeaderRead, Segment, SegmentHeader, segment_id, segment_path,
};
use super::window::Window;
use crate::disk::{Disk, DiskFile};

/// The segments of a log, in order, with its id.
type OpenedLog = ([u8; 16], Vec<Arc<Segment>>);

/// Opens every segment in `dir`. `None` if there is no log yet.
pub(super) fn open_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Option<OpenedLog>, Error> {
    let read = |error| failed("read the log in", dir, error);
    let names = disk.list(dir).map_err(read)?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let mut opened = Vec::with_capacity(ids.len());
    for id in ids {
        opened.push(open_segment(disk, dir, id)?);
    }
    let sound = opened.iter().find_map(|file| file.header.map(|header| header.log));
    let log = match sound {
        Some(log) => Some(log),
        None => log_of_damaged(dir, &opened)?,
    };
    let Some(log) = log else { return Ok(None) };
    let with_salt = |OpenedFile { id, file, size, .. }| {
        // WHY: the salt is known without the header, so a damaged header costs nothing else.
        Arc::new(Segment { id, file, size, salt: SegmentHeader { log, id }.salt() })
    };
    Ok(Some((log, opened.into_iter().map(with_salt).collect())))
}

/// A file named as a segment, before it is known what log it is of.
#[derive(Debug)]
struct OpenedFile {
    id: u32,
    file: Arc<dyn DiskFile>,
    size: u32,
    /// `None` if the header is damaged beyond mending or blank, or is that of the file's former life.
    header: Option<SegmentHeader>,
    /// The header, if it is damaged beyond mending.
    damaged: Option<SegmentHeader>,
}

/// The log that a damaged header tells, where no header is sound and its first frame agrees. `None`
/// if nothing follows any header: it was torn when the log began.
fn log_of_damaged(dir: &Path, files: &[OpenedFile]) -> Result<Option<[u8; 16]>, Error> {
    let mut unreadable = None;
    for OpenedFile { id, file, size, header: _, damaged } in files {
        let Some(header) = damaged else { continue };
        let (id, file, size) = (*id, file.clone(), *size);
        let segment = Segment { id, file, size, salt: header.salt() };
        let mut window = Window::new(&segment);
        if window.frame(FRAMES_START as usize)?.is_some() {
            return Ok(Some(header.log));
        }
        if !window.is_blank(FRAMES_START as usize)? {
            unreadable.get_or_insert(id);
        }
    }
    let Some(id) = unreadable else { return Ok(None) };
    let why = "its header is damaged and no other segment tells what log it is of; restore the \
               whole directory: what is in it cannot be read";
    let path = segment_path(dir, id).display().to_string();
    Err(Error::new(ErrorKind::Corrupt, Operation::Open, why).about(path))
}

fn open_segment(disk: &Arc<dyn Disk>, dir: &Path, id: u32) -> Result<OpenedFile, Error> {
    let path = segment_path(dir, id);
    let read = |error| failed("read", &path, error);
    let file = disk.open(&path).map_err(read)?;
    let size = u32::try_from(file.len().map_err(read)?).unwrap_or(u32::MAX);
    let mut bytes = vec![0; (FRAMES_START.min(size)) as usize];
    file.read_at(&mut bytes, 0).map_err(read)?;
    let (header, damaged) = match SegmentHeader::read(&bytes) {
        HeaderRead::Sound(header) => (Some(header).filter(|header| header.id == id), None),
        HeaderRead::Mended(header) => {
            tracing::warn!(
                segment = id,
                "one bit of the header of this segment of the log had flipped; it was read as it was \
                 before, and nothing is lost: the disk may be failing"
            );
            (Some(header).filter(|header| header.id == id), None)
        }
        HeaderRead::Damaged => (None, SegmentHeader::claimed(&bytes, id)),
        HeaderRead::Newer(version) => return Err(newer(&path, version)),
    };
    Ok(OpenedFile { id, file, size, header, damaged })
}

fn newer(path: &Path, version: u32) -> Error {
    let why = format!(
        "it has format version {version} and this program reads up to {FORMAT_VERSION}: open it \
         with the newer version of Tidegate that wrote it; nothing was changed"
    );
    Error::new(ErrorKind::Format, Operation::Open, why).about(path.display().to_string())
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let why = format!("cannot {what} {}: {error}", path.display());
    Error::new(ErrorKind::Unavailable, Operation::Open, why).caused_by(error)
}
