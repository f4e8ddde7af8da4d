//! Looking: what is shown is what is there, and looking changes nothing.

use tidegate_core::capabilities::Delay;
use tidegate_core::{
    Broker, ErrorKind, ListOptions, QueueStats, State, TaskId, TaskView,
};

use super::dead_letter::kill_one;
use crate::trial::{
    Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, named, refused, task, text,
};

/// The refusal to show anything.
fn blind(broker: &Broker) -> Proof {
    refused(broker.inspect().map(|_| ()))
}

fn view_texts(views: &[TaskView]) -> Vec<String> {
    let text = |view: &TaskView| String::from_utf8_lossy(&view.task.payload).into_owned();
    views.iter().map(text).collect()
}

/// A queue with one task in each state that is kept, as far as this broker has them.
async fn one_of_each(t: &Trial) -> Result<QueueStats, Failure> {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["dead", "leased", "ready", "ready too"]).await?;
    kill_one(t, &rx, "broken").await?;
    t.take_one(&rx).await?;
    let mut expected = QueueStats { ready: 2, leased: 1, ..QueueStats::default() };
    if let Delay::UpTo(_) = t.can().delay {
        t.send_all(&spec.name, &[task("scheduled").delay(t.ticks(500))]).await?;
        expected.scheduled = 1;
    }
    expected.dead = u64::from(spec.dead_letters.queue.is_none());
    Ok(expected)
}

pub(super) async fn stats_count_every_state(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    let expected = one_of_each(&t).await?;
    let stats = inspect.stats(&named("mail")?).await?;
    let counted = QueueStats { oldest_ready: None, ..stats.clone() };
    ensure_eq!(counted, expected, "the counts");
    ensure_eq!(stats.live(), expected.live(), "what counts against the capacity");
    Ok(Shown::Honoured)
}

pub(super) async fn the_longest_wait_is_told(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    ensure_eq!(inspect.stats(&spec.name).await?.oldest_ready, None, "the wait in an empty queue");
    t.send(&spec.name, &["old"]).await?;
    t.pass(30).await;
    t.send(&spec.name, &["young"]).await?;
    t.pass(5).await;
    let waited = inspect.stats(&spec.name).await?.oldest_ready.unwrap_or_default();
    ensure!(waited >= t.ticks(35), "the longest wait is {waited:?}, not 35 ticks or more");
    ensure_eq!(text(&t.take_one(&rx).await?), "old", "the first task");
    let waited = inspect.stats(&spec.name).await?.oldest_ready.unwrap_or_default();
    ensure!(waited < t.ticks(30), "the longest wait is still {waited:?}");
    Ok(Shown::Honoured)
}

pub(super) async fn a_peek_shows_what_comes_next_and_hands_out_nothing(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let high = u8::from(t.can().priority_max.is_some_and(|highest| highest > 0));
    t.send_all(&spec.name, &[task("a"), task("b"), task("c").priority(high)]).await?;
    let shown = view_texts(&inspect.peek(&spec.name, 2).await?);
    ensure_eq!(view_texts(&inspect.peek(&spec.name, 2).await?), shown, "a second peek");
    let whole = inspect.peek(&spec.name, 10).await?;
    ensure_eq!(whole.len(), 3, "ready tasks shown");
    let untouched = whole.iter().all(|view| view.state == State::Ready && view.task.deliveries == 0);
    ensure!(untouched, "a peek touched a task: {whole:?}");
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(text(&t.take_one(&rx).await?));
    }
    ensure!(received.starts_with(&shown), "peeked {shown:?}, received {received:?}");
    Ok(Shown::Honoured)
}

pub(super) async fn a_list_is_paged_and_filtered_by_state(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c", "d", "e"]).await?;
    let held = t.take_one(&rx).await?;
    let mut listed = Vec::new();
    let mut after = None;
    // WHY: three pages hold all; a list that never ends must not hang whoever turns its pages.
    for _ in 0..4 {
        let page = ListOptions { state: None, after, limit: 2 };
        let page = inspect.list(&spec.name, &page).await?;
        ensure!(page.len() <= 2, "a page of {} tasks, at most 2 were asked for", page.len());
        after = page.last().map(|last| last.task.sequence).or(after);
        listed.extend(view_texts(&page));
    }
    ensure_eq!(listed, ["a", "b", "c", "d", "e"], "tasks in the order of their sequences");
    let leased = ListOptions { state: Some(State::Leased), after: None, limit: 10 };
    let leased = inspect.list(&spec.name, &leased).await?;
    ensure_eq!(view_texts(&leased), [text(&held)], "leased tasks");
    let until: Vec<_> = leased.iter().map(|view| view.until).collect();
    ensure_eq!(until, [Some(held.until)], "when the lease ends");
    let ready = ListOptions { state: Some(State::Ready), after: None, limit: 10 };
    ensure_eq!(inspect.list(&spec.name, &ready).await?.len(), 4, "ready tasks");
    Ok(Shown::Honoured)
}

pub(super) async fn one_task_is_found_by_its_id(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let sent = t.send(&spec.name, &["a", "b"]).await?;
    let id = sent.iter().map(|sent| sent.id).next_back().unwrap_or_default();
    let found = inspect.get(&spec.name, id).await?;
    ensure_eq!(found.map(|view| (view.task.id, view.state)), Some((id, State::Ready)), "a task");
    ensure_eq!(inspect.get(&spec.name, TaskId::new()).await?, None, "a task that never was");
    t.drain(&rx).await?;
    ensure_eq!(inspect.get(&spec.name, id).await?, None, "a task that is done");
    Ok(Shown::Honoured)
}

pub(super) async fn queues_are_listed_by_name(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    for name in ["sms", "mail", "push"] {
        t.start(&t.spec(name)?).await?;
    }
    let names: Vec<String> =
        inspect.queues().await?.iter().map(|name| name.as_str().to_owned()).collect();
    let ours: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !name.ends_with(".dead")).collect();
    ensure_eq!(ours, ["mail", "push", "sms"], "queues, sorted");
    let spec = inspect.spec(&named("mail")?).await?;
    ensure!(spec.agrees_with(&t.spec("mail")?), "the spec is not the one declared: {spec:?}");
    ensure_eq!(spec.revision, 1, "the first revision");
    ensure_eq!(inspect.members(&spec.name).await?.len(), 0, "members where sessions are shared");
    Ok(Shown::Honoured)
}

pub(super) async fn an_unknown_queue_is_not_found(t: Trial) -> Proof {
    let broker = t.broker();
    let Ok(inspect) = broker.inspect() else {
        return blind(&broker);
    };
    let missing = named("missing")?;
    let list = ListOptions { state: None, after: None, limit: 1 };
    fails_with(inspect.spec(&missing).await, ErrorKind::NotFound)?;
    fails_with(inspect.stats(&missing).await, ErrorKind::NotFound)?;
    fails_with(inspect.peek(&missing, 1).await, ErrorKind::NotFound)?;
    fails_with(inspect.list(&missing, &list).await, ErrorKind::NotFound)?;
    fails_with(inspect.get(&missing, TaskId::new()).await, ErrorKind::NotFound)?;
    fails_with(inspect.dead(&missing, &Default::default()).await, ErrorKind::NotFound)?;
    fails_with(inspect.members(&missing).await, ErrorKind::NotFound)?;
    Ok(Shown::Honoured)
}
