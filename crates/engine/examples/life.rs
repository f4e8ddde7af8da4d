//! The life of many tasks on a bare engine, and what it costs: `life BATCH TASKS [always]`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement ends at what it did not expect"
)]

use futures_lite::future::block_on;
use std::time::{Duration, Instant};
use tidegate_core::*;
use tidegate_engine::{Durability, Options};
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let batch: usize = args[1].parse().unwrap();
    let n: usize = args[2].parse().unwrap();
    let dir = std::env::temp_dir().join("tidegate-life");
    let _ = std::fs::remove_dir_all(&dir);
    let mut o = Options::new(&dir);
    o.durability = if args.get(3).is_some_and(|a| a == "always") {
        Durability::Always
    } else {
        Durability::Never
    };
    let b = block_on(tidegate_engine::open(o)).unwrap();
    let q = QueueName::new("q").unwrap();
    let mut spec = QueueSpec::new(q.clone());
    spec.capacity = Capacity::Unbounded;
    block_on(b.declare(&spec)).unwrap();
    let r = block_on(b.open(&q, &SessionOptions::default())).unwrap();
    let payload = Bytes::from(vec![7u8; 256]);
    for _ in 0..5 {
        let (t, c) = (Instant::now(), cpu());
        let mut done = 0;
        let (mut te, mut tr, mut ts) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        while done < n {
            let t0 = Instant::now();
            let tasks: Vec<NewTask> =
                (0..batch).map(|_| NewTask::new("noop", payload.clone())).collect();
            for x in block_on(b.enqueue(&q, &tasks)).unwrap() {
                x.unwrap();
            }
            let t1 = Instant::now();
            let leases = block_on(r.receive(&ReceiveOptions::up_to(batch))).unwrap();
            assert_eq!(leases.len(), batch);
            let t2 = Instant::now();
            let v: Vec<_> = leases.into_iter().map(|l| (l.token, Verdict::Complete)).collect();
            block_on(r.settle(&v)).unwrap();
            ts += t2.elapsed();
            te += t1 - t0;
            tr += t2 - t1;
            done += batch;
        }
        let e = t.elapsed();
        println!(
            "{:.0} tasks/s, cpu {:.3} us/task; enqueue {:.0} receive {:.0} settle {:.0} ns/task",
            n as f64 / e.as_secs_f64(),
            (cpu() - c) * 1e6 / n as f64,
            te.as_nanos() as f64 / n as f64,
            tr.as_nanos() as f64 / n as f64,
            ts.as_nanos() as f64 / n as f64
        );
    }
    block_on(b.close()).unwrap();
}
