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
use super::record;
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
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    state: &mut State,
) -> Result<Option<Recovered>, Error> {
    let files = open_segments(disk, dir)?;
    let Some(log) = files.iter().find_map(|file| file.header.map(|header| header.log)) else {
        return Ok(None);
    };
    let mut scan = Scan::new(log);
    scan.scan_all(&files)?;
    scan.check_gaps(dir, &files)?;
    scan.replay_all(&files, state)
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

/// One run of frames that follow each other without a gap.
#[derive(Clone, Debug)]
struct Run {
    segment: usize,
    start: u32,
    end: u32,
    first_lsn: u64,
    next_lsn: u64,
}

/// What lies where, found before anything is replayed: the end of a run may be the log's end, or
/// damage, and only what comes later tells.
#[derive(Debug)]
struct Scan {
    log: [u8; 16],
    runs: Vec<Run>,
    synced_lsn: u64,
    floor: u32,
    /// Whether the log was never synced when it was last written.
    relaxed: bool,
}

impl Scan {
    fn new(log: [u8; 16]) -> Self {
        Self { log, runs: Vec::new(), synced_lsn: 0, floor: 0, relaxed: false }
    }

    fn scan_all(&mut self, files: &[SegmentFile]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for (number, file) in files.iter().enumerate() {
            read_whole(&file.segment, &mut bytes)?;
            self.scan(number, file, &bytes);
        }
        Ok(())
    }

    /// Finds the runs of one segment, by their headers and check sums.
    fn scan(&mut self, number: usize, file: &SegmentFile, bytes: &[u8]) {
        let salt = file.segment.salt;
        let mut at = FRAMES_START as usize;
        let mut run: Option<Run> = None;
        while at < bytes.len() {
            match frame::read(bytes.get(at..).unwrap_or_default(), salt) {
                Ok((header, body)) => {
                    let follows = run.as_ref().is_some_and(|run| run.next_lsn == header.lsn);
                    if !follows {
                        self.runs.extend(run.take());
                    }
                    let run = run.get_or_insert(Run {
                        segment: number,
                        start: at as u32,
                        end: at as u32,
                        first_lsn: header.lsn,
                        next_lsn: header.lsn,
                    });
                    self.note(&header, body);
                    at += header.frame_bytes();
                    run.end = at as u32;
                    run.next_lsn = header.lsn + 1;
                }
                Err(_) => {
                    self.runs.extend(run.take());
                    let Some(next) = next_header(bytes, at + 1, salt) else { break };
                    at = next;
                }
            }
        }
        self.runs.extend(run);
    }

    fn note(&mut self, header: &Header, body: &[u8]) {
        self.synced_lsn = self.synced_lsn.max(header.synced_up_to);
        if matches!(header.kind, FrameKind::IdleMark | FrameKind::ClosingMark) {
            return;
        }
        if body.len() > 64 && header.kind == FrameKind::Command {
            return;
        }
        for record in record::read(body, Position::START).flatten() {
            match record {
                record::Record::Cleaned { floor } => self.floor = self.floor.max(floor),
                record::Record::Numbers(numbers) => {
                    self.floor = self.floor.max(numbers.floor);
                    self.relaxed = numbers.relaxed;
                }
                record::Record::Opened { relaxed, .. } => self.relaxed = relaxed,
                _ => return,
            }
        }
    }

    /// Every segment from the floor to the last one with a frame must be there.
    fn check_gaps(&self, dir: &Path, files: &[SegmentFile]) -> Result<(), Error> {
        let used = self.runs.iter().filter_map(|run| files.get(run.segment));
        let ids: Vec<u32> = used.map(|file| file.segment.id).collect();
        let Some(last) = ids.iter().max() else { return Ok(()) };
        let oldest = ids.iter().min().copied().unwrap_or(0);
        // WHY: a log that is never synced may have forgotten that it was cleaned.
        let first = if self.relaxed { oldest.max(self.floor) } else { self.floor.max(1) };
        let there = |id: &u32| files.iter().any(|file| file.segment.id == *id);
        match (first..=*last).find(|id| !there(id)) {
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

    fn replay_all(
        &self,
        files: &[SegmentFile],
        state: &mut State,
    ) -> Result<Option<Recovered>, Error> {
        let mut replay = Replay::new(self.synced_lsn);
        let needed =
            |run: &&Run| files.get(run.segment).is_some_and(|file| file.segment.id >= self.floor);
        let mut bytes = Vec::new();
        let mut loaded = None;
        for run in self.runs.iter().filter(needed) {
            let Some(file) = files.get(run.segment) else { continue };
            if !replay.accepts(file.segment.id, run) {
                continue;
            }
            if loaded != Some(run.segment) {
                read_whole(&file.segment, &mut bytes)?;
                loaded = Some(run.segment);
            }
            replay.run(&file.segment, run, &bytes, state);
        }
        Ok(Some(replay.finish(self, files)))
    }
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
    segment.file.read_at(into, 0).map_err(|error| {
        let why = format!("cannot read segment {} of the log: {error}", segment.id);
        Error::new(ErrorKind::Unavailable, Operation::Open, why).caused_by(error)
    })
}

/// The log while it is carried out.
#[derive(Debug)]
struct Replay {
    synced_lsn: u64,
    synced_end: Position,
    next_lsn: Option<u64>,
    end: Position,
    ended: bool,
    ghosts: Vec<(Position, u32)>,
    damage: Vec<Damage>,
    was_closed: bool,
}

impl Replay {
    fn new(synced_lsn: u64) -> Self {
        Self {
            synced_lsn,
            synced_end: Position::START,
            next_lsn: None,
            end: Position::START,
            ended: false,
            ghosts: Vec::new(),
            damage: Vec::new(),
            was_closed: false,
        }
    }

    /// Whether a run goes on where the log was. After a gap it does only if what is missing was
    /// acknowledged: then the gap is damage. Else the log ended before it.
    fn accepts(&mut self, segment: u32, run: &Run) -> bool {
        let expected = self.next_lsn.unwrap_or(run.first_lsn);
        let ghost = (Position::new(segment, run.start), run.end - run.start);
        if self.ended || run.first_lsn < expected {
            self.ghosts.push(ghost);
            return false;
        }
        if run.first_lsn > expected {
            if expected > self.synced_lsn {
                self.ended = true;
                self.ghosts.push(ghost);
                return false;
            }
            let damage = Damage { at: self.end, from_lsn: expected, to_lsn: run.first_lsn };
            self.damage.push(damage);
        }
        true
    }

    fn run(&mut self, segment: &Segment, run: &Run, bytes: &[u8], state: &mut State) {
        let mut at = run.start as usize;
        while at < run.end as usize {
            let Ok((header, body)) = frame::read(bytes.get(at..).unwrap_or_default(), segment.salt)
            else {
                break;
            };
            let body_at = Position::new(segment.id, (at + HEADER_BYTES) as u32);
            self.frame(&header, body, body_at, state);
            at += header.frame_bytes();
            self.end = Position::new(segment.id, at as u32);
            if header.lsn <= self.synced_lsn {
                self.synced_end = self.end;
            }
        }
        self.next_lsn = Some(run.next_lsn);
    }

    fn frame(&mut self, header: &Header, body: &[u8], at: Position, state: &mut State) {
        state.advance(header.time);
        self.was_closed = header.kind == FrameKind::ClosingMark;
        for record in record::read(body, at) {
            let carried_out = record.is_some_and(|record| state.replay(header.lsn, record));
            if !carried_out {
                let (from_lsn, to_lsn) = (header.lsn, header.lsn + 1);
                self.damage.push(Damage { at, from_lsn, to_lsn });
                return;
            }
        }
    }

    fn finish(self, scan: &Scan, files: &[SegmentFile]) -> Recovered {
        let last = self.end.segment();
        let is_needed = |id: u32| id >= scan.floor && id <= last && self.next_lsn.is_some();
        let (needed, unused): (Vec<_>, Vec<_>) =
            files.iter().map(|file| file.segment.clone()).partition(|s| is_needed(s.id));
        Recovered {
            log: scan.log,
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
