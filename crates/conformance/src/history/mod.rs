//! The history checker: what clients saw of a broker that was killed under load, and whether any
//! broker that keeps the contract could have shown it.
//!
//! Clients write an [`Event`] for every operation, and a `Final` one for each queue when all is
//! quiet. [`check`] judges by names: see [`Judgement`]. Two of them are reported and not invalid,
//! because at-least-once delivery means just that.

mod check;
mod event;
mod findings;
mod life;

pub use check::check;
pub use event::{Answer, Decided, DedupSent, Event, Outcome, What, read, token_hash, write};
pub use findings::{Finding, Findings, Judgement};
