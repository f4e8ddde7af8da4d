//! Requests for SQS in AWS JSON: they are refused or read within their bytes, and read the same when they
//! are written again, in JSON and as a form.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

fuzz_target!(|input: &[u8]| tidegate_fuzz::requests::json(input, &MEMORY));
