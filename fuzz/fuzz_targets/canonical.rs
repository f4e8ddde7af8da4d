//! A signed request, in any bytes: its canonical form is what a plain writer of it says, and nobody is let
//! in whose secret nobody has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::canonical;

fuzz_target!(|text: &[u8]| {
    let Some(request) = canonical::Request::read(text) else { return };
    let names: Vec<&str> = request.signed_headers.split(';').collect();
    let written = tidegate_server::auth::canonical_request(&request.parts, &names, canonical::HASH);
    assert_eq!(written, canonical::plain(&request, &names));
    assert!(request.is_refused());
});
