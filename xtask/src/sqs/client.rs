//! A plain client of SQS: AWS JSON over one connection, signed with Signature Version 4.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The access key that requests are signed with, and its secret, as the server of a run knows them.
pub(super) const KEY: (&str, &str) = ("worker", "the-secret-of-the-workers-of-a-run");
/// Longer than any receive waits.
const PATIENCE: Duration = Duration::from_secs(40);

/// One who asks. Connects anew when the connection is gone.
#[derive(Debug)]
pub(super) struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

/// What a server says.
#[derive(Debug)]
pub(super) enum Said {
    /// It did what was asked.
    Done(Value),
    /// It did not: the error's name.
    Refused(String),
}

impl Client {
    pub(super) const fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Asks.
    ///
    /// # Errors
    /// Where no answer came: it may have been done or not.
    pub(super) fn ask(&mut self, action: &str, members: &Value) -> io::Result<Said> {
        let said = self.try_ask(action, members);
        if said.is_err() {
            self.stream = None;
        }
        said
    }

    fn try_ask(&mut self, action: &str, members: &Value) -> io::Result<Said> {
        let request = signed(self.port, action, &members.to_string(), Timestamp::now());
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.port)?),
        };
        stream.get_mut().write_all(&request)?;
        let (status, body) = answer(stream)?;
        let body = match body.as_slice() {
            b"" => Value::Null,
            body => serde_json::from_slice(body)?,
        };
        if status == 200 {
            return Ok(Said::Done(body));
        }
        let kind = body.get("__type").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.rsplit('#').next().unwrap_or_default().to_owned();
        if status >= 500 {
            // WHY: what went wrong on the server's side may have been done.
            return Err(io::Error::other(format!("{action}: {status} {kind}")));
        }
        Ok(Said::Refused(kind))
    }
}

fn connect(port: u16) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

/// Reads one answer: its status and its body.
pub(super) fn answer(stream: &mut impl BufRead) -> io::Result<(u16, Vec<u8>)> {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        let number = |text: &str| text.trim().parse().map_err(io::Error::other);
        match line.split_once(':') {
            _ if status.is_none() => {
                let told = line.split(' ').nth(1).unwrap_or_default();
                status = Some(told.parse().map_err(io::Error::other)?);
            }
            Some(("content-length", told)) => length = number(told)?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    let is_whole = body.len() as u64 == length;
    match status.filter(|_| is_whole) {
        Some(status) => Ok((status, body)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A whole request as bytes.
pub(super) fn signed(port: u16, action: &str, body: &str, now: Timestamp) -> Vec<u8> {
    let (id, secret) = KEY;
    let now = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = now.get(..8).unwrap_or_default();
    let headers = format!(
        "content-type:application/x-amz-json-1.0\nhost:127.0.0.1:{port}\nx-amz-date:{now}\n\
         x-amz-target:AmazonSQS.{action}\n"
    );
    let names = "content-type;host;x-amz-date;x-amz-target";
    let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", hash(body.as_bytes()));
    let scope = format!("{day}/us-east-1/sqs/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hash(canonical.as_bytes()));
    let steps = [day, "us-east-1", "sqs", "aws4_request", &text];
    let key = format!("AWS4{secret}").into_bytes();
    let signature = hex(&steps.iter().fold(key, |key, step| hmac(&key, step.as_bytes())));
    let headers = headers.replace('\n', "\r\n");
    format!(
        "POST / HTTP/1.1\r\n{headers}content-length: {}\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of any length is one.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text));
    mac.map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
