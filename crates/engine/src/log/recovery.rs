//! Reading the log at the open, and deciding what its end is.
//!
//! What was acknowledged lies before the newest `synced_up_to` of any frame. Damage there is told
//! apart and named, and the rest is served. Damage after it is the tail of a crash: nothing of it
//! was acknowledged, and the log goes on in its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::{Error, ErrorKind, Operation};

use super::files::open_segments;
use super::frame::{self, FrameKind, HEADER_BYTES, Header};
use super::record::{self, Record};
use super::segment::{FRAMES_START, Segment, segment_path};
use super::window::{Window, unreadable};
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
    /// Whether the log was never synced when it was last written.
    pub(crate) relaxed: bool,
}

/// A part of the log that was acknowledged and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) at: Position,
    /// The frames that are gone: from this number, or 0 if it is not known, up to but not including
    /// the other.
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
    let Some((log, files)) = open_segments(disk, dir)? else { return Ok(None) };
    let mut ends = Ends::read(&files)?;
    if ends.missing(&files).is_some() {
        // WHY: that it was cleaned may be told only behind a frame that is damaged.
        ends.read_on(&files)?;
    }
    ends.check_missing(dir, &files)?;
    let mut replay = Replay::new(ends);
    let gap = replay.until_gap(&files, state)?;
    if let Some(number) = gap {
        replay.after_gap(&files, number, state)?;
    }
    Ok(Some(replay.finish(log, &files, state.numbers().floor)))
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
    fn read(files: &[Arc<Segment>]) -> Result<Self, Error> {
        for file in files.iter().rev() {
            let mut window = Window::new(file);
            let mut ends = Self { last: file.id, ..Self::default() };
            let mut at = FRAMES_START as usize;
            while let Some((header, body)) = window.frame(at)? {
                ends.note(&header, body);
                at += header.frame_bytes();
            }
            // WHY: where the first frame is damaged, others may follow it. A header without its body
            // is none: it is not read, so it is not erased, and behind the end it would ask for the
            // segments before it for ever.
            if at > FRAMES_START as usize || window.has_frame(at + 1)? {
                return Ok(ends);
            }
        }
        Ok(Self::default())
    }

    /// Notes what every sound frame says, wherever it lies.
    fn read_on(&mut self, files: &[Arc<Segment>]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        for (number, file) in files.iter().enumerate() {
            read_whole(file, &mut bytes)?;
            runs(number, &bytes, FRAMES_START as usize, file.salt, self);
        }
        Ok(())
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

    /// The first segment from the floor to the last one with a frame that is not there.
    fn missing(&self, files: &[Arc<Segment>]) -> Option<u32> {
        let oldest = files.first().map_or(0, |file| file.id);
        // WHY: a log that is never synced may have forgotten that it was cleaned.
        let first = if self.relaxed { oldest.max(self.floor) } else { self.floor.max(1) };
        let there = |id: &u32| files.iter().any(|file| file.id == *id);
        (first..=self.last).find(|id| !there(id))
    }

    fn check_missing(&self, dir: &Path, files: &[Arc<Segment>]) -> Result<(), Error> {
        let Some(missing) = self.missing(files) else { return Ok(()) };
        let path = segment_path(dir, missing);
        let why = "this segment of the log is missing; put it back from where it was moved to, or \
                   restore the whole directory: without it tasks would be lost silently";
        let error = Error::new(ErrorKind::Corrupt, Operation::Open, why);
        Err(error.about(path.display().to_string()))
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

/// Tells the state of the queues that the next catalogue has: what is damaged may be the record that
/// made one, and its tasks would go with it.
fn learn_queues(files: &[Arc<Segment>], runs: &[Run], state: &mut State) -> Result<(), Error> {
    for run in runs.iter().filter(|run| run.start == FRAMES_START as usize) {
        let Some(file) = files.get(run.segment) else { continue };
        let mut window = Window::new(file);
        let Some((header, body)) = window.frame(run.start)? else { continue };
        if header.kind == FrameKind::Catalogue {
            let records = record::read(body, Position::START).flatten();
            records.for_each(|record| state.learn_queue(&record));
            return Ok(());
        }
    }
    Ok(())
}

/// The log while it is carried out.
#[derive(Debug)]
struct Replay {
    ends: Ends,
    /// The first segment that is read.
    begun_at: u32,
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
            begun_at: ends.floor,
            synced_end: Position::START,
            next_lsn: None,
            end: Position::START,
            ended: false,
            ghosts: Vec::new(),
            damage: Vec::new(),
            was_closed: false,
        }
    }

    /// Carries out frames as long as they follow each other, and tells in which segment it is seen
    /// that they no longer do, unless that is the end.
    fn until_gap(
        &mut self,
        files: &[Arc<Segment>],
        state: &mut State,
    ) -> Result<Option<usize>, Error> {
        let floor = self.ends.floor;
        let needed = files.iter().enumerate().filter(|(_, file)| file.id >= floor);
        let needed = needed.map(|(number, file)| (number, &**file));
        for (number, segment) in needed {
            let mut window = Window::new(segment);
            let mut at = FRAMES_START as usize;
            while let Some((header, body)) = window.frame(at)? {
                if self.next_lsn.is_some_and(|next| next != header.lsn) {
                    return Ok(Some(number));
                }
                self.frame(segment, at, &header, body, state);
                at += header.frame_bytes();
            }
            // WHY: a frame is missing only if one follows. Whether one does in the next segment,
            // its own first frame tells, unless there is none before it to be followed.
            if segment.id >= self.ends.last {
                return Ok(window.has_frame(at + 1)?.then_some(number));
            }
            if self.next_lsn.is_none() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Looks through all that follows a gap, then carries out what belongs to the log.
    fn after_gap(
        &mut self,
        files: &[Arc<Segment>],
        number: usize,
        state: &mut State,
    ) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let mut found = Vec::new();
        // WHY: the gap begins where the last frame ended, be that segments before it was seen.
        let end = files.iter().position(|file| file.id == self.end.segment());
        let first = end.unwrap_or(number);
        let floor = self.ends.floor;
        let rest = files.iter().enumerate().skip(first).filter(|(_, file)| file.id >= floor);
        for (number, file) in rest {
            let Segment { id, salt, .. } = **file;
            let start = if id == self.end.segment() { self.end.offset() } else { FRAMES_START };
            read_whole(file, &mut bytes)?;
            found.extend(runs(number, &bytes, start as usize, salt, &mut self.ends));
        }
        let mut loaded = None;
        for (place, run) in found.iter().enumerate() {
            let Some(file) = files.get(run.segment) else { continue };
            let damage = self.damage.len();
            if !self.accepts(file.id, run) {
                continue;
            }
            if self.damage.len() > damage {
                learn_queues(files, found.get(place..).unwrap_or_default(), state)?;
            }
            if loaded != Some(run.segment) {
                read_whole(file, &mut bytes)?;
                loaded = Some(run.segment);
            }
            self.run(file, run, &bytes, state);
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
            let (at, from_lsn) = match self.next_lsn {
                Some(next) => (self.end, next),
                None => (Position::new(segment, 0), 0),
            };
            self.damage.push(Damage { at, from_lsn, to_lsn: run.first_lsn });
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
    fn finish(self, log: [u8; 16], files: &[Arc<Segment>], floor: u32) -> Recovered {
        // WHY: the floor that was carried out, not one that only a ghost tells: ghosts are erased,
        // and the next open would miss what was made a spare on their word. Nor one that was told
        // after segments below it had been read: the copies of what they hold may be damaged.
        let floor = floor.min(self.begun_at);
        let last = self.end.segment();
        let is_needed = |id: u32| id >= floor && id <= last && self.next_lsn.is_some();
        let (needed, unused): (Vec<_>, Vec<_>) =
            files.iter().cloned().partition(|s| is_needed(s.id));
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
            relaxed: self.ends.relaxed,
        }
    }
}
