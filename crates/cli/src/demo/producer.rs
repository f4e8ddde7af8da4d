//! The producer: sends the flights to a small queue, and waits for room.

use std::sync::Arc;
use std::time::Duration;

use tidegate::{Broker, Enqueued, ErrorKind, NewTask, Producer, QueueName, Unique, WhenFull};

use super::flights::{Flight, lines};
use super::journal::{Event, Journal};
use super::{HEADER_LINE, QUEUE};
use crate::failure::Failure;

/// Tasks sent at once.
const BATCH: usize = 50;
/// Longer than the demo takes: what was sent once is known.
const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);
/// The producer gives up when no room came for so long.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);
/// The pause before tasks are sent again whose answer was lost.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends all flights, each once, whoever dies meanwhile.
pub(super) async fn send_all(broker: &Broker, journal: Arc<Journal>) -> Result<(), Failure> {
    let queue = QueueName::new(QUEUE).map_err(Failure::failed)?;
    let when_full = WhenFull::Wait { timeout: ROOM_PATIENCE };
    let patient = Producer::builder(broker).when_full(when_full).build();
    let sender = Sender { hasty: Producer::new(broker), patient, queue, journal };
    let all: Vec<(u32, &str)> = lines().collect();
    for batch in all.chunks(BATCH) {
        let tasks = batch.iter().map(|(line, text)| task(*line, text).map(|task| (*line, task)));
        sender.send(tasks.collect::<Result<_, _>>().map_err(Failure::failed)?).await?;
    }
    sender.journal.write(Event::SentAll);
    Ok(())
}

struct Sender {
    /// Does not wait for room.
    hasty: Producer,
    patient: Producer,
    queue: QueueName,
    journal: Arc<Journal>,
}

/// Tasks with their lines.
type Batch = Vec<(u32, NewTask)>;

impl Sender {
    /// Sends until there is an answer for every task. Those whose answer was lost are sent again: the
    /// queue knows them by their dedup key if they had arrived.
    async fn send(&self, mut batch: Batch) -> Result<(), Failure> {
        let mut waits = false;
        while !batch.is_empty() {
            let by = if waits { &self.patient } else { &self.hasty };
            let tasks: Vec<NewTask> = batch.iter().map(|(_, task)| task.clone()).collect();
            match by.enqueue(&self.queue, &tasks).await {
                Ok(outcomes) => batch = self.unsent(batch, outcomes, waits).await?,
                Err(lost) if lost.kind() == ErrorKind::Unavailable => {
                    self.unanswered(batch.len()).await
                }
                Err(refused) => return Err(refused.into()),
            }
            waits = true;
        }
        Ok(())
    }

    /// What of a batch has to be sent again. A batch that `waited` for room in vain is refused.
    async fn unsent(
        &self,
        batch: Batch,
        outcomes: Vec<tidegate::Result<Enqueued>>,
        waited: bool,
    ) -> Result<Batch, Failure> {
        let (mut sent, mut unsent, mut full) = (Vec::new(), Vec::new(), 0);
        for ((line, task), outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Ok(Enqueued { deduplicated, .. }) => sent.push(Event::Sent { line, deduplicated }),
                Err(why) if why.kind() == ErrorKind::QueueFull && !waited => {
                    full += 1;
                    unsent.push((line, task));
                }
                Err(why) if why.kind() == ErrorKind::Unavailable => unsent.push((line, task)),
                Err(refused) => return Err(refused.into()),
            }
        }
        self.journal.write_all(sent);
        if full > 0 {
            self.journal.write(Event::Full { tasks: full });
        }
        if unsent.len() > full {
            self.unanswered(unsent.len() - full).await;
        }
        Ok(unsent)
    }

    async fn unanswered(&self, tasks: usize) {
        self.journal.write(Event::Unanswered { tasks });
        tokio::time::sleep(PAUSE).await;
    }
}

fn task(line: u32, text: &'static str) -> Result<NewTask, String> {
    let flight = Flight::read(text.as_bytes())?;
    let mut task = NewTask::new("flight.landed", text.as_bytes())
        .header(HEADER_LINE, line.to_string())
        .dedup(format!("line-{line}"), Unique::Window(DEDUP_WINDOW));
    task.ordering_key = flight.aircraft().map(ToOwned::to_owned);
    Ok(task)
}
