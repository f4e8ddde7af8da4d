//! Bytes on a connection, frames of HTTP/2 among them: it comes to its end, another one is served
//! meanwhile and after it, and what it may make the server hold is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidegate_fuzz::standing_still(tidegate_fuzz::pipe::speak(bytes));
});
