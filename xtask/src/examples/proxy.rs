//! A connection that breaks at the worst moment: between a server that has done its work and a client
//! that has not heard of it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::workload::Failure;

/// Passes bytes on. The first connection with more than so many bytes of a client is held: what the
/// server says from then on is dropped, and a few times as much is all that it hears, until it is cut.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    /// Bytes of a client after which its connection is held.
    bytes: usize,
    has_held: AtomicBool,
    held: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

/// How many times the bytes, after which a connection is held, a server hears of it.
const HEARD_TIMES: usize = 4;

impl Proxy {
    pub(super) fn start(server: &str, bytes: usize) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            bytes,
            has_held: AtomicBool::new(false),
            held: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                // WHY: a client whose server is not there is told so by the end of its connection.
                let _ = accepting.pass_on(&client);
            }
        });
        Ok(Self { address, shared })
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the connection that is held. Every other one is passed on to its end.
    pub(super) fn cut(&self) -> Result<(), Failure> {
        let held = std::mem::take(&mut *self.shared.held());
        if held.is_empty() {
            return Err("no connection is held".into());
        }
        for stream in held {
            // Cut at one end, the other one may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn held(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_on(self: &Arc<Self>, client: &TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(&self.server)?;
        let said = Arc::new(AtomicUsize::new(0));
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        let (shared, counted) = (self.clone(), said.clone());
        thread::spawn(move || shared.requests(from, to, &counted));
        let (from, to, shared) = (server, client.try_clone()?, self.clone());
        thread::spawn(move || shared.answers(from, to, &said));
        Ok(())
    }

    fn requests(&self, mut client: TcpStream, mut server: TcpStream, said: &AtomicUsize) {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = client.read(&mut bytes) {
            let before = said.fetch_add(read, Ordering::AcqRel);
            let is_much = before + read > self.bytes;
            if is_much && !self.has_held.swap(true, Ordering::AcqRel) {
                let both = [client.try_clone(), server.try_clone()];
                self.held().extend(both.into_iter().flatten());
            }
            if before > HEARD_TIMES * self.bytes && !self.held().is_empty() {
                return;
            }
            let Some(read) = bytes.get(..read) else { break };
            if server.write_all(read).is_err() {
                break;
            }
        }
        // The other side may have ended first.
        let _ = server.shutdown(Shutdown::Both);
    }

    fn answers(&self, mut server: TcpStream, mut client: TcpStream, said: &AtomicUsize) {
        let mut bytes = [0; 16 << 10];
        while let Ok(read @ 1..) = server.read(&mut bytes) {
            let is_held = said.load(Ordering::Acquire) > self.bytes && !self.held().is_empty();
            let Some(read) = bytes.get(..read) else { break };
            if !is_held && client.write_all(read).is_err() {
                break;
            }
        }
        // The other side may have ended first.
        let _ = client.shutdown(Shutdown::Both);
    }
}
