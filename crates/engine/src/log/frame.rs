//! A frame: one command's records under one header. The unit that is wholly there or not at all.
//!
//! The header has a check sum of its own, seeded with the segment's salt, so that a length is
//! trusted before it is used and nothing of a segment's former life is taken for the present.

use tidegate_core::Timestamp;

use super::bytes::Take;

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 36;
/// The first two bytes of every frame. Not zero: a zeroed header must not look like a frame.
const MAGIC: u16 = 0x6754;
/// The same as bytes.
pub(crate) const MAGIC_BYTES: [u8; 2] = MAGIC.to_le_bytes();

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// The records of a command.
    Command = 1,
    /// What a segment must know before its first command.
    Catalogue = 2,
    /// Nothing: it says that all before it was synced.
    IdleMark = 3,
    /// The same, and that the log was closed.
    ClosingMark = 4,
}

impl FrameKind {
    fn from_u8(value: u8) -> Option<Self> {
        [Self::Command, Self::Catalogue, Self::IdleMark, Self::ClosingMark]
            .into_iter()
            .find(|kind| *kind as u8 == value)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FrameKind,
    /// Bytes of the body.
    pub(crate) len: u32,
    /// The frame's number: one more than that of the frame before.
    pub(crate) lsn: u64,
    /// The log's time when it was written.
    pub(crate) time: Timestamp,
    /// The last frame that was known to be synced when this one was written.
    pub(crate) synced_up_to: u64,
    body_crc: u32,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// There are only zeros: nothing was ever written here.
    Blank,
    /// The header is damaged, or not of this segment's life.
    Header,
    /// The header is sound; its body is cut off or damaged.
    Body,
}

/// A check sum that is never zero for zeros: rotated and offset, as in LevelDB's log.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn header_crc(head: &[u8], salt: u32) -> u32 {
    masked(crc32c::crc32c_append(salt, head))
}

impl Header {
    pub(crate) fn new(
        kind: FrameKind,
        lsn: u64,
        time: Timestamp,
        synced_up_to: u64,
        body: &[u8],
    ) -> Self {
        let body_crc = masked(crc32c::crc32c(body));
        Self { kind, len: body.len() as u32, lsn, time, synced_up_to, body_crc }
    }

    /// The header as bytes, for a segment with `salt`.
    pub(crate) fn to_bytes(self, salt: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let unsynced = u32::try_from(self.lsn - self.synced_up_to).unwrap_or(u32::MAX);
        let fields: [&[u8]; 7] = [
            &MAGIC_BYTES,
            &[self.kind as u8, 0],
            &self.len.to_le_bytes(),
            &self.lsn.to_le_bytes(),
            &self.time.as_millis().to_le_bytes(),
            &unsynced.to_le_bytes(),
            &self.body_crc.to_le_bytes(),
        ];
        let (covered, crc) = bytes.split_at_mut(HEADER_BYTES - 4);
        let mut places = covered.iter_mut();
        for (byte, place) in fields.into_iter().flatten().zip(&mut places) {
            *place = *byte;
        }
        crc.copy_from_slice(&header_crc(covered, salt).to_le_bytes());
        bytes
    }

    /// Writes the header over the bytes kept free for it.
    pub(crate) fn write_over(self, salt: u32, place: &mut [u8]) {
        if let Some(place) = place.get_mut(..HEADER_BYTES) {
            place.copy_from_slice(&self.to_bytes(salt));
        }
    }

    fn read(bytes: &[u8], salt: u32) -> Result<Self, BadFrame> {
        let head = bytes.get(..HEADER_BYTES).ok_or(BadFrame::Header)?;
        if head.iter().all(|byte| *byte == 0) {
            return Err(BadFrame::Blank);
        }
        Self::take(head, salt).ok_or(BadFrame::Header)
    }

    fn take(head: &[u8], salt: u32) -> Option<Self> {
        let (covered, crc) = head.split_at_checked(HEADER_BYTES - 4)?;
        if crc != header_crc(covered, salt).to_le_bytes() {
            return None;
        }
        let mut take = Take::new(covered);
        if take.u16()? != MAGIC {
            return None;
        }
        let kind = FrameKind::from_u8(take.u8()?)?;
        let _reserved = take.u8()?;
        let len = take.u32()?;
        let lsn = take.u64()?;
        let time = Timestamp::from_millis(take.u64()?);
        let synced_up_to = lsn.checked_sub(u64::from(take.u32()?))?;
        Some(Self { kind, len, lsn, time, synced_up_to, body_crc: take.u32()? })
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.len as usize
    }
}

/// A frame that was read, or why it was not, with its header where that is sound.
pub(crate) type FrameRead<'a> = Result<(Header, &'a [u8]), (BadFrame, Option<Header>)>;

/// Reads the frame at the start of `bytes`, which end where the segment ends.
pub(crate) fn read(bytes: &[u8], salt: u32) -> FrameRead<'_> {
    let header = Header::read(bytes, salt).map_err(|bad| (bad, None))?;
    let body = bytes.get(HEADER_BYTES..header.frame_bytes());
    let sound = body.filter(|body| masked(crc32c::crc32c(body)) == header.body_crc);
    sound.map(|body| (header, body)).ok_or((BadFrame::Body, Some(header)))
}

/// Reads only the header at the start of `bytes`.
pub(crate) fn read_header(bytes: &[u8], salt: u32) -> Result<Header, BadFrame> {
    Header::read(bytes, salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 77;

    fn frame(body: &[u8]) -> Vec<u8> {
        let time = Timestamp::from_millis(9);
        let header = Header::new(FrameKind::Command, 12, time, 10, body);
        let mut bytes = header.to_bytes(SALT).to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_frame_is_read_back() {
        for body in [&b""[..], b"records"] {
            let bytes = frame(body);
            let (header, read_body) = read(&bytes, SALT).unwrap();
            assert_eq!((header.lsn, header.synced_up_to, read_body), (12, 10, body));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = frame(b"records");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit / 8 < HEADER_BYTES { BadFrame::Header } else { BadFrame::Body };
            assert_eq!(read(&damaged, SALT).unwrap_err().0, expected, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_life_is_not_one() {
        let bytes = frame(b"records");
        assert_eq!(read(&bytes, SALT + 1).unwrap_err().0, BadFrame::Header);
    }

    #[test]
    fn zeros_are_blank_and_a_cut_off_body_is_seen() {
        assert_eq!(read(&[0; 100], SALT).unwrap_err().0, BadFrame::Blank);
        let bytes = frame(b"records");
        assert_eq!(read(&bytes[..bytes.len() - 1], SALT).unwrap_err().0, BadFrame::Body);
        assert_eq!(read(&bytes[..HEADER_BYTES - 1], SALT).unwrap_err().0, BadFrame::Header);
    }
}
