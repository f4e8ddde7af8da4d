//! A row of results, as a program and as a person reads it.

use serde::Serialize;

use super::sample::{Latencies, Load, percentile_us, rounded};
use super::{Life, Target};
use crate::failure::Failure;
use crate::output::{self, number, table};
use crate::units::grouped;

/// One row. The names are fixed: programs read them.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The broker's URL without query and password; ` (worker)` or ` (idle pick-up)` behind it.
    broker: String,
    /// `always`, `interval` or `never`; `-` where the broker is not embedded.
    durability: &'static str,
    payload_bytes: usize,
    concurrency: usize,
    batch: usize,
    tasks_per_second: f64,
    enqueue_p50_us: f64,
    enqueue_p99_us: f64,
    pickup_p50_us: f64,
    pickup_p99_us: f64,
    cpu_us_per_task: f64,
    baseline_tasks_per_second: f64,
    /// Only people are shown it: the names above are all that programs were promised.
    #[serde(skip)]
    baseline_cpu_us_per_task: f64,
    ratio: f64,
}

impl Row {
    /// A row of the medians of tasks/s and processor time, the broker's and the baseline's.
    pub(super) fn new(
        target: &Target,
        life: Life,
        load: Load,
        (rate, cpu): (f64, f64),
        (baseline, baseline_cpu): (f64, f64),
        mut latencies: Latencies,
    ) -> Self {
        let Latencies { enqueue, pickup } = &mut latencies;
        let suffix = match life {
            Life::Worker => " (worker)",
            Life::IdlePickUp => " (idle pick-up)",
            Life::ManyClients | Life::Batches | Life::OneInFlight => "",
        };
        Self {
            broker: format!("{}{suffix}", target.label),
            durability: target.durability_name,
            payload_bytes: load.payload,
            concurrency: load.clients,
            batch: load.batch,
            tasks_per_second: rate.round(),
            enqueue_p50_us: rounded(percentile_us(enqueue, 50.0), 1),
            enqueue_p99_us: rounded(percentile_us(enqueue, 99.0), 1),
            pickup_p50_us: rounded(percentile_us(pickup, 50.0), 1),
            pickup_p99_us: rounded(percentile_us(pickup, 99.0), 1),
            cpu_us_per_task: rounded(cpu, 2),
            baseline_tasks_per_second: baseline.round(),
            baseline_cpu_us_per_task: rounded(baseline_cpu, 2),
            ratio: rounded(rate / baseline, 3),
        }
    }
}

/// The rows as a table on stdout.
pub(super) fn show(rows: &[Row]) -> Result<(), Failure> {
    let headings = [
        "BROKER",
        "SYNC",
        "CLIENTS",
        "BATCH",
        "TASKS/S",
        "BARE LOG/S",
        "RATIO",
        "CPU US / BARE",
        "ENQUEUE P50/P99 US",
        "PICKUP P50/P99 US",
    ];
    let mut lines = table(&headings);
    for row in rows {
        lines.add_row([
            row.broker.clone().into(),
            row.durability.into(),
            number(row.concurrency),
            number(row.batch),
            number(grouped(row.tasks_per_second as u64)),
            number(grouped(row.baseline_tasks_per_second as u64)),
            number(format!("{:.2}", row.ratio)),
            number(format!("{:.2} / {:.2}", row.cpu_us_per_task, row.baseline_cpu_us_per_task)),
            number(both(row.enqueue_p50_us, row.enqueue_p99_us)),
            number(both(row.pickup_p50_us, row.pickup_p99_us)),
        ]);
    }
    output::rows(&lines)
}

fn both(p50: f64, p99: f64) -> String {
    format!("{} / {}", grouped(p50.round() as u64), grouped(p99.round() as u64))
}
