//! The reader of frames and records: any bytes, never a panic, and what it takes for sound is what
//! the plain reader does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_engine::fuzzing;

fuzz_target!(|input: (u32, Vec<u8>)| {
    let (salt, bytes) = input;
    let plain = tidegate_fuzz::read(&bytes, salt);
    let read = fuzzing::read_frame(&bytes, salt);
    assert_eq!(
        read.as_ref().map(|frame| (frame.lsn, frame.synced_up_to, frame.body.len())),
        plain.map(|(lsn, synced, length)| (lsn, synced, length - tidegate_fuzz::HEADER_BYTES)),
    );
    // The same bytes as a body with sound check sums: nearly no random header has those.
    let framed = tidegate_fuzz::frame(1, u64::from(salt) + 1, 1, &bytes, salt);
    let framed = fuzzing::read_frame(&framed, salt).expect("a frame that was just made");
    assert_eq!(framed.body, bytes);
    fuzzing::read_records(&bytes);
});
