//! scratch
use futures_lite::future::block_on;
use std::time::Instant;
use tidegate_core::*;
use tidegate_engine::{Durability, Options};
fn rss() -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines()
        .find(|l| l.starts_with("RssAnon"))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: usize = args[2].parse().unwrap();
    let dir = std::path::PathBuf::from("/work/scratch-backlog");
    let mut o = Options::new(&dir);
    o.durability = Durability::Never;
    o.payload_memory_bytes = 1 << 20;
    let q = QueueName::new("q").unwrap();
    if args[1] == "fill" {
        let _ = std::fs::remove_dir_all(&dir);
        let b = block_on(tidegate_engine::open(o)).unwrap();
        let mut spec = QueueSpec::new(q.clone());
        spec.capacity = Capacity::Unbounded;
        block_on(b.declare(&spec)).unwrap();
        let payload = Bytes::from(vec![7u8; 256]);
        let before = rss();
        let t = Instant::now();
        let mut done = 0;
        while done < n {
            let tasks: Vec<NewTask> =
                (0..256).map(|_| NewTask::new("noop", payload.clone())).collect();
            block_on(b.enqueue(&q, &tasks)).unwrap();
            done += 256;
        }
        println!(
            "fill {:.0} tasks/s; rss/task {:.1} B",
            done as f64 / t.elapsed().as_secs_f64(),
            (rss() - before) as f64 * 1024.0 / done as f64
        );
        block_on(b.close()).unwrap();
    } else {
        let before = rss();
        let t = Instant::now();
        let b = block_on(tidegate_engine::open(o)).unwrap();
        println!("open {:.3} s", t.elapsed().as_secs_f64());
        let st = block_on(b.inspect().unwrap().stats(&q)).unwrap();
        if args.len() > 3 {
            std::process::exit(0)
        }
        println!("{st:?} rss/task {:.1} B", (rss() - before) as f64 * 1024.0 / st.ready as f64);
        let r = block_on(b.open(&q, &SessionOptions::default())).unwrap();
        let t = Instant::now();
        let mut c = 0;
        for _ in 0..1000 {
            let l = block_on(r.receive(&ReceiveOptions::up_to(64))).unwrap();
            c += l.len();
            let v: Vec<_> = l.into_iter().map(|l| (l.token, Verdict::Complete)).collect();
            block_on(r.settle(&v)).unwrap();
        }
        println!("receive+settle {:.0}/s", c as f64 / t.elapsed().as_secs_f64());
    }
}
