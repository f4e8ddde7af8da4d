//! Bits that flip at rest, in what is known to be synced: they must be seen.

use std::path::Path;

use tidegate_core::TaskId;

use super::file::Inode;
use super::machine::{Machine, State};
use crate::log::body::Body;
use crate::log::frame::{self, FrameKind, Header};
use crate::log::record::{self, Record, TaskRef, Written};
use crate::log::recovery::next_header;
use crate::log::segment::{FRAMES_START, HeaderRead, SegmentHeader, segment_id};
use crate::position::Position;

/// A bit that was flipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flip {
    /// The number of the frame it lies in; `None` in the header of a segment, which costs nothing.
    pub frame: Option<u64>,
    /// Tasks whose bodies the frame holds: they may be gone.
    pub bodies: Vec<TaskId>,
    /// Tasks, by sequence, whose changes the frame holds: those may be undone.
    pub changed: Vec<u64>,
}

/// Where a bit may be flipped.
struct Place {
    inode: usize,
    at: usize,
    bytes: usize,
    flip: Flip,
}

impl Machine {
    /// Flips a bit in the log of a machine on which no process runs. `None` if there is nothing yet
    /// that is known to be synced, and changes no more than a few tasks.
    pub fn flip_a_bit(&self) -> Option<Flip> {
        let mut state = self.lock();
        let mut rng = state.rng.fork();
        let places = if rng.u8(0..8) == 0 { headers(&state) } else { frames(&state) };
        let chosen = rng.choice(places)?;
        let bit = rng.usize(chosen.at * 8..(chosen.at + chosen.bytes) * 8);
        let inode = state.inodes.get_mut(chosen.inode)?;
        inode.flip(bit);
        state.tally.bits_flipped += 1;
        state.note(format_args!("flips bit {bit} of {}: {:?}", chosen.inode, chosen.flip));
        Some(chosen.flip)
    }
}

/// The headers of segments in which no bit has flipped yet: one flipped bit is mended, of two it is
/// not known what they were.
fn headers(state: &State) -> Vec<Place> {
    let bytes = FRAMES_START as usize;
    let place = |inode| Place { inode, at: 0, bytes, flip: Flip::default() };
    let all = segments(state, |inode| &inode.disk);
    let sound = all.filter(|(header, _, bytes)| bytes.starts_with(&header.to_bytes()));
    sound.map(|(_, inode, _)| place(inode)).collect()
}

/// Frames that some later frame says were synced, and that are still needed. What says so is on the
/// disk, for what only the page cache holds may not outlive the next end.
fn frames(state: &State) -> Vec<Place> {
    let mut places = Vec::new();
    let mut synced = 0;
    // WHY: what the page cache shows of it, for so will the next open.
    let floor = segments(state, |inode| &inode.cache)
        .fold(0, |floor, segment| floor.max(told_floor(segment)));
    let first = |(header, _, bytes): (SegmentHeader, usize, &[u8])| {
        let first = bytes.get(FRAMES_START as usize..).unwrap_or_default();
        frame::read(first, header.salt()).ok().map(|(head, _)| head.lsn)
    };
    // WHY: one catalogue may be damaged, for the next one tells the same. Which is the last whose
    // loss costs nothing, then.
    let catalogues: Option<Vec<u64>> = segments(state, |inode| &inode.disk).map(first).collect();
    let newest = catalogues.and_then(|lsns| lsns.last().copied()).unwrap_or(0);
    for (header, inode, bytes) in segments(state, |inode| &inode.disk) {
        let mut at = FRAMES_START as usize;
        while let Ok((head, body)) = frame::read(bytes.get(at..).unwrap_or_default(), header.salt())
        {
            synced = synced.max(head.synced_up_to);
            let records: Vec<Record<'_>> = record::read(body, Position::START).flatten().collect();
            let bytes = head.frame_bytes();
            if let Some(flip) = touches(&head, &records, newest) {
                places.push((header.id, Place { inode, at, bytes, flip }));
            }
            at += bytes;
        }
    }
    let known = |place: &Place| place.flip.frame.is_some_and(|lsn| lsn <= synced);
    let needed = places.into_iter().filter(|(id, place)| *id >= floor && known(place));
    needed.map(|(_, place)| place).collect()
}

/// The first segment that is still needed, as a segment tells it.
fn told_floor((header, _, bytes): (SegmentHeader, usize, &[u8])) -> u32 {
    let mut floor = 0;
    let mut next = next_header(bytes, FRAMES_START as usize, header.salt());
    while let Some(at) = next {
        let read = frame::read(bytes.get(at..).unwrap_or_default(), header.salt());
        let records = read.iter().flat_map(|(_, body)| record::read(body, Position::START));
        for record in records.flatten() {
            match record {
                Record::Cleaned { floor: raised } => floor = floor.max(raised),
                Record::Numbers(numbers) => floor = floor.max(numbers.floor),
                _ => {}
            }
        }
        next = next_header(bytes, at + 1, header.salt());
    }
    floor
}

/// The segments of the log, in order, and what the disk or the page cache has of them. A header that
/// the engine mends counts, for the engine reads what such a segment tells: that others are not needed
/// any more, and what was synced.
fn segments(
    state: &State,
    bytes: fn(&Inode) -> &Vec<u8>,
) -> impl Iterator<Item = (SegmentHeader, usize, &[u8])> {
    let named = |path: &Path| segment_id(path.file_name()?.to_str()?);
    state.names.iter().filter_map(move |(path, inode)| {
        let bytes = &**bytes(state.inodes.get(*inode)?);
        match SegmentHeader::read(bytes) {
            HeaderRead::Sound(header) | HeaderRead::Mended(header)
                if named(path) == Some(header.id) =>
            {
                Some((header, *inode, bytes))
            }
            _ => None,
        }
    })
}

/// What the loss of a frame costs, if that is no more than what its tasks went through. A catalogue
/// before the one with the number `newest` costs nothing.
fn touches(head: &Header, records: &[Record<'_>], newest: u64) -> Option<Flip> {
    if head.kind == FrameKind::Catalogue && head.lsn < newest {
        return Some(Flip { frame: Some(head.lsn), ..Flip::default() });
    }
    if head.kind != FrameKind::Command || records.is_empty() {
        return None;
    }
    let mut flip = Flip { frame: Some(head.lsn), ..Flip::default() };
    for record in records {
        match record {
            Record::Enqueued { tasks, .. } => tasks.clone().for_each(|task| flip.note_body(&task)),
            Record::Snapshot(snapshot) => flip.note_body(&snapshot.written),
            Record::Leased { tasks, .. } => flip.changed.extend(tasks.iter().map(|t| t.sequence)),
            Record::Settled { task: TaskRef { sequence, .. }, .. }
            | Record::Extended { task: TaskRef { sequence, .. }, .. } => {
                flip.changed.push(*sequence);
            }
            _ => return None,
        }
    }
    Some(flip)
}

impl Flip {
    fn note_body(&mut self, written: &Written<'_>) {
        self.changed.push(written.task.sequence);
        self.bodies.extend(Body::read(written.body).map(|body| body.id));
    }
}
