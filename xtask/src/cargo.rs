//! Cargo and other programs as children, with their test runners' closing lines counted.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Tests counted by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed), skipped: 0 }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The cargo that runs this.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Runs tests by `cargo test ARGUMENTS`, passes its output on and adds up the closing lines of its
/// test runners. A run that failed without a failed test, such as one that did not build, is one
/// failure.
pub(crate) fn test(arguments: &[&str]) -> Counts {
    let mut cargo = Command::new(cargo());
    cargo.args(["test", "--all-features", "--no-fail-fast"]).args(arguments).current_dir(root());
    counted(cargo).unwrap_or_else(|error| {
        eprintln!("cargo test could not be run: {error}");
        Counts::one(false)
    })
}

/// Runs tests, passes their output on and adds up the closing lines.
pub(crate) fn counted(mut command: Command) -> io::Result<Counts> {
    announce(&command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    for line in BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).lines() {
        let line = line?;
        println!("{line}");
        counts = counts.plus(closing_line(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// Runs a program, passes its output on, and tells whether it succeeded.
pub(crate) fn succeeds(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).current_dir(root());
    announce(&command);
    match command.stdin(Stdio::null()).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{program} could not be run: {error}");
            false
        }
    }
}

/// What a program prints, if it succeeds. What it says of its work is passed on.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    let command = command.args(arguments).current_dir(root()).stdin(Stdio::null());
    let done = command.stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| format!("{program} could not be run: {error}"))?;
    if !done.status.success() {
        return Err(format!("{program} {} failed", arguments.join(" ")));
    }
    String::from_utf8(done.stdout).map_err(|error| error.to_string())
}

fn announce(command: &Command) {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    eprintln!("$ {name} {}", arguments.collect::<Vec<_>>().join(" "));
}

/// Reads the line with which a test runner closes: `test result: ok. 3 passed; 0 failed; ...`.
fn closing_line(line: &str) -> Option<Counts> {
    let counted = line.trim_start().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |what: &str| {
        let part = counted.split(';').map(str::trim).find_map(|part| part.strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Counts { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered \
                    out; finished in 0.01s";
        let counts = Counts { passed: 12, failed: 3, skipped: 1 };
        assert_eq!(closing_line(line), Some(counts));
        assert_eq!(closing_line("test cases::all ... ok"), None);
        assert_eq!(closing_line("test result: nonsense"), None);
    }
}
