//! A server that does only a part of what a batch asks for, as SQS may.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::workload::Failure;

/// Passes calls on. Of a batch the last entry is now and then left out, and answered as a fault of the server.
#[derive(Debug)]
pub(super) struct Faults {
    address: SocketAddr,
    left_out: Arc<AtomicUsize>,
}

/// One batch in so many is not done as a whole.
const ONE_BATCH_IN: usize = 3;
/// Longest head of a request or an answer, and longest body: far more than the examples have.
const BYTES_MAX: u64 = 4 << 20;

impl Faults {
    /// Before a server, given by its host and port. It is there until the process ends.
    pub(super) fn start(server: &str) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, left_out) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
        let (server, counted) = (server.to_owned(), Arc::clone(&left_out));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, counted) = (server.clone(), Arc::clone(&counted));
                // A connection that breaks is one that its client makes again.
                thread::spawn(move || pass(&client, &server, &counted));
            }
        });
        Ok(Self { address, left_out })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many entries were not done.
    pub(super) fn left_out(&self) -> usize {
        self.left_out.load(Ordering::Relaxed)
    }
}

/// A request or an answer, whose length is told.
struct Message {
    head: Vec<String>,
    body: Vec<u8>,
}

fn pass(client: &TcpStream, server: &str, left_out: &AtomicUsize) -> Result<(), Failure> {
    let server = TcpStream::connect(server)?;
    let (mut asks, mut answers) = (BufReader::new(client), BufReader::new(&server));
    let mut batches = 0;
    while let Some(mut asked) = Message::read(&mut asks)? {
        let left = if asked.is_batch() {
            batches += 1;
            (batches % ONE_BATCH_IN == 0).then(|| asked.leave_out()).flatten()
        } else {
            None
        };
        asked.write(&server)?;
        let mut answer = Message::read(&mut answers)?.ok_or("no answer")?;
        if let Some(entry) = left {
            answer.tell(&entry)?;
            left_out.fetch_add(1, Ordering::Relaxed);
        }
        answer.write(client)?;
    }
    Ok(())
}

impl Message {
    fn read(from: &mut impl BufRead) -> Result<Option<Self>, Failure> {
        let mut from = from.take(BYTES_MAX);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let length = head.iter().find_map(|line| field(line, "content-length"));
        let mut body = vec![0; length.map_or(Ok(0), str::parse)?];
        from.read_exact(&mut body)?;
        Ok(Some(Self { head, body }))
    }

    fn write(&self, mut to: &TcpStream) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for line in self.head.iter().filter(|line| field(line, "content-length").is_none()) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        write!(bytes, "content-length: {}\r\n\r\n", self.body.len())?;
        bytes.extend_from_slice(&self.body);
        Ok(to.write_all(&bytes)?)
    }

    fn is_batch(&self) -> bool {
        self.head
            .iter()
            .filter_map(|line| field(line, "x-amz-target"))
            .any(|it| it.ends_with("Batch"))
    }

    /// Takes the last entry out of a batch and returns its id. One that is alone stays.
    fn leave_out(&mut self) -> Option<String> {
        let mut asked: Value = serde_json::from_slice(&self.body).ok()?;
        let entries = asked.get_mut("Entries")?.as_array_mut()?;
        let entry = (entries.len() > 1).then(|| entries.pop()).flatten()?;
        self.body = asked.to_string().into_bytes();
        Some(entry.get("Id")?.as_str()?.to_owned())
    }

    /// Adds an entry that failed.
    fn tell(&mut self, id: &str) -> Result<(), Failure> {
        let mut answer: Value = serde_json::from_slice(&self.body)?;
        let failed = json!({
            "Id": id, "SenderFault": false, "Code": "InternalError", "Message": "Left out.",
        });
        let answer_of = answer.as_object_mut().ok_or("an answer is an object")?;
        let all = answer_of.entry("Failed").or_insert_with(|| json!([]));
        all.as_array_mut().ok_or("what failed is a list")?.push(failed);
        self.body = answer.to_string().into_bytes();
        Ok(())
    }
}

/// The value of a header field, if the line is that field.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (is, value) = line.split_once(':')?;
    is.eq_ignore_ascii_case(name).then(|| value.trim())
}
