//! One who sends: to all queues in turn, with delays, priorities, ordering keys and dedup keys.

use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::history::{DedupSent, Outcome, What};
use tidegate_core::task::Dedup;
use tidegate_core::{Enqueued, ErrorKind, NewTask, Unique};

use super::Failure;
use super::clock::at_least_us;
use super::stage::{MOVING, ORDERED, PLAIN, Stage, queue};

/// Ordering keys there are. Few, so that keys are contended.
const ORDERING_KEYS: u32 = 6;
/// Dedup keys there are on a queue.
const DEDUP_KEYS: u32 = 12;

/// A producer. Its name and its numbers go on over the processes of a run.
#[derive(Debug)]
pub(crate) struct Producer {
    stage: Stage,
    name: String,
    next_seq: u64,
    rng: Rng,
}

impl Producer {
    pub(crate) fn new(stage: Stage, number: u64, round: u64, seed: u64) -> Self {
        let rng = Rng::with_seed(seed ^ (number << 8) ^ (round << 16));
        // WHY: so that what one producer sent before a kill is ordered before what it sent after.
        let next_seq = round * 10_000_000;
        Self { stage, name: format!("producer-{number}"), next_seq, rng }
    }

    /// Sends until the process is killed or something fails.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        loop {
            if self.step().await? {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// Sends a few tasks to one queue. Whether it was full.
    pub(crate) async fn step(&mut self) -> Result<bool, Failure> {
        let to = *self.rng.choice([PLAIN, ORDERED, MOVING]).as_ref().unwrap_or(&PLAIN);
        let tasks: Vec<NewTask> = (0..self.rng.usize(1..6)).map(|_| self.task(to)).collect();
        let base = self.next_seq;
        self.next_seq += tasks.len() as u64;
        let what = |n: usize, task: &NewTask, answer: Option<&Enqueued>| {
            enqueued(to, task, &self.name, base + n as u64, answer)
        };
        let unknown = tasks.iter().enumerate().map(|(n, task)| what(n, task, None)).collect();
        let begun = self.stage.journal.begin(&self.name, unknown)?;
        let answers = self.stage.broker.enqueue(&queue(to)?, &tasks).await?;
        let mut ends = Vec::with_capacity(tasks.len());
        let mut full = false;
        for (n, (task, answer)) in tasks.iter().zip(answers).enumerate() {
            match answer {
                Ok(answer) => ends.push((Outcome::Ok, what(n, task, Some(&answer)))),
                Err(error) if error.kind() == ErrorKind::QueueFull => {
                    full = true;
                    ends.push((Outcome::Fail, what(n, task, None)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.stage.journal.end(&begun, ends)?;
        Ok(full)
    }

    fn task(&mut self, to: &str) -> NewTask {
        let rng = &mut self.rng;
        let mut task = NewTask::new("work", vec![b'x'; rng.usize(0..1_500)]);
        if to == ORDERED {
            if rng.u8(0..10) > 0 {
                task = task.ordering_key(format!("key-{}", rng.u32(0..ORDERING_KEYS)));
            }
        } else {
            task = task.priority(rng.u8(0..3));
            if rng.u8(0..5) == 0 {
                task = task.delay(Duration::from_millis(rng.u64(1..120)));
            }
        }
        match rng.u8(0..10) {
            0 => task.dedup(
                format!("window-{}", rng.u32(0..DEDUP_KEYS)),
                Unique::Window(Duration::from_millis(rng.u64(20..400))),
            ),
            1 => task.dedup(format!("done-{}", rng.u32(0..DEDUP_KEYS)), Unique::UntilDone),
            _ => task,
        }
    }
}

/// What a history says of one send.
pub(crate) fn enqueued(
    to: &str,
    task: &NewTask,
    producer: &str,
    seq: u64,
    answer: Option<&Enqueued>,
) -> What {
    let stands_for = answer.filter(|answer| answer.deduplicated).map(|e| e.id.to_string());
    let dedup = task.dedup.as_ref().map(|Dedup { key, unique }| DedupSent {
        key: key.clone(),
        window_us: match unique {
            Unique::Window(window) => Some(at_least_us(*window)),
            Unique::UntilDone => None,
        },
        stands_for,
    });
    What::Enqueued {
        queue: to.into(),
        id: task.id.to_string(),
        key: task.ordering_key.clone(),
        producer: producer.into(),
        seq,
        delay_us: at_least_us(task.delay),
        dedup,
    }
}
