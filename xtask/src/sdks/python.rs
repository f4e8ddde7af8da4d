//! The programs in Python, and the packages that they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::root;
use crate::workload::Failure;

/// Where they are written.
pub(super) fn source() -> PathBuf {
    root().join("examples/sqs-python")
}

/// Where packages are installed under a name.
pub(super) fn target(name: &str) -> PathBuf {
    root().join("target/examples/sqs-python").join(name.replace(' ', "-"))
}

/// The Python that has the packages.
pub(super) fn of(target: &Path) -> PathBuf {
    target.join(".venv/bin/python")
}

/// Installs what a file of requirements asks for.
pub(super) fn install(target: &Path, requirements: &str) -> Result<(), Failure> {
    fs::create_dir_all(target)?;
    run(Command::new("python3").args(["-m", "venv", ".venv"]).current_dir(target))?;
    let mut pip = Command::new(of(target));
    pip.args(["-m", "pip", "install", "--quiet", "-r"]).arg(source().join(requirements));
    run(&mut pip)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    match command.stdin(Stdio::null()).status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{command:?} ended with {status}").into()),
    }
}
