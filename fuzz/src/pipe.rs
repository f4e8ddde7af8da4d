//! A connection to the server that is a pipe, and what is said on it.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tidegate_core::{ManualClock, memory};
use tidegate_remote::listen::{Options, Server};
use tidegate_remote::service::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

use crate::draw::Draw;
use crate::messages;

/// Bytes that the pipe holds each way.
const PIPE_BYTES: usize = 4 << 10;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// By a clock that moves when nothing else does: whatever takes as long hangs.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);
/// The most that one conversation is answered: a hundred frames of sixteen kilobytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// Says what the bytes say, and waits until the connection has ended.
pub async fn speak(bytes: &[u8]) {
    let broker = memory::broker(Arc::new(ManualClock::new()));
    let limits = Limits { request_bytes_max: 4_096, credit_bytes: 2_000, ..Limits::default() };
    let options = Options { limits, connections_max: 2, streams_max: 4, ..Options::default() };
    let server = Server::new(broker, options);
    let pipes = server.listen_pipes().await.expect("it listens");
    let (ours, theirs) = duplex(PIPE_BYTES);
    pipes.send(theirs).expect("it listens");

    let mut draw = Draw(bytes);
    let (is_reader, is_closed) = (draw.below(4) != 0, draw.flag());
    let (mut hears, mut says) = split(ours);
    let saying = async {
        while !draw.is_empty() {
            let said = said(&mut draw);
            if says.write_all(&said).await.is_err() {
                return;
            }
            // WHY: the server gets to what was said, or to a part of it.
            for _ in 0..draw.below(4) {
                tokio::task::yield_now().await;
            }
        }
        if is_closed {
            // It may be closed already.
            let _ = says.shutdown().await;
        }
    };
    let hearing = async {
        let (mut buffer, mut heard) = ([0; 1_024], 0);
        if !is_reader {
            // WHY: nothing is read until the server has given up.
            tokio::time::sleep(FOR_EVER / 2).await;
        }
        while let Ok(bytes @ 1..) = hears.read(&mut buffer).await {
            heard += bytes;
        }
        assert!(heard < ANSWER_BYTES_MAX, "{heard} bytes of answers");
    };
    let over = async { tokio::join!(saying, hearing) };
    tokio::time::timeout(FOR_EVER, over).await.expect("a connection comes to its end");

    // Both seats are there again.
    for _ in 0..2 {
        let (ours, theirs) = duplex(PIPE_BYTES);
        pipes.send(theirs).expect("it listens");
        tokio::time::timeout(FOR_EVER, serves(ours)).await.expect("another one is served");
    }
    assert!(server.stop(FOR_EVER).await, "something that began has not ended");
}

/// A sound client gets as far as the server's settings.
async fn serves(mut pipe: DuplexStream) {
    pipe.write_all(PREFACE).await.expect("it is read");
    pipe.write_all(&frame(4, 0, 0, &[])).await.expect("it is read");
    let mut head = [0; 9];
    pipe.read_exact(&mut head).await.expect("it is answered");
    assert_eq!(head[3], 4, "the settings come first");
}

/// The next thing that is said: a frame most often.
fn said(draw: &mut Draw<'_>) -> Vec<u8> {
    let stream = u32::from(draw.below(6));
    // WHY: a client's streams have odd numbers.
    let sound = stream * 2 + 1;
    match draw.below(16) {
        0..4 => [PREFACE, &frame(4, 0, 0, &[])].concat(),
        4..7 => {
            let call = draw.of(&["Enqueue", "Work", "Hello", "ListQueues", "Declare"]);
            let flags = draw.of(&[4, 5, 0, 1]);
            frame(1, flags, sound, &headers(call))
        }
        7 => {
            let message = messages::send(1, draw).encode_to_vec();
            let message = messages::framed(message, draw);
            frame(0, draw.below(2), sound, &message)
        }
        8 => {
            let message = messages::step(1, draw, &[]).encode_to_vec();
            let message = messages::framed(message, draw);
            frame(0, draw.below(2), sound, &message)
        }
        9 => frame(3, 0, sound, &[0, 0, 0, draw.below(14)]),
        10 => frame(8, 0, draw.of(&[0, sound]), &draw.of(&[0, 1, 65_535, i32::MAX]).to_be_bytes()),
        11 => frame(4, draw.below(2), 0, draw.bytes(24)),
        12 => draw.bytes(64).to_vec(),
        13 => frame(draw.below(12), draw.below(255), stream, draw.bytes(64)),
        14 => frame(6, draw.below(2), 0, &[7; 8]).repeat(usize::from(draw.below(255))),
        _ => {
            // A frame whose length lies.
            let mut frame = frame(draw.below(12), draw.below(255), sound, draw.bytes(64));
            frame[2] ^= 1 << draw.below(8);
            frame
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a call, as HPACK writes them without any table.
fn headers(call: &str) -> Vec<u8> {
    let path = format!("/tidegate.v1.Broker/{call}");
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", &path),
        (":authority", "fuzz"),
        ("content-type", "application/grpc"),
    ];
    let literal = |(name, value): (&str, &str)| {
        let mut bytes = vec![0];
        for text in [name, value] {
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
        bytes
    };
    headers.into_iter().flat_map(literal).collect()
}
