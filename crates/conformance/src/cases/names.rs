//! Names, kinds, keys and headers at the edges of what is allowed.

use tidegate_core::capabilities::{DeadLetterSupport, OrderingSupport};
use tidegate_core::limits::{
    HEADERS_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, KIND_BYTES_MAX, QUEUE_NAME_BYTES_MAX,
};
use tidegate_core::{ErrorKind, NewTask, QueueSpec};

use crate::trial::{Proof, Shown, Trial, dead_letters_in, ensure_eq, fails_with, named, task};

pub(super) async fn queue_names_at_the_edges(t: Trial) -> Proof {
    let longest = "x".repeat(QUEUE_NAME_BYTES_MAX);
    let names = ["q", "Q", "a.b-c_d", "a-b.c_d", "-", "_", "0", "a..b", longest.as_str()];
    let template = t.spec("template")?;
    let dead_letters = match t.can().dead_letters {
        DeadLetterSupport::Queue => dead_letters_in("all.dead")?,
        DeadLetterSupport::StateOrQueue => template.dead_letters.clone(),
    };
    let mut receivers = Vec::new();
    for name in names {
        let spec = QueueSpec { name: named(name)?, ..template.clone() };
        let spec = QueueSpec { dead_letters: dead_letters.clone(), ..spec };
        receivers.push(t.start(&spec).await?);
        t.send(&spec.name, &[name]).await?;
    }
    for (rx, name) in receivers.iter().zip(names) {
        ensure_eq!(t.drain(rx).await?, [name], "tasks of the queue {name}");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn kinds_keys_and_headers_at_the_edges(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let kind = "ü".repeat(KIND_BYTES_MAX / 2);
    let mut sent = NewTask::new(kind.clone(), "a");
    for n in 0..HEADERS_MAX - 1 {
        sent = sent.header(format!("h{n:02}"), "");
    }
    let used: usize = sent.headers.keys().map(String::len).sum();
    sent = sent.header("v", "x".repeat(HEADERS_BYTES_MAX - used - 1));
    if t.can().ordering != OrderingSupport::No {
        sent = sent.ordering_key("k".repeat(KEY_BYTES_MAX));
    }
    t.send_all(&spec.name, std::slice::from_ref(&sent)).await?;
    let got = t.take_one(&rx).await?.task;
    ensure_eq!(got.kind, sent.kind, "the kind as received");
    ensure_eq!(got.headers, sent.headers, "the headers as received");
    ensure_eq!(got.ordering_key, sent.ordering_key, "the ordering key as received");
    for invalid in [
        NewTask::new(format!("{kind}x"), "a"),
        NewTask::new("", "a"),
        sent.clone().header("v", "x".repeat(HEADERS_BYTES_MAX - used)),
        task("a").ordering_key("k".repeat(KEY_BYTES_MAX + 1)),
        task("a").ordering_key(""),
    ] {
        let refused = t.broker().enqueue_one(&spec.name, invalid).await;
        fails_with(refused, ErrorKind::Invalid)?;
    }
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}
