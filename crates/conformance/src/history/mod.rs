//! The history checker: what clients saw of a broker that was killed under load, and whether any
//! broker that keeps the contract could have shown it.

mod event;

pub use event::{Answer, Decided, DedupSent, Event, Outcome, What, read, token_hash, write};
