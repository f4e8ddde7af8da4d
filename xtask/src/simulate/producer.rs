//! One who sends: single tasks and batches, with keys, delays, priorities and dedup keys.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::history::Outcome;
use tidegate_core::{Enqueued, ErrorKind, NewTask, Unique};

use super::book::{Issued, SCRIBE, name};
use super::scenario::{FADING, MOVING, ORDERED, PLAIN, queue};
use super::stage::{Failure, Stage};
use crate::scribe::Sender;

/// Ordering keys there are. Few, so that keys are contended.
const ORDERING_KEYS: u32 = 4;
/// Dedup keys there are on a queue.
const DEDUP_KEYS: u32 = 4;

/// A producer. Its name goes on over the processes of a run.
pub(crate) struct Producer {
    stage: Arc<Stage>,
    name: String,
    next_seq: u64,
    rng: Rng,
}

impl Producer {
    pub(crate) fn new(stage: Arc<Stage>, number: u64, life: u64, rng: Rng) -> Self {
        // WHY: so that what one producer sent before a crash is ordered before what it sent after.
        Self { stage, name: format!("producer-{number}"), next_seq: life * 1_000_000, rng }
    }

    /// Sends until something fails or the process ends.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(failure) = self.step().await {
                return self.stage.failed(&self.name, &failure);
            }
            self.stage.pause(&mut self.rng, 20).await;
        }
    }

    async fn step(&mut self) -> Result<(), Failure> {
        let to = *self.rng.choice(&[PLAIN, ORDERED, ORDERED, MOVING, FADING]).unwrap_or(&PLAIN);
        let count = if self.rng.bool() { 1 } else { self.rng.usize(1..6) };
        let tasks: Vec<NewTask> = (0..count).map(|_| self.task(to)).collect();
        let base = self.next_seq;
        self.next_seq += count as u64;
        let what = |n: usize, task: &NewTask, answer: Option<&Enqueued>| {
            let sender = Sender { name: &self.name, seq: base + n as u64 };
            SCRIBE.enqueued(to, task, sender, answer)
        };
        let unknown = tasks.iter().enumerate().map(|(n, task)| what(n, task, None)).collect();
        let book = &self.stage.book;
        let begun = book.begin(&self.name, unknown);
        let batch = note_sent(&self.stage, to, &tasks);
        let answers = match self.stage.broker.enqueue(&queue(to)?, &tasks).await {
            Ok(answers) => answers,
            Err(error) if error.kind() == ErrorKind::DiskFull => {
                let ends = tasks.iter().enumerate().map(|(n, t)| (Outcome::Fail, what(n, t, None)));
                book.end(&begun, ends.collect());
                let refused: Vec<String> = tasks.iter().map(|task| name(task.id)).collect();
                book.pages().issued.retain(|issued| !refused.contains(&issued.id));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut ends = Vec::with_capacity(count);
        for (n, (task, answer)) in tasks.iter().zip(answers).enumerate() {
            match answer {
                Ok(answer) => {
                    book.note_sequence(answer.id, answer.sequence);
                    if answer.deduplicated {
                        book.witness(&name(answer.id));
                    }
                    ends.push((Outcome::Ok, what(n, task, Some(&answer))));
                }
                Err(error) if error.kind() == ErrorKind::QueueFull => {
                    ends.push((Outcome::Fail, what(n, task, None)));
                }
                Err(error) => return Err(error),
            }
        }
        book.end(&begun, ends);
        let mut pages = book.pages();
        let of_batch = pages.issued.iter_mut().filter(|issued| issued.batch == batch);
        of_batch.for_each(|issued| issued.acknowledged = true);
        Ok(())
    }

    fn task(&mut self, to: &str) -> NewTask {
        let rng = &mut self.rng;
        let bytes = rng.usize(0..self.stage.payload_bytes_max);
        let mut task = self.stage.book.next_task(bytes);
        if to == ORDERED {
            if rng.u8(0..10) > 0 {
                task = task.ordering_key(format!("key-{}", rng.u32(0..ORDERING_KEYS)));
            }
        } else {
            task = task.priority(rng.u8(0..3));
            if rng.u8(0..5) == 0 {
                task = task.delay(Duration::from_millis(rng.u64(1..60)));
            }
        }
        match rng.u8(0..10) {
            0 => task.dedup(
                format!("window-{}", rng.u32(0..DEDUP_KEYS)),
                Unique::Window(Duration::from_millis(rng.u64(20..400))),
            ),
            // WHY: of a task that faded nobody is told, nor when its key was free.
            1 | 2 if to != FADING => {
                task.dedup(format!("done-{}", rng.u32(0..DEDUP_KEYS)), Unique::UntilDone)
            }
            3 => task.header("tenant", "acme"),
            _ => task,
        }
    }
}

/// Notes what is about to be sent, and which of it is judged as a line without holes. Tells the
/// number of the batch.
fn note_sent(stage: &Stage, to: &'static str, tasks: &[NewTask]) -> u64 {
    let mut pages = stage.book.pages();
    let batch = pages.operations;
    pages.sent.extend(tasks.iter().map(|task| (task.id, task.clone())));
    // WHY: a task with a dedup key may be no new one, and a bounded queue may refuse it.
    if stage.in_order && (to == ORDERED || to == MOVING) {
        let plain = tasks.iter().filter(|task| task.dedup.is_none());
        pages.issued.extend(plain.map(|task| Issued {
            queue: to,
            id: name(task.id),
            batch,
            acknowledged: false,
            synced: false,
        }));
    }
    batch
}
