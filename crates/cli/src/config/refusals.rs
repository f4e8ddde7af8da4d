//! For tests: what a file with secrets is refused with.

use std::path::Path;

use super::problem::Problem;

/// What is wrong with a file, with its help. No secret is in it: those of the tests begin with `hunter2`.
#[track_caller]
pub(super) fn told<T: std::fmt::Debug>(
    name: &str,
    text: &str,
    read: fn(&Path, &str) -> Result<T, Problem>,
) -> String {
    let problem = read(Path::new(name), text).unwrap_err();
    let report = format!("{:?}", miette::Report::new(problem));
    assert!(!report.contains("hunter2"), "{report}");
    // WHY: as it reads, wherever a line was broken.
    report.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// That a file which is good but for one change is refused, and how it is told.
#[track_caller]
pub(super) fn refuses<T: std::fmt::Debug>(
    name: &str,
    good: &str,
    (before, after): (&str, &str),
    tells: &[&str],
    read: fn(&Path, &str) -> Result<T, Problem>,
) {
    assert!(good.contains(before), "{before}");
    let report = told(name, &good.replacen(before, after, 1), read);
    for tells in tells {
        assert!(report.contains(tells), "{tells:?} is not in {report}");
    }
}
