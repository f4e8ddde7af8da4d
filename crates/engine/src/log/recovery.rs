//! Reading the log at the open, and deciding what its end is.
//!
//! What was acknowledged lies before the newest `synced_up_to` of any frame. Damage there is told
//! apart and named, and the rest is served. Damage after it is the tail of a crash: nothing of it
//! was acknowledged, and the log goes on in its place.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::{Error, ErrorKind, Operation};

use super::frame::{self, FrameKind, HEADER_BYTES, Header};
use super::record::{self, Record};
use super::segment::{
    FORMAT_VERSION, FRAMES_START, HeaderRead, Segment, SegmentHeader, segment_id, segment_path,
};
use crate::disk::Disk;
use crate::position::Position;
use crate::state::State;

/// What was read.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) log: [u8; 16],
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    /// Files that hold nothing of the log any more, or nothing yet, by their segment numbers.
    pub(crate) unused: Vec<Arc<Segment>>,
    pub(crate) end: Position,
    pub(crate) next_lsn: u64,
    /// The end of the newest frame that some frame said was synced.
    pub(crate) synced_end: Position,
    /// Frames that lie beyond the end and must not be taken for its continuation, with their bytes.
    pub(crate) ghosts: Vec<(Position, u32)>,
    /// What is damaged although it was acknowledged.
    pub(crate) damage: Vec<Damage>,
    pub(crate) was_closed: bool,
}

/// A part of the log that was acknowledged and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) at: Position,
    /// The frames that are gone: from this number, up to but not including the other.
    pub(crate) from_lsn: u64,
    pub(crate) to_lsn: u64,
}

/// Reads every segment in `dir` into `state`. `None` if there is no log yet.
///
/// Nearly always the frames follow each other without a gap, and one pass is enough. At the first
/// gap the rest is looked through to the end before it is decided what the gap is.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    state: &mut State,
) -> Result<Option<Recovered>, Error> {
    let files = open_segments(disk, dir)?;
    let Some(log) = files.iter().find_map(|file| file.header.map(|header| header.log)) else {
        return Ok(None);
    };
    let ends = Ends::read(&files)?;
    ends.check_missing(dir, &files)?;
    let mut replay = Replay::new(ends);
    if replay.until_gap(&files, state)? {
        replay.after_gap(&files, state)?;
    }
    Ok(Some(replay.finish(log, &files, state.numbers().floor)))
}

/// A file named as a segment.
#[derive(Debug)]
struct SegmentFile {
    segment: Arc<Segment>,
    /// `None` if the header is damaged, or is that of the file's former life.
    header: Option<SegmentHeader>,
}

fn open_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<SegmentFile>, Error> {
    let read = |error| failed("read the log in", dir, error);
    let names = disk.list(dir).map_err(read)?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let mut files = Vec::with_capacity(ids.len());
    for id in ids {
        files.push(open_segment(disk, dir, id)?);
    }
    let log = files.iter().find_map(|file| file.header.map(|header| header.log));
    for file in &mut files {
        // WHY: the salt is known without the header, so a damaged header costs nothing else.
        let (log, id) = (log.unwrap_or_default(), file.segment.id);
        let salt = SegmentHeader { log, id }.salt();
        let Segment { id, file: handle, size, salt: _ } = &*file.segment;
        file.segment = Arc::new(Segment { id: *id, file: handle.clone(), size: *size, salt });
    }
    Ok(files)
}

fn open_segment(disk: &Arc<dyn Disk>, dir: &Path, id: u32) -> Result<SegmentFile, Error> {
    let path = segment_path(dir, id);
    let read = |error| failed("read", &path, error);
    let file = disk.open(&path).map_err(read)?;
    let size = u32::try_from(file.len().map_err(read)?).unwrap_or(u32::MAX);
    let mut bytes = vec![0; (FRAMES_START.min(size)) as usize];
    file.read_at(&mut bytes, 0).map_err(read)?;
    let header = match SegmentHeader::read(&bytes) {
        HeaderRead::Sound(header) => Some(header).filter(|header| header.id == id),
        HeaderRead::Damaged => None,
        HeaderRead::Newer(version) => return Err(newer(&path, version)),
    };
    Ok(SegmentFile { segment: Arc::new(Segment { id, file, size, salt: 0 }), header })
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

/// What the newest segment says of the whole log.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// The first segment that is still needed.
    floor: u32,
    /// Whether the log was never synced when it was last written.
    relaxed: bool,
    /// The newest frame that is known to be synced.
    synced_lsn: u64,
    /// The last segment with a frame in it.
    last: u32,
}

impl Ends {
    fn read(files: &[SegmentFile]) -> Result<Self, Error> {
        let mut last = None;
        for file in files.iter().rev() {
            let mut window = Window::new(&file.segment);
            let mut ends = Self::default();
            let mut at = FRAMES_START as usize;
            while let Some((header, body)) = window.frame(at)? {
                ends.note(&header, body);
                at += header.frame_bytes();
            }
            // WHY: where the first frame is damaged, one behind it tells that the segment is not
            // empty.
            let has_frames = at > FRAMES_START as usize;
            if last.is_none() && (has_frames || window.has_header(at + 1)?) {
                last = Some(file.segment.id);
            }
            if has_frames {
                return Ok(Self { last: last.unwrap_or(file.segment.id), ..ends });
            }
        }
        Ok(Self { last: last.unwrap_or_default(), ..Self::default() })
    }

    fn note(&mut self, header: &Header, body: &[u8]) {
        self.synced_lsn = self.synced_lsn.max(header.synced_up_to);
        for record in record::read(body, Position::START).flatten() {
            match record {
                Record::Cleaned { floor } => self.floor = self.floor.max(floor),
                Record::Numbers(numbers) => {
                    self.floor = self.floor.max(numbers.floor);
                    self.relaxed = numbers.relaxed;
                }
                Record::Opened { relaxed, .. } => self.relaxed = relaxed,
                _ => return,
            }
        }
    }

    /// Every segment from the floor to the last one with a frame must be there.
    fn check_missing(&self, dir: &Path, files: &[SegmentFile]) -> Result<(), Error> {
        let oldest = files.first().map_or(0, |file| file.segment.id);
        // WHY: a log that is never synced may have forgotten that it was cleaned.
        let first = if self.relaxed { oldest.max(self.floor) } else { self.floor.max(1) };
        let there = |id: &u32| files.iter().any(|file| file.segment.id == *id);
        match (first..=self.last).find(|id| !there(id)) {
            None => Ok(()),
            Some(missing) => {
                let path = segment_path(dir, missing);
                let why = "this segment of the log is missing; put it back from where it was \
                           moved to, or restore the whole directory: without it tasks would be lost \
                           silently";
                let error = Error::new(ErrorKind::Corrupt, Operation::Open, why);
                Err(error.about(path.display().to_string()))
            }
        }
    }
}

fn frame_at(bytes: &[u8], at: usize, salt: u32) -> Option<(Header, &[u8])> {
    frame::read(bytes.get(at..)?, salt).ok()
}

/// The next place at or after `from` where a sound header of the segment stands.
pub(crate) fn next_header(bytes: &[u8], from: usize, salt: u32) -> Option<usize> {
    let later = bytes.get(from..)?;
    let mut places = memchr::memmem::find_iter(later, &frame::MAGIC_BYTES);
    places.find_map(|place| {
        let at = from + place;
        let header = frame::read_header(bytes.get(at..)?, salt).ok()?;
        (at + header.frame_bytes() <= bytes.len()).then_some(at)
    })
}

fn read_whole(segment: &Segment, into: &mut Vec<u8>) -> Result<(), Error> {
    into.resize(segment.size as usize, 0);
    segment.file.read_at(into, 0).map_err(|error| unreadable(segment, error))
}

fn unreadable(segment: &Segment, error: io::Error) -> Error {
    let why = format!("cannot read segment {} of the log: {error}", segment.id);
    Error::new(ErrorKind::Unavailable, Operation::Open, why).caused_by(error)
}

/// One run of frames that follow each other without a gap.
#[derive(Clone, Debug)]
struct Run {
    segment: usize,
    start: usize,
    end: usize,
    first_lsn: u64,
    next_lsn: u64,
}

/// Finds the runs of one segment from `at` on, by their headers and check sums.
fn runs(number: usize, bytes: &[u8], mut at: usize, salt: u32, ends: &mut Ends) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut fresh = true;
    while at < bytes.len() {
        let Some((header, body)) = frame_at(bytes, at, salt) else {
            fresh = true;
            let Some(next) = next_header(bytes, at + 1, salt) else { break };
            at = next;
            continue;
        };
        ends.note(&header, body);
        let end = at + header.frame_bytes();
        let (first_lsn, next_lsn) = (header.lsn, header.lsn + 1);
        match runs.last_mut().filter(|run| !fresh && run.next_lsn == header.lsn) {
            Some(run) => (run.end, run.next_lsn) = (end, next_lsn),
            None => runs.push(Run { segment: number, start: at, end, first_lsn, next_lsn }),
        }
        fresh = false;
        at = end;
    }
    runs
}

/// Makes the queues that the next catalogue knows and the state does not: the frames that made them
/// may be among those that are gone, and tasks in sound frames must not go with them.
fn learn_queues(files: &[SegmentFile], runs: &[Run], state: &mut State) -> Result<(), Error> {
    let mut bytes = Vec::new();
    for run in runs {
        let Some(SegmentFile { segment, .. }) = files.get(run.segment) else { continue };
        read_whole(segment, &mut bytes)?;
        if let Some((FrameKind::Catalogue, body)) =
            frame_at(&bytes, run.start, segment.salt).map(|(header, body)| (header.kind, body))
        {
            let records = record::read(body, Position::START).flatten();
            records.for_each(|record| state.learn_queue(&record));
            break;
        }
    }
    Ok(())
}

/// The log while it is carried out.
#[derive(Debug)]
struct Replay {
    ends: Ends,
    synced_end: Position,
    next_lsn: Option<u64>,
    end: Position,
    ended: bool,
    ghosts: Vec<(Position, u32)>,
    damage: Vec<Damage>,
    was_closed: bool,
}

impl Replay {
    fn new(ends: Ends) -> Self {
        Self {
            ends,
            synced_end: Position::START,
            next_lsn: None,
            end: Position::START,
            ended: false,
            ghosts: Vec::new(),
            damage: Vec::new(),
            was_closed: false,
        }
    }

    /// Carries out frames as long as they follow each other, and tells whether there are more
    /// behind those that do.
    fn until_gap(&mut self, files: &[SegmentFile], state: &mut State) -> Result<bool, Error> {
        let floor = self.ends.floor;
        for segment in files.iter().map(|file| &*file.segment).filter(|s| s.id >= floor) {
            let mut window = Window::new(segment);
            let mut at = FRAMES_START as usize;
            while let Some((header, body)) = window.frame(at)? {
                if self.next_lsn.is_some_and(|next| next != header.lsn) {
                    return Ok(true);
                }
                self.frame(segment, at, &header, body, state);
                at += header.frame_bytes();
            }
            // WHY: a frame is missing only if one follows. Whether one does in the next segment,
            // its own first frame tells, unless there is none before it to be followed.
            if segment.id >= self.ends.last {
                return window.has_header(at + 1);
            }
            if self.next_lsn.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks through all that follows a gap, then carries out what belongs to the log.
    fn after_gap(&mut self, files: &[SegmentFile], state: &mut State) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut found = Vec::new();
        let first = self.end.segment().max(self.ends.floor);
        for (number, file) in files.iter().enumerate() {
            let Segment { id, salt, .. } = *file.segment;
            if id < first {
                continue;
            }
            let start = if id == self.end.segment() { self.end.offset() } else { FRAMES_START };
            read_whole(&file.segment, &mut bytes)?;
            found.extend(runs(number, &bytes, start as usize, salt, &mut self.ends));
        }
        let mut loaded = None;
        for (place, run) in found.iter().enumerate() {
            let Some(file) = files.get(run.segment) else { continue };
            let damage = self.damage.len();
            if !self.accepts(file.segment.id, run) {
                continue;
            }
            if self.damage.len() > damage {
                learn_queues(files, found.get(place..).unwrap_or_default(), state)?;
            }
            if loaded != Some(run.segment) {
                read_whole(&file.segment, &mut bytes)?;
                loaded = Some(run.segment);
            }
            self.run(&file.segment, run, &bytes, state);
        }
        Ok(())
    }

    /// Whether a run goes on where the log was. After a gap it does only if what is missing was
    /// acknowledged: then the gap is damage. Else the log ended before it.
    fn accepts(&mut self, segment: u32, run: &Run) -> bool {
        // WHY: the number of the first frame is told by none before it; but that it can't be read
        // is why this run is the first.
        let expected = self.next_lsn.unwrap_or(1);
        let ghost = (Position::new(segment, run.start as u32), (run.end - run.start) as u32);
        if self.ended || run.first_lsn < expected {
            self.ghosts.push(ghost);
            return false;
        }
        if run.first_lsn > expected {
            if expected > self.ends.synced_lsn && self.next_lsn.is_some() {
                self.ended = true;
                self.ghosts.push(ghost);
                return false;
            }
            let at = if self.next_lsn.is_some() { self.end } else { Position::new(segment, 0) };
            let damage = Damage { at, from_lsn: expected, to_lsn: run.first_lsn };
            self.damage.push(damage);
        }
        true
    }

    fn run(&mut self, segment: &Segment, run: &Run, bytes: &[u8], state: &mut State) {
        let mut at = run.start;
        while at < run.end {
            let Some((header, body)) = frame_at(bytes, at, segment.salt) else { break };
            self.frame(segment, at, &header, body, state);
            at += header.frame_bytes();
        }
    }

    fn frame(
        &mut self,
        segment: &Segment,
        at: usize,
        header: &Header,
        body: &[u8],
        state: &mut State,
    ) {
        state.advance(header.time);
        self.was_closed = header.kind == FrameKind::ClosingMark;
        let body_at = Position::new(segment.id, (at + HEADER_BYTES) as u32);
        for record in record::read(body, body_at) {
            if !record.is_some_and(|record| state.replay(header.lsn, record)) {
                let (from_lsn, to_lsn) = (header.lsn, header.lsn + 1);
                self.damage.push(Damage { at: body_at, from_lsn, to_lsn });
                break;
            }
        }
        self.next_lsn = Some(header.lsn + 1);
        self.end = Position::new(segment.id, (at + header.frame_bytes()) as u32);
        if header.lsn <= self.ends.synced_lsn {
            self.synced_end = self.end;
        }
    }

    /// What was read, of a log that needs no segment before `floor`.
    fn finish(self, log: [u8; 16], files: &[SegmentFile], floor: u32) -> Recovered {
        // WHY: the floor that was carried out, not one that only a ghost tells: ghosts are erased,
        // and the next open would miss what was made a spare on their word.
        let last = self.end.segment();
        let is_needed = |id: u32| id >= floor && id <= last && self.next_lsn.is_some();
        let (needed, unused): (Vec<_>, Vec<_>) =
            files.iter().map(|file| file.segment.clone()).partition(|s| is_needed(s.id));
        Recovered {
            log,
            segments: needed.into_iter().map(|segment| (segment.id, segment)).collect(),
            unused,
            end: self.end,
            next_lsn: self.next_lsn.unwrap_or(1),
            synced_end: self.synced_end,
            ghosts: self.ghosts,
            damage: self.damage,
            was_closed: self.was_closed,
        }
    }
}

/// A segment read piece by piece: a piece that stays in the processor's cache is read and checked
/// several times faster than the whole.
#[derive(Debug)]
struct Window<'a> {
    segment: &'a Segment,
    bytes: Vec<u8>,
    start: usize,
}

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 512 << 10;

impl<'a> Window<'a> {
    fn new(segment: &'a Segment) -> Self {
        Self { segment, bytes: Vec::new(), start: 0 }
    }

    /// The sound frame at `at`, if there is one.
    fn frame(&mut self, at: usize) -> Result<Option<(Header, &[u8])>, Error> {
        let salt = self.segment.salt;
        let head = self.get(at, HEADER_BYTES)?;
        let Ok(header) = frame::read_header(head, salt) else { return Ok(None) };
        let whole = self.get(at, header.frame_bytes())?;
        Ok(frame::read(whole, salt).ok())
    }

    /// Whether a sound header of the segment stands at or after `from`.
    fn has_header(&mut self, mut from: usize) -> Result<bool, Error> {
        let (salt, size) = (self.segment.salt, self.segment.size as usize);
        while from < size {
            let piece = self.get(from, WINDOW_BYTES)?;
            let is_header = |place: usize| {
                let header = frame::read_header(piece.get(place..).unwrap_or_default(), salt);
                header.is_ok_and(|header| from + place + header.frame_bytes() <= size)
            };
            if memchr::memmem::find_iter(piece, &frame::MAGIC_BYTES).any(is_header) {
                return Ok(true);
            }
            // WHY: a header that was cut off by the end of this piece is whole in the next.
            from += piece.len().saturating_sub(HEADER_BYTES - 1).max(1);
        }
        Ok(false)
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
