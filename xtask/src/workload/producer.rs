//! One who sends: to all queues in turn, with delays, priorities, ordering keys and dedup keys.

use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::history::Outcome;
use tidegate_core::{Enqueued, ErrorKind, NewTask, Unique};

use super::Failure;
use super::clock::SCRIBE;
use super::stage::{MOVING, ORDERED, PLAIN, Stage, queue};
use crate::scribe::Sender;

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

/// What the history calls the producer of that number.
pub(crate) fn producer_name(number: u64) -> String {
    format!("producer-{number}")
}

impl Producer {
    pub(crate) fn new(stage: Stage, number: u64, round: u64, seed: u64) -> Self {
        let rng = Rng::with_seed(seed ^ (number << 8) ^ (round << 16));
        // WHY: so that what one producer sent before a kill is ordered before what it sent after.
        let next_seq = round * 10_000_000;
        Self { stage, name: producer_name(number), next_seq, rng }
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
            let sender = Sender { name: &self.name, seq: base + n as u64 };
            SCRIBE.enqueued(to, task, sender, answer)
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
