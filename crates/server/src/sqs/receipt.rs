//! Receipt handles: a lease's token, and what the protocol asks about a lease that the token does not
//! say. They outlive connections and servers, and nothing is remembered for them.

use base64_simd::{Out, STANDARD};
use tidegate_core::limits::TOKEN_BYTES_MAX;
use tidegate_core::{Lease, LeaseToken, QueueName, TaskId, Timestamp};

use super::errors::{Code, Failure};

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;
const ID_BYTES: usize = 16;
/// Version, two moments, the id and the check.
const HEAD_BYTES: usize = 1 + 8 + 8 + ID_BYTES + CHECK_BYTES;
/// No handle is longer.
const CHARS_MAX: usize = (HEAD_BYTES + TOKEN_BYTES_MAX).div_ceil(3) * 4;

/// What a receipt handle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// When the message was received. The twelve hours of a visibility timeout count from here.
    pub(crate) received_at: Timestamp,
    /// When its lease ends unless that is changed.
    pub(crate) until: Timestamp,
    /// The message's id.
    pub(crate) id: TaskId,
    pub(crate) token: LeaseToken,
}

impl Receipt {
    /// Of a lease that was just handed out.
    pub(crate) fn of(lease: &Lease) -> Self {
        let received_at = lease.until.as_millis().saturating_sub(lease.duration.as_millis() as u64);
        let received_at = Timestamp::from_millis(received_at);
        Self { received_at, until: lease.until, id: lease.task.id, token: lease.token.clone() }
    }

    /// The handle: base64 of version, moments, id, check and token.
    pub(crate) fn to_handle(&self, queue: &QueueName) -> String {
        let token = self.token.as_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + token.len());
        bytes.push(VERSION);
        bytes.extend(self.received_at.as_millis().to_be_bytes());
        bytes.extend(self.until.as_millis().to_be_bytes());
        bytes.extend(self.id.as_bytes());
        bytes.extend(check(&bytes, token, queue).to_be_bytes());
        bytes.extend(token);
        STANDARD.encode_to_string(bytes)
    }

    /// Reads a handle of this queue.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid` for anything that is none.
    pub(crate) fn read(handle: &str, queue: &QueueName) -> Result<Self, Failure> {
        Self::parse(handle, queue).ok_or_else(|| {
            let why =
                format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
            Code::ReceiptHandleIsInvalid.because(why)
        })
    }

    fn parse(handle: &str, queue: &QueueName) -> Option<Self> {
        if handle.len() > CHARS_MAX {
            return None;
        }
        // INVARIANT: what the longest handle can hold, for a buffer that is too short is a panic.
        let mut bytes = [0; CHARS_MAX / 4 * 3];
        let bytes = STANDARD.decode(handle.as_bytes(), Out::from_slice(&mut bytes)).ok()?;
        let (head, token) = bytes.split_at_checked(HEAD_BYTES)?;
        let (told, checked) = head.split_at_checked(HEAD_BYTES - CHECK_BYTES)?;
        let (version, moments) = told.split_first()?;
        let (received_at, rest) = moments.split_at_checked(8)?;
        let (until, id) = rest.split_at_checked(8)?;
        let moment = |bytes: &[u8]| {
            bytes.try_into().ok().map(|bytes| Timestamp::from_millis(u64::from_be_bytes(bytes)))
        };
        let is_whole = checked == check(told, token, queue).to_be_bytes().as_slice();
        (is_whole && *version == VERSION).then_some(Self {
            received_at: moment(received_at)?,
            until: moment(until)?,
            id: TaskId::from_bytes(id.try_into().ok()?),
            token: LeaseToken::from_slice(token),
        })
    }
}

/// WHY: what was cut, or belongs to another queue, is told from a handle before a broker is asked.
fn check(told: &[u8], token: &[u8], queue: &QueueName) -> u32 {
    let sum = crc32c::crc32c(queue.as_str().as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, told), token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    fn receipt() -> Receipt {
        Receipt {
            received_at: Timestamp::from_millis(1_767_225_600_000),
            until: Timestamp::from_millis(1_767_225_630_000),
            id: TaskId::from_bytes([7; 16]),
            token: LeaseToken::from_slice(b"token"),
        }
    }

    #[test]
    fn a_handle_reads_back_and_is_of_its_queue_alone() {
        let handle = receipt().to_handle(&queue("a"));
        assert_eq!(handle, "AQAAAZt22qgAAAABm3bbHTAHBwcHBwcHBwcHBwcHBwcH7SPNZXRva2Vu");
        assert_eq!(Receipt::read(&handle, &queue("a")), Ok(receipt()));
        let elsewhere = Receipt::read(&handle, &queue("b")).unwrap_err();
        assert_eq!(elsewhere.code, Code::ReceiptHandleIsInvalid);
    }

    #[test]
    fn no_bit_of_a_handle_can_be_another() {
        let bytes = STANDARD.decode_to_vec(receipt().to_handle(&queue("a"))).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Receipt::read(&STANDARD.encode_to_string(bytes), &queue("a")).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn the_longest_handle_reads_back_and_one_that_is_longer_is_none() {
        let token = LeaseToken::from_slice(&[0xff; TOKEN_BYTES_MAX]);
        let longest = Receipt { token, ..receipt() };
        let handle = longest.to_handle(&queue("a"));
        assert_eq!(handle.len(), CHARS_MAX);
        assert_eq!(Receipt::read(&handle, &queue("a")), Ok(longest));
        for chars in CHARS_MAX - 4..=CHARS_MAX + 4 {
            assert!(Receipt::read(&"A".repeat(chars), &queue("a")).is_err(), "{chars}");
        }
    }

    #[test]
    fn what_is_no_handle_is_named_as_such() {
        for text in ["", "garbage", "AQ==", "=", "é"] {
            let failure = Receipt::read(text, &queue("a")).unwrap_err();
            let why = format!("The input receipt handle \"{text}\" is not a valid receipt handle.");
            assert_eq!(failure, Code::ReceiptHandleIsInvalid.because(why));
        }
    }
}
