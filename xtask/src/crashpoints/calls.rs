//! Which system calls change a data directory, and what they change in it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::Pid;

/// Calls whose first argument is the file they change or sync.
const BY_DESCRIPTOR: &[(i64, &str)] = &[
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwrite64, "pwrite"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_pwritev2, "pwritev2"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_sync_file_range, "sync_file_range"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fallocate, "fallocate"),
];
/// Calls that change the path in the argument with this place.
const BY_PATH: &[(i64, &str, usize)] = &[
    (libc::SYS_renameat, "rename", 1),
    (libc::SYS_renameat2, "rename", 1),
    (libc::SYS_unlinkat, "unlink", 1),
    (libc::SYS_mkdirat, "mkdir", 1),
    (libc::SYS_linkat, "link", 3),
    (libc::SYS_symlinkat, "symlink", 2),
    (libc::SYS_truncate, "truncate", 0),
];
/// The same calls by the numbers that only this architecture has.
#[cfg(target_arch = "x86_64")]
const BY_PATH_OLD: &[(i64, &str, usize)] = &[
    (libc::SYS_rename, "rename", 0),
    (libc::SYS_unlink, "unlink", 0),
    (libc::SYS_rmdir, "rmdir", 0),
    (libc::SYS_mkdir, "mkdir", 0),
    (libc::SYS_link, "link", 1),
    (libc::SYS_symlink, "symlink", 1),
    (libc::SYS_creat, "open O_CREAT", 0),
];
#[cfg(not(target_arch = "x86_64"))]
const BY_PATH_OLD: &[(i64, &str, usize)] = &[];
/// Flags with which an open changes something.
const OPEN_CHANGES: u64 = (libc::O_CREAT | libc::O_TRUNC) as u64;
/// Longest path that is read.
const PATH_BYTES_MAX: usize = 4_096;

/// A system call that a thread is about to make.
#[derive(Clone, Copy, Debug)]
struct Raw {
    number: i64,
    arguments: [u64; 6],
}

/// A call that changes the data directory.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// What it changes, below the data directory.
    pub(super) file: PathBuf,
    /// The descriptor, the address and the length of a write at a place, and that place.
    write: Option<[u64; 4]>,
}

/// What kind of file a call changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Directory,
    Lock,
    Segment,
    Spare,
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::Lock => "LOCK",
            Self::Segment => "segment",
            Self::Spare => "spare",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.file.display())
    }
}

impl Call {
    /// What the stopped thread `thread` of a process is about to change below `data`; `None` if it
    /// is nothing. An error if it is about to do something that cannot be followed.
    pub(crate) fn of(process: Pid, thread: Pid, data: &Path) -> io::Result<Option<Self>> {
        let Some(raw) = Raw::of(process, thread)? else { return Ok(None) };
        let Raw { number, arguments } = raw;
        if number == libc::SYS_io_uring_setup || raw.maps_to_write(process, data) {
            let why = format!("call {number} changes files behind the tracer's back");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        if let Some((_, name)) = BY_DESCRIPTOR.iter().find(|(known, _)| *known == number) {
            let file = described(process, arguments[0]).filter(|path| path.starts_with(data));
            let write = (number == libc::SYS_pwrite64).then_some([
                arguments[0],
                arguments[1],
                arguments[2],
                arguments[3],
            ]);
            return Ok(file.map(|file| Self::new(name, &file, data, write)));
        }
        let Some((name, place)) = raw.path_argument() else { return Ok(None) };
        let address = arguments.get(place).copied().unwrap_or_default();
        let path = path_at(process, address)?;
        let path = path.starts_with(data).then_some(path);
        Ok(path.map(|path| Self::new(name, &path, data, None)))
    }

    fn new(name: &'static str, path: &Path, data: &Path, write: Option<[u64; 4]>) -> Self {
        let file = path.strip_prefix(data).unwrap_or(path).to_owned();
        Self { name, file, write }
    }

    pub(crate) fn kind(&self) -> Kind {
        let name = self.file.file_name().map(|name| name.to_string_lossy().into_owned());
        match name.as_deref() {
            None | Some("log") => Kind::Directory,
            Some("LOCK") => Kind::Lock,
            Some(name) if name.ends_with(".seg") => Kind::Segment,
            Some(name) if name.starts_with("spare-") => Kind::Spare,
            Some(_) => Kind::Other,
        }
    }

    /// Whether it can be torn: it writes more than one byte to a segment.
    pub(super) fn can_be_torn(&self) -> bool {
        self.kind() == Kind::Segment && self.write.is_some_and(|[_, _, len, _]| len > 1)
    }

    /// Does the first half of the write in the process's stead.
    pub(super) fn tear(&self, process: Pid) -> io::Result<()> {
        let Some([descriptor, address, len, offset]) = self.write else { return Ok(()) };
        let mut bytes = vec![0; len as usize / 2];
        File::open(format!("/proc/{process}/mem"))?.read_exact_at(&mut bytes, address)?;
        let path = format!("/proc/{process}/fd/{descriptor}");
        fs::OpenOptions::new().write(true).open(path)?.write_all_at(&bytes, offset)
    }
}

impl Raw {
    /// The call at whose entry the thread is stopped.
    fn of(process: Pid, thread: Pid) -> io::Result<Option<Self>> {
        let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall"))?;
        let mut words = text.split_whitespace();
        let Some(number) = words.next().and_then(|word| word.parse().ok()) else {
            return Ok(None);
        };
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            let word = words.next().and_then(|word| word.strip_prefix("0x")).unwrap_or("0");
            *argument = u64::from_str_radix(word, 16).unwrap_or_default();
        }
        Ok(Some(Self { number, arguments }))
    }

    fn path_argument(&self) -> Option<(&'static str, usize)> {
        if self.number == libc::SYS_openat {
            let changes = self.arguments[2] & OPEN_CHANGES != 0;
            return changes.then_some(("open O_CREAT", 1));
        }
        let mut known = BY_PATH.iter().chain(BY_PATH_OLD);
        known.find(|(known, ..)| *known == self.number).map(|(_, name, place)| (*name, *place))
    }

    /// Whether it maps a file of the directory so that writing to memory changes it.
    fn maps_to_write(&self, process: Pid, data: &Path) -> bool {
        let [_, _, protection, flags, descriptor, _] = self.arguments;
        let shared = flags & libc::MAP_SHARED as u64 != 0;
        self.number == libc::SYS_mmap
            && shared
            && protection & libc::PROT_WRITE as u64 != 0
            && described(process, descriptor).is_some_and(|path| path.starts_with(data))
    }
}

fn described(process: Pid, descriptor: u64) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/fd/{}", descriptor as i32)).ok()
}

/// The path at an address of the process.
fn path_at(process: Pid, address: u64) -> io::Result<PathBuf> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut bytes = vec![0; PATH_BYTES_MAX];
    // WHY: the memory may end behind the path.
    let read = memory.read_at(&mut bytes, address)?;
    bytes.truncate(read);
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or_default());
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}
