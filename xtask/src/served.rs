//! The real binary as a server, for the commands that try it from outside.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::workload::Failure;

/// Where a server says that it is ready, in its directory.
pub(crate) const READY: &str = "ready.json";
/// What it says, in its directory.
pub(crate) const LOG: &str = "server.log";

/// Starts `tidegate serve` in a directory. Of the settings in the environment it has none but the broker's URL.
pub(crate) fn serve(
    program: &Path,
    dir: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    broker: Option<&str>,
) -> Result<Child, Failure> {
    let mut command = Command::new(program);
    command.args(["serve", "--ready-file", READY]).args(arguments).current_dir(dir);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
        command.env_remove(name);
    }
    command.envs(broker.map(|url| ("TIDEGATE_BROKER", url)));
    let log = fs::File::options().create(true).append(true).open(dir.join(LOG))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}
