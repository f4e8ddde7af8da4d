//! Reading a segment frame by frame.

use std::io;

use tidegate_core::{Error, ErrorKind, Operation};

use super::frame::{self, HEADER_BYTES, Header};
use super::segment::Segment;

/// A segment read piece by piece: a piece that stays in the processor's cache is read and checked
/// several times faster than the whole.
#[derive(Debug)]
pub(super) struct Window<'a> {
    segment: &'a Segment,
    bytes: Vec<u8>,
    start: usize,
}

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 512 << 10;

impl<'a> Window<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment, bytes: Vec::new(), start: 0 }
    }

    /// The sound frame at `at`, if there is one.
    pub(super) fn frame(&mut self, at: usize) -> Result<Option<(Header, &[u8])>, Error> {
        let salt = self.segment.salt;
        let head = self.get(at, HEADER_BYTES)?;
        let Ok(header) = frame::read_header(head, salt) else { return Ok(None) };
        let whole = self.get(at, header.frame_bytes())?;
        Ok(frame::read(whole, salt).ok())
    }

    /// Whether a sound frame of the segment begins at or after `from`.
    pub(super) fn has_frame(&mut self, mut from: usize) -> Result<bool, Error> {
        let (salt, size) = (self.segment.salt, self.segment.size as usize);
        while from < size {
            let piece = self.get(from, WINDOW_BYTES)?;
            let is_header =
                |at: &usize| frame::read_header(piece.get(*at..).unwrap_or_default(), salt).is_ok();
            let found = memchr::memmem::find_iter(piece, &frame::MAGIC_BYTES).filter(is_header);
            let headers: Vec<usize> = found.map(|at| from + at).collect();
            // WHY: a header that was cut off by the end of this piece is whole in the next.
            from += piece.len().saturating_sub(HEADER_BYTES - 1).max(1);
            for at in headers {
                if self.frame(at)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether there are only zeros from `from` on.
    pub(super) fn is_blank(&mut self, from: usize) -> Result<bool, Error> {
        let bytes = self.get(from, self.segment.size as usize)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// Bytes of the segment; fewer than asked for where it ends.
    fn get(&mut self, at: usize, len: usize) -> Result<&[u8], Error> {
        let len = len.min((self.segment.size as usize).saturating_sub(at));
        if len == 0 {
            return Ok(&[]);
        }
        if at < self.start || at + len > self.start + self.bytes.len() {
            let count = len.max(WINDOW_BYTES).min(self.segment.size as usize - at);
            self.bytes.resize(count, 0);
            self.start = at;
            let read = self.segment.file.read_at(&mut self.bytes, at as u64);
            read.map_err(|error| unreadable(self.segment, error))?;
        }
        let from = at - self.start;
        Ok(self.bytes.get(from..from + len).unwrap_or_default())
    }
}

/// A segment that the disk does not give.
pub(super) fn unreadable(segment: &Segment, error: io::Error) -> Error {
    let why = format!("cannot read segment {} of the log: {error}", segment.id);
    Error::new(ErrorKind::Unavailable, Operation::Open, why).caused_by(error)
}
