//! HTTP/2 by hand: frames as a client sends them that no library would.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stand::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const NO_FLAGS: u8 = 0;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload = settings.iter().flat_map(|(name, value)| {
        let [a, b] = name.to_be_bytes();
        let [c, d, e, f] = value.to_be_bytes();
        [a, b, c, d, e, f]
    });
    frame(SETTINGS, NO_FLAGS, 0, &payload.collect::<Vec<_>>())
}

/// A header as HPACK writes it without any table.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        // WHY: seven bits of the length, then the rest in groups of seven.
        let mut length = text.len();
        if length < 127 {
            bytes.push(length as u8);
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push((length % 128) as u8 | 128);
                length /= 128;
            }
            bytes.push(length as u8);
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The headers of a call.
pub(crate) fn call(method: &str) -> Vec<u8> {
    let path = format!("/tidegate.v1.Broker/{method}");
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "tidegate"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    headers.iter().flat_map(|(name, value)| header(name, value)).collect()
}

/// A message as gRPC frames it.
pub(crate) fn message(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    framed.extend(bytes);
    framed
}

/// A frame that the server sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The number that a RST_STREAM, a WINDOW_UPDATE or, second, a GOAWAY holds.
    pub(crate) fn number(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    fn is_ack_of(&self, kind: u8) -> bool {
        self.kind == kind && self.flags & ACK != 0
    }
}

/// One end of a connection that is spoken by hand.
pub(crate) struct Raw {
    pub(crate) io: TcpStream,
    /// The settings of the server, once greeted.
    pub(crate) told: Vec<u8>,
}

impl Raw {
    pub(crate) fn over(io: TcpStream) -> Self {
        Self { io, told: Vec::new() }
    }

    /// The preface and these settings. Those of the server hold from here on.
    pub(crate) async fn greet(&mut self, with: &[(u16, u32)]) {
        self.send(&[PREFACE, &settings(with)].concat()).await.unwrap();
        let mut told = self.until(|frame| frame.kind == SETTINGS && frame.flags == 0).await;
        self.told = told.pop().unwrap().payload;
        self.send(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = tokio::time::timeout(PATIENCE, self.io.write_all(bytes));
        sent.await.expect("the server reads what comes, or closes")
    }

    /// Begins a call and leaves it open.
    pub(crate) async fn call(&mut self, stream: u32, method: &str) {
        self.send(&frame(HEADERS, END_HEADERS, stream, &call(method))).await.unwrap();
    }

    pub(crate) async fn data(&mut self, stream: u32, data: &[u8]) {
        for part in data.chunks(16 << 10) {
            self.send(&frame(DATA, NO_FLAGS, stream, part)).await.unwrap();
        }
    }

    /// The next frame; none once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let next = tokio::time::timeout(PATIENCE, self.read()).await;
        next.expect("the server says something, or closes").ok()
    }

    async fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.io.read_exact(&mut payload).await?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The frames up to the first of a kind, which is the last of them.
    pub(crate) async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            let found = is_it(&frame);
            frames.push(frame);
            if found {
                return frames;
            }
        }
        panic!("the connection ended after {frames:?}");
    }

    /// The frames up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// What the server says until it has seen all that was sent before. What the sent frames led to in
    /// the service may come later.
    pub(crate) async fn until_seen(&mut self) -> Vec<Frame> {
        self.send(&frame(PING, NO_FLAGS, 0, &[7; 8])).await.unwrap();
        self.until(|frame| frame.is_ack_of(PING)).await
    }

    /// Waits until the first call's answer has begun, and so was let in.
    pub(crate) async fn is_let_in(&mut self) {
        self.call(1, "Hello").await;
        let hello = message(&tidegate_remote::proto::HelloRequest::default());
        self.send(&frame(DATA, END_STREAM, 1, &hello)).await.unwrap();
        self.until(|frame| frame.kind == HEADERS).await;
    }

    /// Ends the connection with a reset.
    pub(crate) fn vanish(self) {
        self.io.set_zero_linger().unwrap();
    }
}
