//! What a run did, line by line: hashed, kept, printed or passed over.

use std::fmt::Arguments;
use std::sync::{Mutex, PoisonError};

/// What becomes of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    Lines,
    Print,
}

/// A trace. Two runs of one seed have the same.
#[derive(Debug)]
pub(crate) struct Trace {
    keep: Keep,
    lines: Mutex<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, lines: Mutex::default() }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.keep != Keep::Nothing
    }

    pub(crate) fn line(&self, line: Arguments<'_>) {
        match self.keep {
            Keep::Nothing => {}
            Keep::Lines => {
                let line = line.to_string();
                self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            Keep::Print => println!("{line}"),
        }
    }

    /// The lines so far.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The hash of a trace: FNV-1a over its lines.
fn hash(lines: &[String]) -> u64 {
    let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The first line in which two traces differ, if they do.
pub(crate) fn difference(first: &[String], second: &[String]) -> Option<String> {
    if hash(first) == hash(second) && first.len() == second.len() {
        return None;
    }
    let differs = first.iter().zip(second).position(|(a, b)| a != b);
    let at = differs.unwrap_or(first.len().min(second.len()));
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "nothing".into());
    Some(format!("line {} is\n  {}\nand then\n  {}", at + 1, line(first), line(second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(difference(&lines("a b c"), &lines("a b c")), None);
        assert!(difference(&lines("a b c"), &lines("a x c")).unwrap().contains("line 2 is\n  b"));
        assert!(difference(&lines("a"), &lines("a b")).unwrap().contains("nothing"));
    }
}
