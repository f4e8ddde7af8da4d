//! Small file systems of their own, mounted from a file or from memory, for tests that fill them up
//! or cut their power. Only root may mount; everything is unmounted and removed again, whatever
//! happens.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::needs::{self, FOR_VOLUMES};

/// Bytes of a file system. XFS makes none that are smaller than 300 MiB.
const BYTES: u64 = 320 << 20;
/// How long a process that was killed may keep a file system busy.
const BUSY_MAX: Duration = Duration::from_secs(20);

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Tmpfs,
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "XFS",
            Self::Tmpfs => "tmpfs",
        })
    }
}

/// How the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// What is in the journal's memory is gone, and all that was not synced.
    Hard,
    /// The journal is written out first: names and sizes are there, contents may not be.
    JournalFlushed,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hard => "hard",
            Self::JournalFlushed => "journal flushed",
        })
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Volume {
    file_system: FileSystem,
    image: PathBuf,
    point: PathBuf,
}

impl Volume {
    /// Makes and mounts an empty file system under `dir`.
    pub(crate) fn new(dir: &Path, name: &str, file_system: FileSystem) -> Result<Self, String> {
        let (image, point) = (dir.join(format!("{name}.img")), dir.join(name));
        fs::create_dir_all(&point).map_err(|error| format!("{}: {error}", point.display()))?;
        let volume = Self { file_system, image, point };
        // WHY: one that was left there by a process that was killed.
        volume.unmount_all();
        let make = match file_system {
            FileSystem::Ext4 => Some("mkfs.ext4"),
            FileSystem::Xfs => Some("mkfs.xfs"),
            FileSystem::Tmpfs => None,
        };
        if let Some(make) = make {
            let made = fs::File::create(&volume.image).and_then(|file| file.set_len(BYTES));
            made.map_err(|error| format!("{}: {error}", volume.image.display()))?;
            run(make, &["-q".as_ref(), volume.image.as_ref()])?;
        }
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Mounts it; what the journal holds is carried out.
    pub(crate) fn mount(&self) -> Result<(), String> {
        let point = self.point.as_ref();
        match self.file_system {
            FileSystem::Tmpfs => {
                let size = format!("size={BYTES}");
                let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(AsRef::as_ref);
                run("mount", &[&arguments[..], &[point]].concat())
            }
            FileSystem::Ext4 | FileSystem::Xfs => {
                run("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_ref(), point])
            }
        }
    }

    /// Cuts the power: from now on nothing reaches the disk, and every sync fails.
    pub(crate) fn cut(&self, how: Cut) -> Result<(), String> {
        let how = match how {
            Cut::Hard => "shutdown",
            Cut::JournalFlushed => "shutdown -f",
        };
        let arguments = ["-x", "-c", how].map(AsRef::as_ref);
        run("xfs_io", &[&arguments[..], &[self.point.as_ref()]].concat())
    }

    /// Unmounts it, as soon as those who were killed have let go of it.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            match run("umount", &[self.point.as_ref()]) {
                Err(_) if begun.elapsed() < BUSY_MAX => thread::sleep(Duration::from_millis(5)),
                done => return done,
            }
        }
    }

    /// Writes everything out.
    pub(crate) fn sync(&self) -> Result<(), String> {
        run("sync", &["-f".as_ref(), self.point.as_ref()])
    }

    fn unmount_all(&self) {
        let is_mounted = || {
            let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
            let point = fs::canonicalize(&self.point).unwrap_or_else(|_| self.point.clone());
            let point = point.to_string_lossy().into_owned();
            mounts.lines().any(|line| line.split(' ').nth(1) == Some(&*point))
        };
        while is_mounted() {
            // WHY: lazily, so that nothing that still runs can keep it there.
            if let Err(why) = run("umount", &["-l".as_ref(), self.point.as_ref()]) {
                eprintln!("{why}");
                return;
            }
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.unmount_all();
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.point);
    }
}

/// Why no file system can be mounted and cut off here, if none can.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount a file system".into());
    }
    if let Some(need) = needs::provide(FOR_VOLUMES).first() {
        return Some(format!("{} is missing", need.name));
    }
    let dir = std::env::temp_dir().join(format!("tidegate-volume-{}", std::process::id()));
    let mounted = Volume::new(&dir, "probe", FileSystem::Ext4);
    let why = mounted.err();
    // WHY: only if it is empty.
    let _ = fs::remove_dir(&dir);
    why
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program} could not be run: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    Err(format!("{program} {} failed: {}", arguments.join(" "), said.trim()))
}
