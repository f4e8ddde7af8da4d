//! The pictures of what `bench engine` measured.

use super::picture::{Line, Panel, Picture, Point};
use crate::curves::Point as Row;

const DURABILITIES: [&str; 3] = ["always", "interval", "never"];
/// How many clients have a line where lines are clients.
const CLIENTS: [usize; 3] = [1, 16, 256];
const BATCHES: [usize; 3] = [1, 10, 100];

/// All of them, each with the name of its file.
pub(super) fn pictures(rows: &[Row]) -> Vec<(&'static str, Picture)> {
    vec![
        ("latency-1", latency(rows, 1, "Latency of a send as clients are added, one task a call")),
        (
            "latency-100",
            latency(rows, 100, "Latency of a send as clients are added, 100 tasks a call"),
        ),
        ("bare-log", bare_log(rows)),
        ("processor", processor(rows)),
        ("written", written(rows)),
    ]
}

/// One panel for each durability that was measured.
fn panels(
    rows: &[Row],
    (x, y): (&'static str, &'static str),
    lines: impl Fn(&[&Row]) -> Vec<Line>,
) -> Vec<Panel> {
    let panel = |durability: &&str| {
        let of_it: Vec<&Row> = rows.iter().filter(|row| row.durability == **durability).collect();
        let title = match *durability {
            "always" => "always: synced before every answer",
            "interval" => "interval: synced once a second",
            _ => "never: synced when the system likes",
        };
        let lines: Vec<Line> = lines(&of_it);
        (!of_it.is_empty()).then(|| Panel { title: title.to_owned(), x, y, lines })
    };
    DURABILITIES.iter().filter_map(panel).collect()
}

fn latency(rows: &[Row], batch: usize, caption: &'static str) -> Picture {
    let lines = |rows: &[&Row]| {
        let line = |name: &str, number: usize, of: fn(&Row) -> f64| {
            let rows = rows.iter().filter(|row| row.batch == batch);
            let point = |row: &&Row| {
                let point = Point::new(row.tasks_per_second, of(row));
                if number == 0 { point.labelled(row.clients.to_string()) } else { point }
            };
            Line::solid(name, number, rows.map(point).collect())
        };
        vec![
            line("p50, with clients", 0, |row| row.enqueue_p50_us),
            line("p99", 1, |row| row.enqueue_p99_us),
            line("p99.9", 2, |row| row.enqueue_p999_us),
        ]
    };
    Picture { caption, panels: panels(rows, ("tasks per second", "microseconds"), lines) }
}

fn bare_log(rows: &[Row]) -> Picture {
    let lines = |rows: &[&Row]| {
        let points = |batch: usize, of: fn(&Row) -> f64| {
            let rows = rows.iter().filter(|row| row.batch == batch);
            rows.map(|row| Point::new(row.clients as f64, of(row))).collect()
        };
        let engine = BATCHES.iter().enumerate().map(|(number, batch)| {
            Line::solid(a_call(*batch), number, points(*batch, |row| row.tasks_per_second))
        });
        let bare = BATCHES.iter().enumerate().map(|(number, batch)| {
            let points = points(*batch, |row| row.bare_log_tasks_per_second);
            Line::dashed("its bare log", number, points)
        });
        engine.chain(bare).collect()
    };
    Picture {
        caption: "Full lives of tasks beside a bare log in the same rounds",
        panels: panels(rows, ("clients", "tasks per second"), lines),
    }
}

fn processor(rows: &[Row]) -> Picture {
    Picture {
        caption: "Processor time of a task by the size of a call",
        panels: panels(rows, ("tasks in a call", "microseconds"), |rows| {
            by_batch(rows, |row| row.cpu_us_per_task)
        }),
    }
}

fn written(rows: &[Row]) -> Picture {
    Picture {
        caption: "Bytes written for a task of 256 bytes by the size of a call",
        panels: panels(rows, ("tasks in a call", "bytes"), |rows| {
            by_batch(rows, |row| row.written_bytes_per_task)
        }),
    }
}

/// A line for each number of clients.
fn by_batch(rows: &[&Row], of: fn(&Row) -> f64) -> Vec<Line> {
    let line = |(number, clients): (usize, &usize)| {
        let rows = rows.iter().filter(|row| row.clients == *clients);
        let points = rows.map(|row| Point::new(row.batch as f64, of(row))).collect();
        let name = if *clients == 1 { "1 client".into() } else { format!("{clients} clients") };
        Line::solid(name, number, points)
    };
    CLIENTS.iter().enumerate().map(line).collect()
}

fn a_call(batch: usize) -> String {
    if batch == 1 { "1 task a call".into() } else { format!("{batch} tasks a call") }
}
