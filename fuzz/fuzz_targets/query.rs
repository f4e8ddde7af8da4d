//! Requests for SQS as forms: they are refused or read within their bytes, and read the same when they
//! are written again, as a form and in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

fuzz_target!(|input: &[u8]| tidegate_fuzz::requests::query(input, &MEMORY));
