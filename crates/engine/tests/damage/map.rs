//! Where the frames of a sound log lie, read by the page of the format and not by the engine.

use std::collections::BTreeMap;
use std::ops::Range;

/// The files of a log by their names.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

const FRAMES_START: usize = 64;
const HEADER_BYTES: usize = 36;
const MAGIC: u16 = 0x6754;

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct FrameAt {
    pub(crate) file: String,
    pub(crate) bytes: Range<usize>,
    pub(crate) lsn: u64,
    pub(crate) synced_up_to: u64,
}

/// The name of a segment.
pub(crate) fn segment(id: u32) -> String {
    format!("{id:010}.seg")
}

/// The number in the name of a segment.
pub(crate) fn segment_id(name: &str) -> Option<u32> {
    name.strip_suffix(".seg")?.parse().ok()
}

/// The frames of a log that is known to be sound, in their order: each has the number that follows.
pub(crate) fn frames(files: &Files) -> Vec<FrameAt> {
    let mut frames: Vec<FrameAt> = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| segment_id(name).is_some()) {
        let mut at = FRAMES_START;
        while let Some(frame) = frame(name, bytes, at) {
            if frames.last().is_some_and(|last| last.lsn + 1 != frame.lsn) {
                break;
            }
            at = frame.bytes.end;
            frames.push(frame);
        }
    }
    frames
}

fn frame(name: &str, bytes: &[u8], at: usize) -> Option<FrameAt> {
    let header = bytes.get(at..at + HEADER_BYTES)?;
    let u32_at = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    if u16::from_le_bytes(*header.first_chunk()?) != MAGIC {
        return None;
    }
    let len = u32_at(4)? as usize;
    let lsn = u64::from_le_bytes(*header.get(8..)?.first_chunk()?);
    let synced_up_to = lsn - u64::from(u32_at(24)?);
    let bytes = at..at + HEADER_BYTES + len;
    Some(FrameAt { file: name.to_owned(), bytes, lsn, synced_up_to })
}
