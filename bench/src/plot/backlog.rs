//! The pictures of what `cargo xtask backlog` measured.

use serde::Deserialize;

use super::picture::{Line, Panel, Picture, Point};

/// What one length of the queue cost.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    tasks: usize,
    plain: Filled,
    key: Filled,
    dedup: Filled,
    open_ms: Vec<f64>,
    unsynced: Rates,
    synced: Rates,
}

#[derive(Debug, Deserialize)]
struct Filled {
    memory_bytes: f64,
}

#[derive(Debug, Deserialize)]
struct Rates {
    sent_per_second: f64,
    leased_per_second: f64,
    completed_per_second: f64,
    cpu_us_per_task: f64,
}

const WAITING: &str = "tasks that wait";

/// All of them, each with the name of its file.
pub(super) fn pictures(rows: &[Row]) -> Vec<(&'static str, Picture)> {
    vec![
        ("backlog-memory", memory(rows)),
        ("backlog-open", open(rows)),
        ("backlog-rates", rates(rows)),
        ("backlog-processor", processor(rows)),
    ]
}

fn line(name: &str, number: usize, rows: &[Row], of: impl Fn(&Row) -> f64) -> Line {
    let points = rows.iter().map(|row| Point::new(row.tasks as f64, of(row)));
    Line::solid(name, number, points.collect())
}

fn memory(rows: &[Row]) -> Picture {
    let lines = vec![
        line("plain", 0, rows, |row| row.plain.memory_bytes),
        line("ordering key", 1, rows, |row| row.key.memory_bytes),
        line("dedup key", 2, rows, |row| row.dedup.memory_bytes),
    ];
    let title = "the engine's own memory, shared out among them".into();
    let panels = vec![Panel { title, x: WAITING, y: "bytes for a task", lines }];
    Picture { caption: "Memory of a task that waits, its payload on the disk", panels }
}

fn open(rows: &[Row]) -> Picture {
    let lines = vec![
        line("slowest", 1, rows, |row| row.open_ms.iter().copied().fold(0.0, f64::max)),
        line("fastest", 0, rows, |row| row.open_ms.iter().copied().fold(f64::MAX, f64::min)),
    ];
    let title = "a log that was closed, its files in the system's cache".into();
    let panels = vec![Panel { title, x: WAITING, y: "milliseconds", lines }];
    Picture { caption: "Time to open", panels }
}

fn rates(rows: &[Row]) -> Picture {
    let panel = |title: &str, of: fn(&Row) -> &Rates| Panel {
        title: title.to_owned(),
        x: WAITING,
        y: "tasks per second",
        lines: vec![
            line("sent", 0, rows, |row| of(row).sent_per_second),
            line("leased", 1, rows, |row| of(row).leased_per_second),
            line("completed", 2, rows, |row| of(row).completed_per_second),
        ],
    };
    Picture {
        caption: "Tasks on top of a backlog, one client, 64 tasks a call",
        panels: vec![
            panel("never: synced when the system likes", |row| &row.unsynced),
            panel("always: synced before every answer", |row| &row.synced),
        ],
    }
}

fn processor(rows: &[Row]) -> Picture {
    let lines = vec![
        line("never", 0, rows, |row| row.unsynced.cpu_us_per_task),
        line("always", 1, rows, |row| row.synced.cpu_us_per_task),
    ];
    let title = "sent, leased and completed, kernel included".into();
    let panels = vec![Panel { title, x: WAITING, y: "microseconds", lines }];
    Picture { caption: "Processor time of a task on top of a backlog", panels }
}
