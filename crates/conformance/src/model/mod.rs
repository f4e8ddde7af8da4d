//! The model test: random sequences of commands against a broker and the memory broker, answer for
//! answer.

mod subject;

pub use subject::{MemorySubject, Subject};
