//! The open of a log: sound segments, then damaged, against the plain reader.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tidegate_engine::fuzzing;

const LOG: [u8; 16] = [7; 16];
const SEGMENT_BYTES: usize = 4_096;
/// The record of an extended lease, which changes nothing where its task is not known.
const EXTENDED: u8 = 4;

#[derive(Arbitrary, Debug)]
struct Input {
    segments: Vec<Vec<Frame>>,
    damage: Vec<Damage>,
}

#[derive(Arbitrary, Debug)]
struct Frame {
    /// Numbers that are left out before it, of which most are none.
    skipped: u8,
    unsynced: u8,
    records: u8,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    Flip { segment: u8, at: u16, bit: u8 },
    Zero { segment: u8, at: u16, length: u8 },
    Copy { segment: u8, from: u16, to: u16, length: u8 },
}

fuzz_target!(|input: Input| {
    let mut segments = sound(&input.segments);
    if segments.is_empty() {
        return;
    }
    for damage in &input.damage {
        apply(damage, &mut segments);
    }
    let plain = tidegate_fuzz::recover(LOG, &segments);
    match fuzzing::recover(segments.clone()) {
        // No header of a segment is sound, or there is no frame: then there is no log.
        Ok(None) => {}
        Ok(Some(read)) => {
            let read = tidegate_fuzz::Log {
                next_lsn: read.next_lsn,
                end: if read.next_lsn == 1 { (0, 0) } else { read.end },
                damage: read.damage,
            };
            assert_eq!(read, plain);
        }
        Err(kind) => panic!("refused as {kind:?}"),
    }
});

/// Segments as the engine writes them.
fn sound(frames: &[Vec<Frame>]) -> Vec<(u32, Vec<u8>)> {
    let mut lsn = 0;
    let mut segments = Vec::new();
    for (id, frames) in (1..).zip(frames.iter().take(6)) {
        let salt = tidegate_fuzz::salt(LOG, id);
        let mut bytes = tidegate_fuzz::segment_header(LOG, id);
        for frame in frames {
            lsn += 1 + u64::from(frame.skipped.saturating_sub(250));
            let unsynced = u64::from(frame.unsynced).min(lsn) as u32;
            let body = extended().repeat(usize::from(frame.records % 4));
            bytes.extend(tidegate_fuzz::frame(1, lsn, unsynced, &body, salt));
        }
        bytes.resize(SEGMENT_BYTES.max(bytes.len()), 0);
        segments.push((id, bytes));
    }
    segments
}

fn extended() -> Vec<u8> {
    let mut record = vec![EXTENDED];
    record.extend_from_slice(&u32::MAX.to_le_bytes());
    record.extend_from_slice(&9u64.to_le_bytes());
    record.extend_from_slice(&1_000u64.to_le_bytes());
    record
}

/// Damages what comes after the segment's header.
fn apply(damage: &Damage, segments: &mut [(u32, Vec<u8>)]) {
    let count = segments.len();
    let place = |at: u16, bytes: &[u8]| {
        let start = tidegate_fuzz::FRAMES_START;
        start + usize::from(at) % (bytes.len() - start)
    };
    match *damage {
        Damage::Flip { segment, at, bit } => {
            let bytes = &mut segments[usize::from(segment) % count].1;
            let at = place(at, bytes);
            bytes[at] ^= 1 << (bit % 8);
        }
        Damage::Zero { segment, at, length } => {
            let bytes = &mut segments[usize::from(segment) % count].1;
            let at = place(at, bytes);
            let end = (at + usize::from(length)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        Damage::Copy { segment, from, to, length } => {
            let bytes = &mut segments[usize::from(segment) % count].1;
            let (from, to) = (place(from, bytes), place(to, bytes));
            let length = usize::from(length).min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + length, to);
        }
    }
}
