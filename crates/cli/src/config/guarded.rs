//! Files that say who comes in: nobody else on the machine may change them, or read what is secret in them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_saphyr::Location;

use super::problem::Problem;
use super::yaml::File;

/// What others than the owner may not do to such a file: change it.
const CHANGE: u32 = 0o022;
/// What they may not do if it has secrets: read it, but for those of its group.
const READ: u32 = 0o005;

/// The text of such a file, and who may do what with it.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) text: String,
    mode: u32,
}

impl Guarded {
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let open = || {
            let mut file = fs::File::open(path)?;
            let (mut text, mode) = (String::new(), file.metadata()?.permissions().mode());
            file.read_to_string(&mut text)?;
            Ok(Self { text, mode })
        };
        open().map_err(|error| Problem::unreadable(path, &error))
    }

    /// Refuses a file that others may do too much with.
    pub(crate) fn check(&self, path: &Path, has_secrets: bool) -> Result<(), Problem> {
        let what = match has_secrets {
            true if self.mode & (CHANGE | READ) != 0 => {
                "others on this machine can read or change it, and it has secrets"
            }
            false if self.mode & CHANGE != 0 => {
                "others on this machine can change it, and it says who comes in"
            }
            _ => return Ok(()),
        };
        let file = File { path, text: "", has_secrets: true };
        let problem = file.problem(Location::UNKNOWN, what.to_owned());
        Err(problem.with_help(format!("chmod 600 {}", path.display())))
    }
}

/// Whether a file with each mode is refused, and told what to do.
#[cfg(test)]
pub(crate) fn assert_refused_by_mode<T>(
    text: &str,
    load: fn(&Path) -> Result<T, Problem>,
    modes: &[(u32, bool)],
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.yaml");
    fs::write(&path, text).unwrap();
    for (mode, is_refused) in modes {
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        let loaded = load(&path);
        assert_eq!(loaded.is_err(), *is_refused, "{mode:o}");
        let report = loaded.err().map(|problem| format!("{:?}", miette::Report::new(problem)));
        assert!(report.is_none_or(|report| report.contains("chmod 600")));
    }
}
