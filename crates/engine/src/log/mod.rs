//! The log: where frames are put together, which segments there are, and what is written when.
//!
//! `frame`, `record` and `body` are the format, `segment` a file of it, `spares` the files that
//! wait to become segments, `mirror` the newest part in memory, `files`, `window` and `recovery` read
//! it all at the open, `clean` reads the oldest segment for what is still needed.
//! docs/internals/format.md is the format as a page.

pub(crate) mod body;
pub(crate) mod bytes;
pub(crate) mod clean;
mod files;
pub(crate) mod frame;
mod mirror;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod spares;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tidegate_core::Timestamp;

use crate::position::Position;
use crate::state::State;
use frame::{FrameKind, HEADER_BYTES, Header};
use mirror::Mirror;
use record::Frame;
use segment::{FRAMES_START, Segment, SegmentHeader};
use spares::Spares;

/// The log as the owner of the state sees it: everything up to its end, written or not.
#[derive(Debug)]
pub(crate) struct Log {
    id: [u8; 16],
    /// Every segment that is still needed, the tail included.
    segments: BTreeMap<u32, Arc<Segment>>,
    tail: Arc<Segment>,
    /// Where the next frame goes in the tail.
    offset: u32,
    next_lsn: u64,
    /// The newest frame that is known to be synced.
    synced_lsn: u64,
    /// Frames that were put together but not yet taken by a writer, and where they begin.
    pending: Vec<u8>,
    pending_at: Position,
    /// The same, of segments that are full.
    full: Vec<Chunk>,
    mirror: Mirror,
    pub(crate) spares: Spares,
    appended_bytes: u64,
}

/// Frames to be written in one go.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Where the log ends and goes on.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) id: [u8; 16],
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    pub(crate) tail: Arc<Segment>,
    pub(crate) offset: u32,
    pub(crate) next_lsn: u64,
    pub(crate) synced_lsn: u64,
}

impl Log {
    pub(crate) fn new(at: Tail, spares: Spares, mirror_bytes: u64) -> Self {
        let Tail { id, segments, tail, offset, next_lsn, synced_lsn } = at;
        Self {
            id,
            segments,
            pending_at: Position::new(tail.id, offset),
            tail,
            offset,
            next_lsn,
            synced_lsn,
            pending: Vec::new(),
            full: Vec::new(),
            mirror: Mirror::new(mirror_bytes),
            spares,
            appended_bytes: 0,
        }
    }

    /// A new log that begins in `first`.
    pub(crate) fn begin(
        id: [u8; 16],
        first: Arc<Segment>,
        spares: Spares,
        mirror_bytes: u64,
        state: &State,
        now: Timestamp,
    ) -> Self {
        let segments = BTreeMap::from([(first.id, first.clone())]);
        let header = SegmentHeader { log: id, id: first.id };
        let tail = Tail { id, segments, tail: first, offset: 0, next_lsn: 1, synced_lsn: 0 };
        let mut log = Self::new(tail, spares, mirror_bytes);
        log.pending = header.to_bytes();
        log.offset = FRAMES_START;
        log.append(FrameKind::Catalogue, now, |frame| state.put_catalogue(frame));
        log
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Position {
        Position::new(self.tail.id, self.offset)
    }

    /// The number of the newest frame.
    pub(crate) fn last_lsn(&self) -> u64 {
        self.next_lsn - 1
    }

    pub(crate) fn note_synced(&mut self, lsn: u64) {
        self.synced_lsn = self.synced_lsn.max(lsn);
    }

    /// Bytes of frames since the open.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Bytes left in the tail.
    pub(crate) fn tail_room(&self) -> u64 {
        u64::from(self.tail.size - self.offset)
    }

    /// Makes sure that a frame with `body_max` bytes fits the tail: begins another segment if not.
    pub(crate) fn reserve(
        &mut self,
        body_max: usize,
        state: &State,
        now: Timestamp,
    ) -> io::Result<()> {
        if body_max + HEADER_BYTES <= self.tail_room() as usize {
            return Ok(());
        }
        let id = self.tail.id + 1;
        let needed = body_max + 2 * HEADER_BYTES + state.catalogue_len_max();
        let header = SegmentHeader { log: self.id, id };
        let next = self.spares.take_segment(header, needed as u64 + u64::from(FRAMES_START))?;
        let bytes = std::mem::take(&mut self.pending);
        if !bytes.is_empty() {
            let offset = self.pending_at.offset();
            self.mirror.append(self.pending_at, &bytes);
            self.full.push(Chunk { segment: self.tail.clone(), offset, bytes });
        }
        self.tail = next.clone();
        self.segments.insert(id, next);
        self.offset = FRAMES_START;
        self.pending_at = Position::new(id, 0);
        self.pending = header.to_bytes();
        self.append(FrameKind::Catalogue, now, |frame| state.put_catalogue(frame));
        Ok(())
    }

    /// Puts a frame together. Nothing is appended for a command that writes no record.
    pub(crate) fn append<T>(
        &mut self,
        kind: FrameKind,
        now: Timestamp,
        write: impl FnOnce(&mut Frame<'_>) -> T,
    ) -> T {
        let start = self.pending.len();
        let lsn = self.next_lsn;
        self.pending.resize(start + HEADER_BYTES, 0);
        let at = self.end().plus(HEADER_BYTES);
        let mut frame = Frame::new(&mut self.pending, at, lsn);
        let answer = write(&mut frame);
        if frame.is_empty() && kind == FrameKind::Command {
            self.pending.truncate(start);
            return answer;
        }
        let written = self.pending.get_mut(start..).unwrap_or_default();
        let (head, body) = written.split_at_mut(HEADER_BYTES);
        Header::new(kind, lsn, now, self.synced_lsn, body).write_over(self.tail.salt, head);
        let bytes = self.pending.len() - start;
        self.offset += bytes as u32;
        self.appended_bytes += bytes as u64;
        self.next_lsn += 1;
        answer
    }

    /// Hands over all that was put together since this was last asked, in order. `scratch` is used
    /// for what comes next.
    pub(crate) fn take_pending(&mut self, scratch: Vec<u8>) -> Vec<Chunk> {
        let mut chunks = std::mem::take(&mut self.full);
        if !self.pending.is_empty() {
            let bytes = std::mem::replace(&mut self.pending, scratch);
            self.mirror.append(self.pending_at, &bytes);
            let offset = self.pending_at.offset();
            chunks.push(Chunk { segment: self.tail.clone(), offset, bytes });
        }
        self.pending_at = self.end();
        chunks
    }

    /// Appends bytes of the log to `to` if they are in memory, else tells where to read them.
    pub(crate) fn read(&self, at: Position, len: usize, to: &mut Vec<u8>) -> Option<Arc<Segment>> {
        if at >= self.pending_at && at.segment() == self.tail.id {
            let start = (at.offset() - self.pending_at.offset()) as usize;
            to.extend_from_slice(self.pending.get(start..start + len).unwrap_or_default());
            return None;
        }
        if self.mirror.read(at, len, to) {
            return None;
        }
        self.segments.get(&at.segment()).cloned()
    }

    /// Gives back the memory of pages that hold nothing live.
    pub(crate) fn forget_emptied(&mut self, state: &mut State) {
        for (segment, page) in state.usage().take_emptied() {
            if state.usage_ref().is_page_empty(segment, page) {
                self.mirror.forget(segment, page);
            }
        }
    }

    /// The oldest segment, unless it is the tail.
    pub(crate) fn oldest(&self) -> Option<&Arc<Segment>> {
        self.segments.values().next().filter(|segment| segment.id != self.tail.id)
    }

    pub(crate) fn all_segments(&self) -> Vec<Arc<Segment>> {
        self.segments.values().cloned().collect()
    }

    /// All segments but the tail, oldest first.
    pub(crate) fn full_segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.values().filter(|segment| segment.id != self.tail.id)
    }

    /// The first segment that is left when the `count` oldest are gone.
    pub(crate) fn floor_after(&self, count: usize) -> u32 {
        self.segments.keys().nth(count).copied().unwrap_or(self.tail.id)
    }

    /// Whether segments may be made larger: not where a test has set their size.
    pub(crate) fn grows(&self) -> bool {
        self.spares.segment_bytes() >= spares::SEGMENT_BYTES_MIN
    }

    /// How many segments there are and how many bytes they have.
    pub(crate) fn size(&self) -> (usize, u64) {
        let bytes = self.segments.values().map(|segment| u64::from(segment.size)).sum();
        (self.segments.len(), bytes)
    }

    /// Takes the oldest segment out of the log.
    pub(crate) fn drop_oldest(&mut self) -> Option<Arc<Segment>> {
        let id = self.oldest()?.id;
        self.segments.remove(&id)
    }
}
