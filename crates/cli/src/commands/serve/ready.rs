//! The file that says that the server is ready, and where.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;

/// A file that is there while the server is ready. Dropping it removes it.
#[derive(Debug)]
pub(super) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Writes `value` as JSON. Who sees the file sees all of it.
    pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<Self, Failure> {
        write(path, value).map(|()| Self(path.to_owned())).map_err(|error| {
            Failure::failed(format!("the ready file {} cannot be written: {error}", path.display()))
        })
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // WHY: others read it than the one who started the server, and there is no secret in it.
    let readable = Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(dir)?;
    serde_json::to_writer(&mut file, value)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("warning: {} could not be removed: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_replaces_an_older_one_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        std::fs::write(&path, "of a server that crashed").unwrap();
        let ready = ReadyFile::write(&path, &[1, 2]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[1,2]\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        drop(ready);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
