//! A proxy between workers and their server that can be cut in the middle of an answer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;

/// Bytes of answers that still pass when a cut is under way; below zero nothing is cut.
const NO_CUT: i64 = -1;

/// A proxy on a port of its own.
pub(super) struct Proxy {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: u16,
    left: AtomicI64,
    /// Cuts there were. A connection that is older than the last one is over.
    cuts: AtomicU64,
}

impl Proxy {
    /// Listens on loopback and passes everything on to the server's port.
    pub(super) fn open(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared =
            Arc::new(Shared { server, left: AtomicI64::new(NO_CUT), cuts: AtomicU64::new(0) });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // WHY: a server that is down refuses, and so does this.
                let _ = accepting.serve(client);
            }
        });
        Ok(Self { port, shared })
    }

    /// Cuts all connections once so many more bytes of answers have passed.
    pub(super) fn cut_after(&self, bytes: u32) {
        self.shared.left.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// How many cuts there were.
    pub(super) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server))?;
        let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || pass(from_client, to_server));
        let shared = self.clone();
        thread::spawn(move || shared.answer(&server, &client));
        Ok(())
    }

    /// Passes answers on until the server ends them or there is a cut.
    fn answer(&self, server: &TcpStream, client: &TcpStream) {
        let born = self.cuts.load(Ordering::SeqCst);
        let (mut from, mut to) = (server, client);
        let mut bytes = vec![0; 16 << 10];
        while let Ok(read) = from.read(&mut bytes) {
            let passes = self.passes(read);
            let cut = passes < read;
            if self.cuts.load(Ordering::SeqCst) != born && !cut {
                break;
            }
            let Some(answer) = bytes.get(..passes) else { break };
            if read == 0 || to.write_all(answer).is_err() || cut {
                break;
            }
        }
        // Both may be over.
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    }

    /// How many of these bytes may pass.
    fn passes(&self, read: usize) -> usize {
        let read = i64::try_from(read).unwrap_or(i64::MAX);
        let taken = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            NO_CUT => None,
            left if left < read => Some(NO_CUT),
            left => Some(left - read),
        });
        match taken {
            Ok(left) if left < read => {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                usize::try_from(left).unwrap_or(0)
            }
            _ => usize::try_from(read).unwrap_or(usize::MAX),
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // A connection that breaks has ended.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.flush();
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_where_it_was_to_be_and_the_next_connection_is_whole() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut client in server.incoming().flatten() {
                thread::spawn(move || {
                    let mut asked = [0; 1];
                    while client.read_exact(&mut asked).is_ok() {
                        client.write_all(b"0123456789").unwrap();
                    }
                });
            }
        });
        let proxy = Proxy::open(port).unwrap();
        let ask = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).unwrap();
        let (mut one, mut other) = (ask(), ask());
        other.write_all(b"?").unwrap();
        other.read_exact(&mut [0; 10]).unwrap();
        proxy.cut_after(4);
        one.write_all(b"?").unwrap();
        let mut answer = Vec::new();
        one.read_to_end(&mut answer).unwrap();
        assert_eq!((answer.as_slice(), proxy.cuts()), (&b"0123"[..], 1));
        other.write_all(b"?").unwrap();
        assert_eq!(other.read(&mut [0; 10]).unwrap_or(0), 0, "all connections are cut");
        let mut next = ask();
        next.write_all(b"?").unwrap();
        next.read_exact(&mut [0; 10]).unwrap();
    }
}
