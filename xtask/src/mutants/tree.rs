//! A copy of the workspace, so that no bug is ever put into the original.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::list::Mutant;
use crate::cargo;

/// How long a check may take: a bug can make it wait for ever.
const PATIENCE: Duration = Duration::from_secs(600);
/// That, and the time it takes to build everything on a machine that does other things too.
const FIRST_PATIENCE: Duration = Duration::from_secs(3_600);
const LOOK: Duration = Duration::from_millis(100);

/// The copy.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Copies every file that git knows. What was built in an earlier copy is used again.
    pub(super) fn copy() -> Result<Self, String> {
        let from = cargo::root();
        // WHY: not by the name of the profile that builds it, whose own folder is there.
        let root = from.join("target").join("mutated");
        let files = cargo::output("git", &["ls-files"])?;
        let known: BTreeSet<PathBuf> = files.lines().map(|file| root.join(file)).collect();
        remove_strays(&root, &known)?;
        for file in files.lines() {
            let (source, target) = (from.join(file), root.join(file));
            // A file that was deleted but not yet from git's list is none of the workspace.
            let Ok(bytes) = fs::read(&source) else { continue };
            if fs::read(&target).is_ok_and(|there| there == bytes) {
                continue;
            }
            let folder = target.parent().map_or(Ok(()), fs::create_dir_all);
            let copied = folder.and_then(|()| fs::write(&target, bytes));
            copied.map_err(|error| format!("{}: {error}", target.display()))?;
        }
        Ok(Self { root })
    }

    /// Does something with a bug in the copy, and takes it out again.
    pub(super) fn with<T>(
        &self,
        mutant: &Mutant,
        run: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let Mutant { name, file, find, put } = *mutant;
        let path = self.root.join(file);
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let sound = fs::read_to_string(&path).map_err(told)?;
        if sound.matches(find).count() != 1 {
            return Err(format!("{name}: its place in {file} is not there once"));
        }
        fs::write(&path, sound.replace(find, put)).map_err(told)?;
        let done = run();
        fs::write(&path, sound).map_err(told)?;
        done
    }

    /// Runs cargo in the copy and tells whether it succeeded in time.
    pub(super) fn cargo(&self, arguments: &[&str]) -> Result<bool, String> {
        self.cargo_within(PATIENCE, arguments)
    }

    /// Runs cargo in the copy, which nothing has been built in yet.
    pub(super) fn cargo_at_first(&self, arguments: &[&str]) -> Result<bool, String> {
        self.cargo_within(FIRST_PATIENCE, arguments)
    }

    fn cargo_within(&self, patience: Duration, arguments: &[&str]) -> Result<bool, String> {
        let mut command = Command::new(cargo::cargo());
        command.args(arguments).current_dir(&self.root);
        command.env("CARGO_TARGET_DIR", self.root.join("target"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // WHY: a group of its own, so that what cargo started ends with it.
        command.process_group(0);
        let told = |error: std::io::Error| format!("cargo could not be run: {error}");
        let mut child = command.spawn().map_err(told)?;
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = child.try_wait().map_err(told)? {
                return Ok(status.success());
            }
            std::thread::park_timeout(LOOK);
        }
        if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        child.wait().map_err(told)?;
        Ok(false)
    }
}

/// Removes what an earlier copy had and the workspace no longer has, but not what was built.
fn remove_strays(folder: &Path, known: &BTreeSet<PathBuf>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            remove_strays(&path, known)?;
        } else if path.is_file() && !known.contains(&path) {
            fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_workspace_no_longer_has_is_removed_from_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let [kept, stray, built] =
            ["src/kept.rs", "src/old/stray.rs", "target/built"].map(|name| dir.path().join(name));
        for file in [&kept, &stray, &built] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        remove_strays(dir.path(), &BTreeSet::from([kept.clone()])).unwrap();
        assert!(kept.exists() && built.exists());
        assert!(!stray.exists());
    }
}
