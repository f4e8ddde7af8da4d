//! One measurement, and the median of several.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::args::MEASUREMENT;

/// What is measured: how many clients work how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Tasks in all.
    pub tasks: u64,
    /// Bytes of a payload.
    pub payload: usize,
    /// Clients that work at the same time.
    pub clients: usize,
    /// Tasks that a client sends, receives and completes at once.
    pub batch: usize,
    /// How long a client rests between two tasks.
    pub pause: Duration,
}

/// What one measurement found.
#[derive(Debug, Default)]
pub struct Sample {
    /// How many went through.
    pub tasks: u64,
    /// Tasks that went through, by the time it took.
    pub tasks_per_second: f64,
    /// Processor time of this process for each.
    pub cpu_us_per_task: f64,
    /// How long sends and pick-ups took.
    pub latencies: Latencies,
}

/// How long things took, in nanoseconds.
#[derive(Debug, Default)]
pub struct Latencies {
    /// From a send to its acknowledgement.
    pub enqueue: Vec<u64>,
    /// From a send to the receipt of its task.
    pub pickup: Vec<u64>,
}

impl Latencies {
    /// Adds what another client measured.
    pub fn extend(&mut self, other: Self) {
        self.enqueue.extend(other.enqueue);
        self.pickup.extend(other.pickup);
    }
}

/// The tasks that are left to do, shared by the clients of a measurement.
#[derive(Debug)]
pub struct Quota {
    left: AtomicU64,
    until: Instant,
}

impl Quota {
    /// So many tasks, to be taken before a measurement has taken too long.
    pub fn new(tasks: u64) -> Self {
        Self { left: AtomicU64::new(tasks), until: Instant::now() + MEASUREMENT }
    }

    /// Takes up to `batch` tasks; none are left when it is zero.
    pub fn take(&self, batch: usize) -> usize {
        if Instant::now() >= self.until {
            return 0;
        }
        let batch = batch as u64;
        let less = |left: u64| Some(left.saturating_sub(batch));
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        left.unwrap_or(0).min(batch) as usize
    }
}

/// Measures time and processor time from its making on.
#[derive(Debug)]
pub struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { started: Instant::now(), cpu: processor_time() }
    }

    /// What was found, when `tasks` tasks went through.
    pub fn stop(self, tasks: u64, latencies: Latencies) -> Sample {
        let (elapsed, cpu) = (self.started.elapsed(), processor_time() - self.cpu);
        Sample {
            tasks,
            tasks_per_second: tasks as f64 / elapsed.as_secs_f64(),
            cpu_us_per_task: cpu.as_secs_f64() * 1e6 / (tasks.max(1) as f64),
            latencies,
        }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A value with so many digits behind the point.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// The value that so many percent do not exceed, in microseconds. Sorts.
pub fn percentile_us(nanos: &mut [u64], percent: f64) -> f64 {
    nanos.sort_unstable();
    let place = (nanos.len() as f64 * percent / 100.0) as usize;
    let place = place.min(nanos.len().saturating_sub(1));
    nanos.get(place).map_or(f64::NAN, |nanos| *nanos as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_gives_out_each_task_once() {
        let quota = Quota::new(10);
        assert_eq!([quota.take(4), quota.take(4), quota.take(4), quota.take(4)], [4, 4, 2, 0]);
    }

    #[test]
    fn medians_and_percentiles_are_values_that_were_measured() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        let mut nanos: Vec<u64> = (1..=100).rev().map(|n| n * 1_000).collect();
        assert_eq!(percentile_us(&mut nanos, 50.0), 51.0);
        assert_eq!(percentile_us(&mut nanos, 99.0), 100.0);
        assert!(percentile_us(&mut [], 50.0).is_nan());
    }
}
