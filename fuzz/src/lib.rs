//! A reader of the log that is written from docs/internals/format.md alone, as slow and as plain as
//! it can be: what the engine's own reader is compared with. `commands` makes sequences of commands
//! out of bytes; `canonical` writes signed requests down; `clients` is a service and what its clients
//! make of it, `messages` what they say. `requests` are those for SQS, in both wire forms.

pub mod canonical;
pub mod clients;
pub mod commands;
pub mod draw;
pub mod ledger;
pub mod messages;
pub mod pipe;
pub mod requests;

/// Runs to the end on one thread, by a clock that moves when nothing else does.
pub fn standing_still(talk: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(talk);
}

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 36;
/// Where the first frame of a segment begins.
pub const FRAMES_START: usize = 64;

/// The seed of the check sums of a segment's headers.
pub fn salt(log: [u8; 16], segment: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&log), &segment.to_le_bytes())
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The header of a segment.
pub fn segment_header(log: [u8; 16], segment: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"TIDEGATE");
    bytes.extend_from_slice(&1u32.to_le_bytes());
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&log);
    bytes.resize(60, 0);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// A frame as bytes.
pub fn frame(kind: u8, lsn: u64, unsynced: u32, body: &[u8], salt: u32) -> Vec<u8> {
    let mut bytes = vec![0x54, 0x67, kind, 0];
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&lsn.to_le_bytes());
    bytes.extend_from_slice(&1_000u64.to_le_bytes());
    bytes.extend_from_slice(&unsynced.to_le_bytes());
    bytes.extend_from_slice(&masked(crc32c::crc32c(body)).to_le_bytes());
    let crc = masked(crc32c::crc32c_append(salt, &bytes));
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A sound frame that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub segment: u32,
    pub at: usize,
    pub bytes: usize,
    pub lsn: u64,
    pub synced_up_to: u64,
}

/// The sound frame at the start of `bytes`: its number, `synced_up_to` and length.
pub fn read(bytes: &[u8], salt: u32) -> Option<(u64, u64, usize)> {
    let head = bytes.get(..HEADER_BYTES)?;
    let four = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
    if four(32) != masked(crc32c::crc32c_append(salt, &head[..32])) {
        return None;
    }
    if head[..2] != [0x54, 0x67] || !(1..=4).contains(&head[2]) {
        return None;
    }
    let (lsn, bytes_of_body) = (eight(8), four(4) as usize);
    let synced_up_to = lsn.checked_sub(u64::from(four(24)))?;
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + bytes_of_body)?;
    (four(28) == masked(crc32c::crc32c(body))).then_some((
        lsn,
        synced_up_to,
        HEADER_BYTES + bytes_of_body,
    ))
}

/// Every sound frame of a segment, looked for at every byte that is not inside another.
pub fn frames(log: [u8; 16], segment: u32, bytes: &[u8]) -> Vec<Found> {
    let (salt, mut at, mut found) = (salt(log, segment), FRAMES_START, Vec::new());
    while at < bytes.len() {
        match read(&bytes[at..], salt) {
            Some((lsn, synced_up_to, length)) => {
                found.push(Found { segment, at, bytes: length, lsn, synced_up_to });
                at += length;
            }
            None => at += 1,
        }
    }
    found
}

/// What a log is: where it ends, and what of it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub next_lsn: u64,
    pub end: (u32, u32),
    pub damage: Vec<(u64, u64)>,
}

/// Reads a log of which no segment was ever cleaned.
pub fn recover(log: [u8; 16], segments: &[(u32, Vec<u8>)]) -> Log {
    let found: Vec<Found> =
        segments.iter().flat_map(|(id, bytes)| frames(log, *id, bytes)).collect();
    let synced = found.iter().map(|frame| frame.synced_up_to).max().unwrap_or(0);
    let mut read = Log { next_lsn: 1, end: (0, 0), damage: Vec::new() };
    let first = segments.first().map(|(id, _)| (*id, FRAMES_START));
    let mut passed_over: Option<Found> = None;
    for frame in found {
        // Frames that go on where one ended that was here before are as old as that one.
        let goes_on = passed_over.is_some_and(|before| {
            let end = (before.segment, before.at + before.bytes, before.lsn + 1);
            end == (frame.segment, frame.at, frame.lsn)
        });
        if frame.lsn < read.next_lsn || goes_on {
            passed_over = Some(frame);
            continue;
        }
        passed_over = None;
        // The number of the frame at the very beginning is told by none before it.
        let is_first = first == Some((frame.segment, frame.at));
        if frame.lsn > read.next_lsn && !is_first {
            // What was not known to be synced was acknowledged to nobody: the log ended there.
            if read.next_lsn > synced && read.end != (0, 0) {
                break;
            }
            let from = if read.end == (0, 0) { 0 } else { read.next_lsn };
            read.damage.push((from, frame.lsn));
        }
        read.next_lsn = frame.lsn + 1;
        read.end = (frame.segment, (frame.at + frame.bytes) as u32);
    }
    read
}
