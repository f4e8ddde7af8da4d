//! `tidy`: the rules of the house that no compiler checks. Each rule is a file; each complaint names
//! the place and what to do.

mod bans;
mod layers;
mod lengths;
mod pages;
mod sources;

use std::fmt;
use std::process::ExitCode;

use sources::Source;

/// A rule that is broken somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The file, from the root, with the line where that is known.
    place: String,
    /// What is wrong and what to do.
    what: String,
}

impl Complaint {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Finds what breaks one rule.
type Rule = fn(&[Source]) -> Vec<Complaint>;

/// Checks every rule and prints what is broken.
pub(crate) fn main() -> ExitCode {
    if is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether no rule is broken; prints each that is.
pub(crate) fn is_clean() -> bool {
    let complaints = complaints();
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    if complaints.is_empty() {
        println!("tidy: nothing to complain about");
    } else {
        eprintln!("tidy: {} complaints", complaints.len());
    }
    complaints.is_empty()
}

fn complaints() -> Vec<Complaint> {
    let sources = match sources::all() {
        Ok(sources) => sources,
        Err(error) => return vec![Complaint::new(".", format!("cannot be read: {error}"))],
    };
    const RULES: [Rule; 4] = [bans::check, layers::check, lengths::check, pages::check];
    RULES.iter().flat_map(|rule| rule(&sources)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let complaints = complaints();
        let text: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
        assert!(complaints.is_empty(), "{}", text.join("\n"));
    }
}
