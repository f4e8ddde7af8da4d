//! Clients that say anything, on the streams and in plain calls: every call has its end, what was
//! acknowledged is there, and no lease is anybody else's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidegate_fuzz::standing_still(tidegate_fuzz::clients::talk(bytes));
});
