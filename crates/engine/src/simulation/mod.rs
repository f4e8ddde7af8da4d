//! A machine that stands still until it is told to go on: a disk that forgets, tears and fails, and
//! an engine whose threads are steps that somebody else does. `cargo xtask simulate` drives it.
//!
//! Everything is drawn from one generator and done on one thread, so that the same seed gives the
//! same run, byte for byte.

mod disk;
mod faults;
mod file;
mod flips;
mod machine;
mod process;

pub use faults::{End, Faults, Tally};
pub use flips::Flip;
pub use machine::Machine;
pub use process::{Process, fence_epoch};
