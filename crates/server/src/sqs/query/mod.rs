//! The Query protocol: forms come in, XML goes out.
//!
//! A form is folded into the JSON that the same request would be, by a table of each action's members,
//! and an answer is unfolded from its JSON: so both wire forms share one type, and only this folder
//! knows the other names.

mod fold;
mod members;
mod xml;

pub(crate) use fold::{Form, fold};
#[cfg(test)]
pub(crate) use members::{member_names, pair_names};
pub(crate) use xml::{answer, caller_identity, error, unknown_operation};
