//! What systemd is told, where it started the server: that it is ready, and that it ends.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket that is told, in the environment.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells a state such as `READY=1`, if anybody wants to know. One who cannot be told is no reason to
/// serve less.
pub(super) fn tell(state: &str) {
    let Some(socket) = std::env::var_os(VARIABLE) else { return };
    if let Err(error) = send(&socket, state) {
        eprintln!("warning: {VARIABLE} could not be told {state}: {error}");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let ours = UnixDatagram::unbound()?;
    // WHY: a reader that reads nothing must not hold up the server.
    ours.set_nonblocking(true)?;
    ours.send_to_addr(state.as_bytes(), &address(socket)?)?;
    Ok(())
}

/// A path, or behind `@` a name that is in no directory.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
        }
        _ => SocketAddr::from_pathname(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut text = [0; 64];
        let bytes = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    }

    #[test]
    fn a_socket_in_a_directory_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_that_is_in_no_directory_is_told() {
        let name = format!("@tidegate-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&address(OsStr::new(&name)).unwrap()).unwrap();
        send(OsStr::new(&name), "STOPPING=1").unwrap();
        assert_eq!(heard(&socket), "STOPPING=1");
    }
}
