//! A segment: a file of the log. It begins with a header, then frames follow until its end or until
//! something that is not a frame of this segment's life.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::{Put, Take};
use crate::disk::DiskFile;

/// The version of the format that is written, and the newest that is read.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Where the first frame begins.
pub(crate) const FRAMES_START: u32 = 64;
const MAGIC: &[u8; 8] = b"TIDEGATE";
/// Where the log's id stands in the header.
const LOG_ID: std::ops::Range<usize> = 16..32;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The log's own random id: a segment of another log is not taken for one of this.
    pub(crate) log: [u8; 16],
    /// The segment's number, one more than that of the segment before.
    pub(crate) id: u32,
}

/// What the beginning of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Sound(SegmentHeader),
    /// One bit of it had flipped, and this is what it said before.
    Mended(SegmentHeader),
    /// Written by a newer program.
    Newer(u32),
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAMES_START as usize);
        bytes.put(MAGIC);
        bytes.put_u32(FORMAT_VERSION);
        bytes.put_u32(self.id);
        bytes.put(&self.log);
        bytes.resize(FRAMES_START as usize - 4, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> HeaderRead {
        Self::take(bytes).or_else(|| Self::mend(bytes)).unwrap_or(HeaderRead::Damaged)
    }

    /// What the header said before a bit of it flipped.
    ///
    /// Any two headers with sound check sums differ in at least six bits, so there is no more than
    /// one that is a single bit away, and a header with up to four flipped bits is not mended wrongly.
    fn mend(bytes: &[u8]) -> Option<HeaderRead> {
        let mut tried = bytes.get(..FRAMES_START as usize)?.to_vec();
        for bit in 0..tried.len() * 8 {
            flip(&mut tried, bit);
            match Self::take(&tried) {
                Some(HeaderRead::Sound(header)) => return Some(HeaderRead::Mended(header)),
                Some(read) => return Some(read),
                None => flip(&mut tried, bit),
            }
        }
        None
    }

    fn take(bytes: &[u8]) -> Option<HeaderRead> {
        let (covered, crc) = bytes.get(..FRAMES_START as usize)?.split_last_chunk::<4>()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut take = Take::new(covered);
        if take.bytes(MAGIC.len())? != MAGIC {
            return None;
        }
        let version = take.u32()?;
        if version > FORMAT_VERSION {
            return Some(HeaderRead::Newer(version));
        }
        let id = take.u32()?;
        Some(HeaderRead::Sound(Self { log: take.id()?, id }))
    }

    /// What a damaged header of the segment `id` says of its log; `None` if it is blank.
    pub(crate) fn claimed(bytes: &[u8], id: u32) -> Option<Self> {
        let log = bytes.get(LOG_ID)?.try_into().ok()?;
        bytes.iter().any(|byte| *byte != 0).then_some(Self { log, id })
    }

    /// The seed of the segment's frames' check sums: another for every life of the file.
    pub(crate) fn salt(self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.log), &self.id.to_le_bytes())
    }
}

fn flip(bytes: &mut [u8], bit: usize) {
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

/// An open segment. Whoever reads of it holds it, and it is not used again before all have let go.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes of the file.
    pub(crate) size: u32,
    pub(crate) salt: u32,
}

/// The path of a segment.
pub(crate) fn segment_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:010}.seg"))
}

/// The path of a file that waits to become a segment.
pub(crate) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("spare-{number:010}"))
}

/// The number in the name of a segment.
pub(crate) fn segment_id(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 10)?;
    digits.parse().ok()
}

/// The number in the name of a spare.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix("spare-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { log: [7; 16], id: 42 };

    #[test]
    fn a_header_is_read_back_and_mended_where_one_bit_flipped() {
        let mut bytes = HEADER.to_bytes();
        assert_eq!(SegmentHeader::read(&bytes), HeaderRead::Sound(HEADER));
        for bit in 0..bytes.len() * 8 {
            flip(&mut bytes, bit);
            assert_eq!(SegmentHeader::read(&bytes), HeaderRead::Mended(HEADER), "bit {bit}");
            flip(&mut bytes, bit);
        }
    }

    #[test]
    fn a_header_with_more_damage_is_not_guessed() {
        let sound = HEADER.to_bytes();
        for first in 0..sound.len() * 8 {
            // WHY: not every pair of them, which takes a minute.
            for second in (0..first).step_by(41) {
                let mut bytes = sound.clone();
                [first, second].into_iter().for_each(|bit| flip(&mut bytes, bit));
                assert_eq!(SegmentHeader::read(&bytes), HeaderRead::Damaged, "{first} {second}");
            }
        }
        assert_eq!(SegmentHeader::read(&[0; 64]), HeaderRead::Damaged);
        assert_eq!(SegmentHeader::read(&sound[..63]), HeaderRead::Damaged);
        assert_eq!(SegmentHeader::read(&[]), HeaderRead::Damaged);
    }

    /// The header of a newer format is one also where a bit of it flipped; one that only a flipped
    /// bit makes newer is of this format.
    #[test]
    fn a_newer_version_is_told_from_a_flipped_bit() {
        let mut newer = HEADER.to_bytes();
        newer[8] = 5;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::read(&newer), HeaderRead::Newer(5));
        for bit in 0..newer.len() * 8 {
            flip(&mut newer, bit);
            assert_eq!(SegmentHeader::read(&newer), HeaderRead::Newer(5), "bit {bit}");
            flip(&mut newer, bit);
        }
        let mut flipped = HEADER.to_bytes();
        flipped[8] ^= 4;
        assert_eq!(SegmentHeader::read(&flipped), HeaderRead::Mended(HEADER));
    }

    #[test]
    fn every_life_has_its_own_salt() {
        let salt = |id| SegmentHeader { log: [7; 16], id }.salt();
        assert_ne!(salt(1), salt(2));
    }

    #[test]
    fn names_carry_numbers() {
        let dir = Path::new("d");
        assert_eq!(segment_path(dir, 7), dir.join("0000000007.seg"));
        assert_eq!(segment_id("0000000007.seg"), Some(7));
        assert_eq!(segment_id("7.seg"), None);
        assert_eq!(spare_number("spare-0000000003"), Some(3));
    }
}
