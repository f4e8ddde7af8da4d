//! Much of what is cheap to send and is not to be dear to read.

use std::time::Duration;

use tidegate_remote::listen::{Keepalive, Options};
use tokio::io::AsyncWriteExt;

use crate::frames::{
    CANCEL, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, NO_FLAGS, PING,
    REFUSED_STREAM, RST_STREAM, call, frame, message, settings,
};
use crate::stand::{PATIENCE, Stand, options};

/// More than all buffers between two programs of one machine hold.
const MUCH_BYTES: usize = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_taken_back_at_once_end_the_connection() {
    let stand = Stand::new(options()).await;
    let mut raw = stand.raw().await;
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, &call("Hello")));
        flood.extend(frame(RST_STREAM, NO_FLAGS, stream, &CANCEL.to_be_bytes()));
    }
    // It may be closed before all is sent.
    let _ = raw.send(&flood).await;
    let end = raw.rest().await;
    let goodbye = end.iter().rev().find(|frame| frame.kind == GOAWAY);
    assert_eq!(goodbye.map(|frame| frame.number()), Some(ENHANCE_YOUR_CALM), "{end:?}");
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_and_a_flood_of_them_ends_the_connection() {
    let stand = Stand::new(Options { streams_max: 10, ..options() }).await;
    let mut raw = stand.raw().await;
    let hello = message(&tidegate_remote::proto::HelloRequest::default());
    let hello = |stream| {
        [
            frame(HEADERS, END_HEADERS, stream, &call("Hello")),
            frame(DATA, END_STREAM, stream, &hello),
        ]
        .concat()
    };
    for stream in (1..60).step_by(2) {
        raw.send(&hello(stream)).await.unwrap();
    }
    let mut frames = raw.until(|frame| frame.kind == RST_STREAM && frame.stream == 59).await;
    let begun = |frame: &crate::frames::Frame| frame.kind == HEADERS;
    while frames.iter().filter(|frame| begun(frame)).count() < 10 {
        frames.push(raw.next().await.unwrap());
    }
    let refused = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    let refused: Vec<u32> =
        refused.filter(|f| f.number() == REFUSED_STREAM).map(|frame| frame.stream).collect();
    assert_eq!(refused, (21..60).step_by(2).collect::<Vec<_>>());
    stand.serves().await;

    let flood: Vec<u8> = (61..20_000).step_by(2).flat_map(hello).collect();
    let _ = raw.send(&flood).await;
    let end = raw.rest().await;
    assert!(!end.iter().any(begun), "the ten are all there may be");
    let goodbye = end.iter().rev().find(|frame| frame.kind == GOAWAY);
    assert_eq!(goodbye.map(|frame| frame.number()), Some(ENHANCE_YOUR_CALM), "{end:?}");
    drop(raw);
    stand.ends_unharmed().await;
}

/// A flood of frames that the server answers, from a client that takes no answer: the server reads no
/// more once it cannot write, and then closes a connection that says nothing.
async fn is_not_read_for_ever(flood: Vec<u8>) {
    let keepalive =
        Keepalive { after: Duration::from_millis(100), within: Duration::from_millis(400) };
    let stand = Stand::new(Options { keepalive, ..options() }).await;
    let mut raw = stand.raw().await;
    raw.is_let_in().await;
    let flood = flood.repeat((1 << 20) / flood.len());
    let mut sent = 0;
    let sending = async {
        while sent < MUCH_BYTES && raw.io.write_all(&flood).await.is_ok() {
            sent += flood.len();
        }
    };
    tokio::join!(async { tokio::time::timeout(PATIENCE, sending).await.unwrap() }, stand.serves(),);
    assert!(sent < MUCH_BYTES, "the server read {sent} bytes and could answer none");
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_is_read_as_fast_as_it_is_answered() {
    is_not_read_for_ever(frame(PING, NO_FLAGS, 0, &[7; 8])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_settings_is_read_as_fast_as_it_is_answered() {
    is_not_read_for_ever(settings(&[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_data_is_borne() {
    let stand = Stand::new(options()).await;
    let mut raw = stand.raw().await;
    raw.call(1, "Enqueue").await;
    // It may be closed before all is sent.
    let _ = raw.send(&frame(DATA, NO_FLAGS, 1, &[]).repeat(100_000)).await;
    stand.serves().await;
    drop(raw);
    stand.ends_unharmed().await;
}
