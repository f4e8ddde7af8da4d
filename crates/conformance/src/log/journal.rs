//! What survives a restart: the records of every partition, its watermark, and the numbers.

use std::collections::BTreeMap;

use tidegate_core::error::Operation;
use tidegate_core::{
    DeadLetter, Error, ErrorKind, NewTask, QueueName, QueueSpec, Result, Timestamp,
};

use super::token::Place;

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) queues: BTreeMap<QueueName, LogQueue>,
    numbers: u64,
}

/// The partitions of one queue.
#[derive(Debug)]
pub(super) struct LogQueue {
    pub(super) id: u64,
    pub(super) spec: QueueSpec,
    pub(super) partitions: BTreeMap<u32, Partition>,
}

/// One partition: append only, done below its watermark.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) records: Vec<Record>,
    pub(super) watermark: u64,
}

/// One task in the log.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) task: NewTask,
    pub(super) sequence: u64,
    pub(super) enqueued_at: Timestamp,
    pub(super) last_error: Option<String>,
    pub(super) dead_letter: Option<DeadLetter>,
}

impl LogQueue {
    /// The records at or above the watermarks with their places, by sequence.
    pub(super) fn open_records(&self) -> Vec<(Place, &Record)> {
        let mut open = Vec::new();
        for (partition, log) in &self.partitions {
            let from = usize::try_from(log.watermark).unwrap_or(usize::MAX);
            for (offset, record) in (log.watermark..).zip(log.records.iter().skip(from)) {
                open.push((Place { partition: *partition, offset }, record));
            }
        }
        open.sort_by_key(|(_, record)| record.sequence);
        open
    }

    pub(super) fn record(&self, at: Place) -> Option<&Record> {
        let offset = usize::try_from(at.offset).ok()?;
        self.partitions.get(&at.partition)?.records.get(offset)
    }

    /// Whether a record lies below the watermark, and so is done for good.
    pub(super) fn below_watermark(&self, at: Place) -> bool {
        self.partitions.get(&at.partition).is_none_or(|log| at.offset < log.watermark)
    }
}

impl Journal {
    /// The next number: of a task, a session, a fence or a queue. None is used twice.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn queue(&self, name: &QueueName, doing: Operation) -> Result<&LogQueue> {
        self.queues.get(name).ok_or_else(|| {
            let why = "there is no such queue; declare it first";
            Error::new(ErrorKind::NotFound, doing, why).on(name)
        })
    }

    pub(super) fn declare(&mut self, spec: &QueueSpec) -> Result<()> {
        if let Some(queue) = self.queues.get(&spec.name) {
            return match queue.spec.first_difference(spec) {
                None => Ok(()),
                Some(field) => Err(conflict(spec, &format!("the queue has another {field}"))),
            };
        }
        if let Some(name) = &spec.dead_letters.queue {
            match self.queues.get(name).map(|queue| &queue.spec.dead_letters.queue) {
                Some(Some(_)) => return Err(conflict(spec, "its dead-letter queue names another")),
                Some(None) => {}
                None => {
                    let made = QueueSpec::dead_letter_queue(name.clone(), &spec.dead_letters);
                    self.make(QueueSpec { retention: None, ..made });
                }
            }
        }
        self.make(QueueSpec { revision: 1, ..spec.clone() });
        Ok(())
    }

    fn make(&mut self, spec: QueueSpec) {
        let id = self.number();
        let partitions = (0..spec.partitions.get()).map(|n| (n, Partition::default())).collect();
        self.queues.insert(spec.name.clone(), LogQueue { id, spec, partitions });
    }

    /// Appends a record to the partition its key is routed to.
    pub(super) fn append(&mut self, name: &QueueName, record: Record) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        let (key, router) = (record.task.ordering_key.as_deref(), queue.spec.router);
        let partition = router.route(key, record.sequence, queue.spec.partitions);
        queue.partitions.entry(partition).or_default().records.push(record);
    }
}

fn conflict(spec: &QueueSpec, why: &str) -> Error {
    let why = format!("{why}; declare it as it is or use another name");
    Error::new(ErrorKind::Conflict, Operation::Declare, why).on(&spec.name)
}
