//! Clients that are broken, or mean harm, over real sockets. After each of them the server is none the
//! worse: others are served at once, and every seat, session and lease is where it belongs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod answers;
mod connections;
mod floods;
mod frames;
mod requests;
mod stand;
mod tls;
