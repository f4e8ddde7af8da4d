//! Who connects and does not begin, who is too many, and who is gone.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{ManualClock, NewTask, QueueStats, ReceiveOptions, SessionOptions};
use tidegate_remote::listen::{Keepalive, Options, Tcp, Tokens};
use tidegate_remote::proto::{self, work_request::Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{
    CONTINUATION, END_HEADERS, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE, NO_FLAGS, PING, PREFACE, Raw, SETTINGS,
    WINDOW_UPDATE, call, frame, header, message, settings,
};
use crate::stand::{PATIENCE, SEATS, Stand, broker, impatient, mail, options};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_and_never_gets_to_a_call_is_closed() {
    let stand = Stand::new(impatient()).await;
    let greeting = [PREFACE, &settings(&[])].concat();
    let mut half_a_call = greeting.clone();
    half_a_call.extend(frame(HEADERS, NO_FLAGS, 1, &call("ListQueues")));
    let mut no_request = greeting.clone();
    no_request.extend(frame(HEADERS, END_HEADERS, 1, &header(":method", "POST")));
    let beginnings = [&[][..], b"P", &PREFACE[..20], PREFACE, &greeting, &half_a_call, &no_request];
    for beginning in beginnings {
        let mut raw = Raw::over(stand.tcp().await);
        raw.send(beginning).await.unwrap();
        raw.rest().await;
    }
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_keeps_no_connection_open() {
    let stand = Stand::new(impatient()).await;
    let mut raw = Raw::over(stand.tcp().await);
    let endless = PREFACE.iter().copied().chain(settings(&[])).chain(std::iter::repeat(0));
    let drip = async {
        for byte in endless {
            if raw.io.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, drip).await.unwrap();
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_token_and_only_asks_is_closed() {
    let clock = ManualClock::new();
    let tokens = Some(Arc::new(Tokens::new()));
    let tcp = Tcp { tokens, ..Tcp::open("127.0.0.1:0".parse().unwrap()) };
    let stand = Stand::on(tcp, broker(&clock).await, clock, impatient()).await;
    let mut raw = stand.raw().await;
    raw.call(1, "Enqueue").await;
    raw.until(|frame| frame.kind == HEADERS && frame.stream == 1).await;
    raw.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_closed() {
    let stand = Stand::new(options()).await;
    for said in ["GET / HTTP/1.1\r\nhost: tidegate\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\x7c"]
    {
        let mut raw = Raw::over(stand.tcp().await);
        // The rest of what is as long as a preface.
        raw.send(format!("{said:-<40}").as_bytes()).await.unwrap();
        raw.rest().await;
    }
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_seats_are_closed_and_the_others_go_on() {
    let stand = Stand::new(options()).await;
    let mut seated = Vec::new();
    for _ in 0..SEATS {
        let mut raw = stand.raw().await;
        raw.is_let_in().await;
        seated.push(raw);
    }
    for _ in 0..50 {
        let mut raw = Raw::over(stand.tcp().await);
        assert!(raw.rest().await.is_empty(), "not a word was said");
    }
    for mut raw in seated {
        raw.until_seen().await;
    }
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_told_at_the_beginning() {
    let stand = Stand::new(Options { streams_max: 7, ..options() }).await;
    let mut raw = stand.raw().await;
    let frames = raw.until(|frame| frame.kind == WINDOW_UPDATE).await;
    let told: Vec<(u16, u32)> = raw.told.chunks(6).map(setting).collect();
    assert!(told.contains(&(MAX_CONCURRENT_STREAMS, 7)), "{told:?}");
    assert!(told.contains(&(INITIAL_WINDOW_SIZE, 1 << 20)), "{told:?}");
    assert!(told.contains(&(MAX_HEADER_LIST_SIZE, 16 << 10)), "{told:?}");
    let window = frames.last().unwrap();
    // What every connection has from the beginning, and what is added.
    assert_eq!((window.stream, window.number() + 65_535), (0, 4 << 20));
    drop(raw);
    stand.ends_unharmed().await;
}

fn setting(bytes: &[u8]) -> (u16, u32) {
    let (name, value) = bytes.split_at(2);
    (u16::from_be_bytes(name.try_into().unwrap()), u32::from_be_bytes(value.try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_close_the_connection() {
    let stand = Stand::new(options()).await;
    let mut raw = stand.raw().await;
    raw.send(&frame(HEADERS, NO_FLAGS, 1, &call("ListQueues"))).await.unwrap();
    let more = frame(CONTINUATION, NO_FLAGS, 1, &header("x-filler", &"x".repeat(16_000)));
    let mut sent = 0;
    while sent < 10_000 && raw.io.write_all(&more).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 10_000, "160 MB of headers were read");
    raw.rest().await;
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_small_on_the_wire_and_large_behind_it_are_refused() {
    let stand = Stand::new(options()).await;
    let mut raw = stand.raw().await;
    raw.is_let_in().await;
    let mut headers = call("ListQueues");
    // A header of 3,000 bytes that goes into the table, and 10,000 times its number there.
    let mut kept = header("x-filler", &"x".repeat(3_000));
    kept[0] = 0x40;
    headers.extend(kept);
    headers.extend([0x80 | 62; 10_000]);
    raw.send(&frame(HEADERS, END_HEADERS, 3, &headers)).await.unwrap();
    let end = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(end.last().unwrap().number(), ENHANCE_YOUR_CALM, "{end:?}");
    drop(raw);
    stand.ends_unharmed().await;
}

fn soon_asked() -> Options {
    let keepalive =
        Keepalive { after: Duration::from_millis(50), within: Duration::from_millis(200) };
    Options { keepalive, ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_say_that_it_is_there_is_closed() {
    let stand = Stand::new(soon_asked()).await;
    let mut raw = stand.raw().await;
    raw.is_let_in().await;
    let frames = raw.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == PING), "{frames:?}");
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_that_it_is_there_stays() {
    // The next question comes when the one before was answered, so time to answer it is no part of what is shown.
    let keepalive = Keepalive { after: Duration::from_millis(50), within: PATIENCE };
    let stand = Stand::new(Options { keepalive, ..options() }).await;
    let mut raw = stand.raw().await;
    raw.is_let_in().await;
    for _ in 0..10 {
        let asked = raw.until(|frame| frame.kind == PING).await;
        let ack = frame(PING, 1, 0, &asked.last().unwrap().payload);
        raw.send(&ack).await.unwrap();
    }
    raw.until_seen().await;
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_call_is_noticed_on_a_connection_that_has_had_others() {
    let stand = Stand::new(soon_asked()).await;
    let mut raw = stand.raw().await;
    raw.is_let_in().await;
    // Until its headers end, nothing else may be said on the connection: not that it is there.
    raw.send(&frame(HEADERS, NO_FLAGS, 3, &call("ListQueues"))).await.unwrap();
    raw.rest().await;
    drop(raw);
    stand.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_vanishes_keeps_its_leases_for_their_time_and_takes_no_more() {
    let stand = Stand::new(options()).await;
    stand.broker.enqueue_one(&mail(), NewTask::new("mail", "kept")).await.unwrap();
    let mut raw = stand.raw().await;
    raw.call(1, "Work").await;
    let open = proto::Open { queue: "mail".into(), member: None };
    raw.data(1, &message(&step(1, Step::Open(open)))).await;
    let credit = proto::Credit { limit: 10, ..proto::Credit::default() };
    raw.data(1, &message(&step(2, Step::Credit(credit.clone())))).await;
    while stats(&stand).await.leased == 0 {
        // A credit before the session is open is refused.
        raw.data(1, &message(&step(2, Step::Credit(credit.clone())))).await;
        raw.until_seen().await;
    }
    raw.vanish();
    // The credit stands no more: what comes now is for those who are there.
    stand.serves().await;
    assert_eq!(stats(&stand).await.leased, 1, "what it holds is its own until the time is over");
    let receiver = stand.broker.open(&mail(), &SessionOptions::default()).await.unwrap();
    let none = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap();
    assert!(none.is_empty());
    stand.clock.advance(Duration::from_secs(30));
    let again = receiver.receive(&ReceiveOptions::up_to(1)).await.unwrap();
    assert_eq!(again[0].task.payload, "kept");
    stand.ends_unharmed().await;
}

fn step(id: u64, step: Step) -> proto::WorkRequest {
    proto::WorkRequest { id, session: 1, step: Some(step) }
}

async fn stats(stand: &Stand) -> QueueStats {
    stand.broker.inspect().unwrap().stats(&mail()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_end_the_connection() {
    let stand = Stand::new(options()).await;
    let wrong = [
        // Data on a stream that was never opened, and on none.
        frame(0, NO_FLAGS, 9, b"data"),
        frame(0, NO_FLAGS, 0, b"data"),
        // Longer than a frame may be.
        frame(0, NO_FLAGS, 1, &vec![0; 70_000]),
        // A PING and a SETTINGS of the wrong length, a window beyond the largest.
        frame(PING, NO_FLAGS, 0, b"short"),
        frame(SETTINGS, NO_FLAGS, 0, b"short"),
        frame(WINDOW_UPDATE, NO_FLAGS, 0, &i32::MAX.to_be_bytes()),
        // Headers that HPACK cannot be, and a number of a stream that the server would choose.
        frame(HEADERS, END_HEADERS, 3, &[0xff; 40]),
        frame(HEADERS, END_HEADERS, 2, &call("Hello")),
    ];
    for wrong in wrong {
        let mut raw = stand.raw().await;
        raw.is_let_in().await;
        // It may be closed before all is sent.
        let _ = raw.send(&wrong).await;
        let mut left = Vec::new();
        // INVARIANT of HTTP/2: what is wrong with the connection as a whole ends it.
        tokio::time::timeout(PATIENCE, raw.io.read_to_end(&mut left)).await.unwrap().ok();
    }
    stand.ends_unharmed().await;
}
