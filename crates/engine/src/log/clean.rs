//! Reading the oldest segment for what may still be needed of it.

use tidegate_core::Bytes;

use super::frame;
use super::record::{self, Record, Written};
use super::segment::{FRAMES_START, Segment};
use crate::position::Position;
use crate::state::Candidate;

/// A segment that is being cleaned, and how far its reader has come.
#[derive(Debug)]
pub(crate) struct Cleaning {
    bytes: Vec<u8>,
    segment: u32,
    salt: u32,
    at: usize,
}

impl Cleaning {
    /// Reads a segment to clean it.
    pub(crate) fn begin(segment: &Segment) -> std::io::Result<Self> {
        let mut bytes = vec![0; segment.size as usize];
        segment.file.read_at(&mut bytes, 0)?;
        Ok(Self { bytes, segment: segment.id, salt: segment.salt, at: FRAMES_START as usize })
    }

    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// The candidates of the next frame that has any; `None` at the end. Damaged frames were named
    /// at the open and are passed over.
    pub(crate) fn next(&mut self) -> Option<Vec<Candidate>> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            match frame::read(rest, self.salt) {
                Ok((header, body)) => {
                    let body_at = (self.at + frame::HEADER_BYTES) as u32;
                    let at = Position::new(self.segment, body_at);
                    let candidates: Vec<_> =
                        record::read(body, at).flatten().flat_map(of).collect();
                    self.at += header.frame_bytes();
                    if !candidates.is_empty() {
                        return Some(candidates);
                    }
                }
                Err((_, Some(header))) => self.at += header.frame_bytes(),
                Err((_, None)) => {
                    self.at = super::recovery::next_header(&self.bytes, self.at + 1, self.salt)?;
                }
            }
        }
    }
}

fn of(record: Record<'_>) -> Vec<Candidate> {
    match record {
        Record::Enqueued { queue, tasks } => {
            tasks.map(|written| body(&written, Some(queue))).collect()
        }
        Record::Snapshot(snapshot) => vec![body(&snapshot.written, None)],
        Record::Dedup { queue, key, .. } => vec![Candidate::Dedup { queue, key: key.into() }],
        _ => Vec::new(),
    }
}

fn body(written: &Written<'_>, opened_in: Option<u32>) -> Candidate {
    let Written { task, at, body } = *written;
    Candidate::Body { task, at, body: Bytes::copy_from_slice(body), opened_in }
}
