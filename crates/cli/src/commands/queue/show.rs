//! `tidegate queue list` and `show`.

use tidegate::{Broker, Capacity, Ordering, QueueName, QueueSpec, QueueStats, Router};

use crate::app::App;
use crate::failure::Failure;
use crate::output::{self, line, number, pairs, table};
use crate::units::{count, grouped, show};
use crate::views;

pub(crate) async fn list(app: &App, broker: &Broker) -> Result<(), Failure> {
    let inspect = broker.inspect()?;
    let mut queues = Vec::new();
    for name in inspect.queues().await? {
        queues.push((inspect.spec(&name).await?, inspect.stats(&name).await?));
    }
    if app.output.json {
        let views = queues.iter().map(|(spec, stats)| views::Queue::new(spec, stats));
        return app.output.json(&views.collect::<Vec<_>>());
    }
    if queues.is_empty() {
        return line("no queues yet; `tidegate send QUEUE BODY` makes the first");
    }
    let headings =
        ["QUEUE", "READY", "SCHEDULED", "LEASED", "DEAD", "OLDEST READY", "CAPACITY", ""];
    let mut rows = table(&headings);
    for (spec, stats) in &queues {
        rows.add_row([
            spec.name.to_string().into(),
            number(grouped(stats.ready)),
            number(grouped(stats.scheduled)),
            number(grouped(stats.leased)),
            number(grouped(stats.dead)),
            number(stats.oldest_ready.map_or_else(|| "-".to_owned(), show)),
            number(capacity(spec.capacity)),
            notes(spec, stats).into(),
        ]);
    }
    output::rows(&rows)
}

pub(crate) async fn one(app: &App, broker: &Broker, queue: &QueueName) -> Result<(), Failure> {
    let inspect = broker.inspect()?;
    let (spec, stats) = (inspect.spec(queue).await?, inspect.stats(queue).await?);
    if app.output.json {
        return app.output.json(&views::Queue::new(&spec, &stats));
    }
    let retry = &spec.retry;
    let dead = &spec.dead_letters;
    output::rows(&pairs([
        ("queue", spec.name.to_string()),
        ("ready", grouped(stats.ready)),
        ("scheduled", grouped(stats.scheduled)),
        ("leased", grouped(stats.leased)),
        ("dead", format!("{} (alert at {})", grouped(stats.dead), grouped(dead.alert_threshold))),
        ("oldest ready", stats.oldest_ready.map_or_else(|| "-".to_owned(), show)),
        ("paused", if stats.paused { "yes: nothing is handed out" } else { "no" }.to_owned()),
        ("", String::new()),
        ("ordering", ordering(&spec).to_owned()),
        (
            "router",
            format!(
                "{} over {}",
                router(spec.router),
                count(spec.partitions.get().into(), "partition")
            ),
        ),
        ("capacity", capacity(spec.capacity)),
        ("lease", show(spec.lease)),
        ("attempts", retry.max_attempts.to_string()),
        (
            "retry after",
            format!(
                "{} times {} for every further attempt, at most {}, jitter {}",
                show(retry.initial_delay),
                retry.multiplier,
                show(retry.max_delay),
                format!("{:?}", retry.jitter).to_lowercase()
            ),
        ),
        (
            "dead letters",
            match &dead.queue {
                Some(queue) => format!("moved to \"{queue}\""),
                None => format!("kept here for {}", show(dead.retention)),
            },
        ),
        ("dedup window", show(spec.dedup_window)),
        ("payload", format!("at most {} bytes", grouped(spec.payload_bytes_max as u64))),
        ("revision", spec.revision.to_string()),
    ]))
}

/// What a queue is, in a line.
pub(crate) fn summary(spec: &QueueSpec) -> String {
    let mut parts = vec![
        format!("capacity {}", capacity(spec.capacity)),
        format!("lease {}", show(spec.lease)),
        format!("{} attempts", spec.retry.max_attempts),
    ];
    if spec.ordering == Ordering::Key {
        parts.push("ordered by key".to_owned());
    }
    if spec.partitions.get() > 1 {
        parts.push(format!("{} partitions", spec.partitions.get()));
    }
    if let Some(dead) = &spec.dead_letters.queue {
        parts.push(format!("dead letters to \"{dead}\""));
    }
    parts.join(", ")
}

fn notes(spec: &QueueSpec, stats: &QueueStats) -> String {
    let mut notes = Vec::new();
    if stats.paused {
        notes.push("paused");
    }
    if spec.ordering == Ordering::Key {
        notes.push("ordered");
    }
    if stats.dead >= spec.dead_letters.alert_threshold {
        notes.push("many dead: see `tidegate dlq list`");
    }
    notes.join(", ")
}

fn ordering(spec: &QueueSpec) -> &'static str {
    match spec.ordering {
        Ordering::None => "none",
        Ordering::Key => "by key",
    }
}

fn router(router: Router) -> &'static str {
    match router {
        Router::Hash => "hash",
        Router::Consistent => "consistent",
        Router::RoundRobin => "round-robin",
    }
}

fn capacity(capacity: Capacity) -> String {
    match capacity {
        Capacity::Bounded(most) => grouped(most),
        Capacity::Unbounded => "unbounded".to_owned(),
    }
}
