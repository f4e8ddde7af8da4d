//! The Unix socket: for the programs of the same user, and for root.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::BACKLOG;
use super::door::Listen;

/// Longest path of a socket in bytes: what `sockaddr_un` holds, less the zero behind it.
const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Puts a socket at `path` that only its user and root can connect to, in the place of whatever socket
/// or file has the name. INVARIANT: called by the process that holds the lock of the data beside it,
/// so that nobody else listens there.
pub(super) fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    let temporary = temporary(path)?;
    let listening = listen_at(&temporary);
    // WHY: renamed over the old name. To unlink it first would leave a moment without a socket, and to
    // bind where a link lies would follow it.
    let put = listening.and_then(|listener| fs::rename(&temporary, path).map(|()| listener));
    put.inspect_err(|_| {
        // What failed is told; a name left behind is the smaller evil.
        let _ = fs::remove_file(&temporary);
    })
}

fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let (_dir, short) = socket_path(path)?;
    let socket = UnixSocket::new_stream()?;
    // WHY: the mode of the new file is the socket's, on Linux. Elsewhere this may fail; nobody can
    // connect before the socket listens, and by then the mode is set by its name.
    let _ = rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600));
    socket.bind(&short)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)
}

/// A name beside `path` that nobody has.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
    let name = path.file_name().ok_or_else(no_file)?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{:08x}", fastrand::u32(..)));
    Ok(path.with_file_name(temporary))
}

/// `path`, or a shorter way to it where it is longer than an address holds. The way is good while the
/// directory that comes with it is open.
///
/// # Errors
/// `InvalidInput` where there is no shorter way: the name alone is too long, or the system is not Linux.
pub fn socket_path(path: &Path) -> io::Result<(Option<File>, PathBuf)> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((None, path.to_owned()));
    }
    let dir = path.parent().filter(|_| cfg!(target_os = "linux"));
    if let (Some(dir), Some(name)) = (dir, path.file_name()) {
        let dir = File::open(dir)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&dir);
        let short = Path::new("/proc/self/fd").join(number.to_string()).join(name);
        if short.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok((Some(dir), short));
        }
    }
    let why = format!("a socket's path has at most {PATH_BYTES_MAX} bytes: {}", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

impl Listen for UnixListener {
    type Arrived = std::os::unix::net::UnixStream;
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<Option<Self::Arrived>> {
        let (stream, _) = UnixListener::accept(self).await?;
        let peer = stream.peer_cred()?.uid();
        let own = rustix::process::geteuid().as_raw();
        if may_enter(peer, own) {
            return stream.into_std().map(Some);
        }
        tracing::warn!(peer, "another user's program was not let in to the socket");
        Ok(None)
    }

    fn take_in(arrived: Self::Arrived) -> io::Result<UnixStream> {
        UnixStream::from_std(arrived)
    }
}

/// WHY: the file's mode says the same; a socket that was opened before, or passed on, says nothing.
const fn may_enter(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    async fn is_answered(listener: &UnixListener, path: &Path) -> bool {
        let (_dir, short) = socket_path(path).unwrap();
        let (accepted, connected) =
            tokio::join!(Listen::accept(listener), UnixStream::connect(short));
        connected.unwrap();
        accepted.unwrap().is_some()
    }

    #[tokio::test]
    async fn the_socket_is_for_its_user_and_nothing_else_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = listen_unix(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(is_answered(&listener, &path).await);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("socket"), dir.path().join("precious"));
        drop(listen_unix(&path).unwrap());
        let listener = listen_unix(&path).unwrap();
        assert!(is_answered(&listener, &path).await);
        fs::write(&other, "kept").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        let listener = listen_unix(&path).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
        assert!(is_answered(&listener, &path).await);
    }

    #[tokio::test]
    async fn a_path_that_no_address_holds_is_reached_another_way() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("socket");
        let listener = listen_unix(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(is_answered(&listener, &path).await);
        let too_long = listen_unix(&deep.join("n".repeat(100))).unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);
    }

    #[test]
    fn only_the_same_user_and_root_may_enter() {
        assert!(may_enter(1_000, 1_000));
        assert!(may_enter(0, 1_000));
        assert!(!may_enter(1_001, 1_000));
        assert!(!may_enter(1_000, 0));
    }
}
