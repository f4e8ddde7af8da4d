//! The derive of Tidegate's typed tasks.
//!
//! `#[derive(TypedTask)]` ties a type to its kind, version, queue and ordering key, so that the
//! code that sends and the code that handles cannot disagree about them.

mod attribute;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `tidegate::TypedTask` from `#[task(...)]`:
///
/// - `kind = "mail.welcome"`: what the task is called on the wire; required.
/// - `version = 2`: the version of its payload, from 1. Default: 1.
/// - `queue = "mail"`: the queue it goes to unless the sender says otherwise.
/// - `key = user`: the field whose text is the ordering key.
///
/// The type must also derive `serde::Serialize` and `serde::Deserialize`.
#[proc_macro_derive(TypedTask, attributes(task))]
pub fn typed_task(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::typed_task(&input).unwrap_or_else(|error| error.into_compile_error()).into()
}
