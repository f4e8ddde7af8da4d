//! Who asks, and does not take the answers; and who sends more than is read.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{
    Broker, BrokerParts, Capabilities, Driver, Enqueued, ManualClock, NewTask, QueueName,
    QueueSpec, Result, Session, SessionOptions,
};
use tidegate_remote::listen::Options;
use tidegate_remote::proto;
use tidegate_remote::service::Limits;
use tokio::sync::Semaphore;

use crate::frames::{
    DATA, FLOW_CONTROL_ERROR, Frame, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, NO_FLAGS, RST_STREAM,
    Raw, WINDOW_UPDATE, frame, message,
};
use crate::stand::{Stand, broker, options};

/// What a client may send on a stream and on a connection unasked.
const STREAM_WINDOW: usize = 1 << 20;
const PAYLOAD_BYTES: usize = 60_000;

/// A broker whose sends are answered when they are let go.
#[derive(Debug)]
struct Held {
    inner: Arc<dyn Driver>,
    begun: Semaphore,
    let_go: Semaphore,
}

impl Held {
    async fn stand(limits: Limits) -> (Arc<Self>, Stand) {
        let clock = ManualClock::new();
        let open = broker(&clock).await;
        let inner = open.parts().driver.clone();
        let held = Arc::new(Self { inner, begun: Semaphore::new(0), let_go: Semaphore::new(0) });
        let parts = BrokerParts { driver: held.clone(), ..open.parts().clone() };
        let options = Options { limits, ..options() };
        (held, Stand::over(Broker::new(parts), clock, options).await)
    }

    /// Waits for the next send.
    async fn begun(&self) {
        let begun = tokio::time::timeout(crate::stand::PATIENCE, self.begun.acquire());
        begun.await.unwrap().unwrap().forget();
    }
}

#[async_trait]
impl Driver for Held {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.inner.declare(spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        self.begun.add_permits(tasks.len());
        self.let_go.acquire().await.unwrap().forget();
        self.inner.enqueue(queue, tasks).await
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        self.inner.open(queue, options).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

fn send(id: u64) -> Vec<u8> {
    let payload = vec![7; PAYLOAD_BYTES].into();
    let task = proto::NewTask { kind: "mail".into(), payload, ..Default::default() };
    message(&proto::EnqueueRequest { id, queue: "mail".into(), tasks: vec![task] })
}

/// Bytes that the server lets the client send beyond what it may at the beginning.
fn granted(frames: &[Frame], stream: u32) -> usize {
    let updates = frames.iter().filter(|f| f.kind == WINDOW_UPDATE && f.stream == stream);
    updates.map(|update| update.number() as usize).sum()
}

/// As many sends as the window of the stream allows, whole ones.
async fn fill(raw: &mut Raw) -> u64 {
    let sends = (STREAM_WINDOW / send(1).len()) as u64;
    for id in 1..=sends {
        raw.data(1, &send(id)).await;
    }
    sends
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_beyond_the_credit_are_not_read_until_others_are_answered() {
    let credit = 3 * PAYLOAD_BYTES;
    let limits = Limits { credit_bytes: credit as u32, ..Limits::default() };
    let (held, stand) = Held::stand(limits).await;
    let mut raw = stand.raw().await;
    raw.call(1, "Enqueue").await;
    raw.until(|frame| frame.kind == HEADERS).await;
    let sent = fill(&mut raw).await;
    for _ in 0..3 {
        held.begun().await;
    }
    // Nothing else moves it: the bytes are there, and nobody is let go.
    for _ in 0..100 {
        raw.until_seen().await;
    }
    assert_eq!(held.begun.available_permits(), 0, "the credit is used up");
    for _ in 3..sent {
        held.let_go.add_permits(1);
        held.begun().await;
    }
    held.let_go.add_permits(1_000);
    let answer = |frame: &Frame| frame.kind == DATA && frame.stream == 1;
    raw.until(answer).await;
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_streams_hold_together_is_bounded() {
    const STREAMS: [u32; 4] = [1, 3, 5, 7];
    const SENDS: u64 = 8;
    let limits = Limits { connection_bytes: 3 * PAYLOAD_BYTES, ..Limits::default() };
    let (held, stand) = Held::stand(limits).await;
    let mut raw = stand.raw().await;
    for stream in STREAMS {
        raw.call(stream, "Enqueue").await;
        raw.until(|frame| frame.kind == HEADERS && frame.stream == stream).await;
    }
    for id in 1..=SENDS {
        for stream in STREAMS {
            raw.data(stream, &send(id)).await;
        }
    }
    held.begun().await;
    // Nothing else moves it: the bytes are there, and nobody is let go.
    for _ in 0..100 {
        raw.until_seen().await;
    }
    let begun = 1 + held.begun.available_permits();
    // Three that fill the room, one that was read to its end, and those of which no more than a frame was missing.
    assert!(begun <= 8, "{begun} sends are held");
    for _ in 1..STREAMS.len() * SENDS as usize {
        held.let_go.add_permits(1);
        held.begun().await;
    }
    held.let_go.add_permits(1_000);
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_no_answers_is_read_no_further() {
    let (held, stand) = Held::stand(Limits::default()).await;
    held.let_go.add_permits(100_000);
    let mut raw = Raw::over(stand.tcp().await);
    raw.greet(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    raw.call(1, "Enqueue").await;
    raw.until(|frame| frame.kind == HEADERS && frame.stream == 1).await;
    fill(&mut raw).await;
    let mut more = 0;
    for _ in 0..100 {
        let frames = raw.until_seen().await;
        more += granted(&frames, 1);
        let is_more = |frame: &Frame| matches!(frame.kind, DATA | RST_STREAM);
        assert!(!frames.iter().any(is_more), "there is no window for any answer: {frames:?}");
    }
    assert!(more <= STREAM_WINDOW, "{more} bytes more were asked for");
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beyond_the_window_end_the_stream() {
    let (held, stand) = Held::stand(Limits { credit_bytes: 1, ..Limits::default() }).await;
    let mut raw = stand.raw().await;
    raw.call(1, "Enqueue").await;
    raw.until(|frame| frame.kind == HEADERS).await;
    // It may be closed before all is sent.
    for id in 0..100 {
        for part in send(id).chunks(16 << 10) {
            let _ = raw.send(&frame(DATA, NO_FLAGS, 1, part)).await;
        }
    }
    let is_end = |frame: &Frame| matches!(frame.kind, RST_STREAM | GOAWAY);
    let end = raw.until(is_end).await;
    assert_eq!(end.last().unwrap().number(), FLOW_CONTROL_ERROR, "{end:?}");
    drop(raw);
    held.let_go.add_permits(100_000);
    stand.ends_unharmed().await;
}
