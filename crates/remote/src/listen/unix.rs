//! A Unix socket that one user can reach.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use super::admission::{Admission, Admitted};

/// The longest path of a socket in bytes: `sun_path` of `sockaddr_un` has 108, one of them zero.
const PATH_BYTES_MAX: usize = 107;
/// Only its owner may connect.
const OWNER_ONLY: u32 = 0o600;

/// A path by which the system can reach a socket. One that is too long for it goes through the
/// directory, which must stay open for as long as the path is used.
///
/// # Errors
/// Those of opening the directory.
pub fn socket_path(path: &Path) -> io::Result<(Option<fs::File>, PathBuf)> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((None, path.to_owned()));
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket needs a name"));
    };
    let dir = fs::File::open(dir)?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    Ok((Some(dir), through.join(name)))
}

/// Listens at `path` and hands out those who connect and may.
pub(super) fn incoming(
    path: &Path,
    admission: Arc<Admission>,
) -> io::Result<impl Stream<Item = io::Result<Admitted<UnixStream>>> + Send + use<>> {
    let listener = bind(path)?;
    let admit = move |connection: io::Result<UnixStream>| {
        let admission = admission.clone();
        async move {
            match connection {
                Ok(connection) if is_ours(&connection) => admission.admit(connection).map(Ok),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        }
    };
    Ok(UnixListenerStream::new(listener).filter_map(admit))
}

/// Binds a new socket and puts it in the place of one that may be there.
///
/// INVARIANT: it is made under a name of its own, and renamed when nobody but the owner can connect:
/// the name shows the old socket or the new one, never one that is open to others, and a link at that
/// name is replaced and not followed.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension(format!("{}", std::process::id()));
    let (_dir, reachable) = socket_path(&fresh)?;
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&reachable)?;
    let placed = fs::set_permissions(&fresh, fs::Permissions::from_mode(OWNER_ONLY))
        .and_then(|()| fs::rename(&fresh, path));
    if placed.is_err() {
        // WHY: what could not be put in its place is of no use.
        let _ = fs::remove_file(&fresh);
    }
    placed.map(|()| listener)
}

/// Whether the process at the other end belongs to this user, or to root.
fn is_ours(connection: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let is_ours = connection.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
    if !is_ours {
        tracing::warn!("another user's process was turned away from the socket");
    }
    is_ours
}
