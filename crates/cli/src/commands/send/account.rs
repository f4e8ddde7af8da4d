//! What `send` did, counted.

use std::time::Instant;

use serde::Serialize;
use tidegate::{Error, QueueName};

use super::Outcome;
use crate::units::{count, grouped};

/// What was sent.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    queue: QueueName,
    /// Whether the queue was made.
    created_queue: bool,
    /// Tasks that are new in the queue.
    sent: u64,
    /// Tasks that an earlier one with the same dedup key stands for.
    deduplicated: u64,
    /// Tasks that the broker refused.
    refused: u64,
    /// Tasks sent without an ordering key, because their line had none.
    without_key: u64,
    /// Tasks sent without a dedup key, because their line had none.
    without_dedup_key: u64,
    /// Lines with nothing on them.
    empty_lines: u64,
    /// The id of the task, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    elapsed_ms: u64,
    #[serde(skip)]
    started: Option<Instant>,
}

impl Account {
    pub(super) fn new(queue: QueueName, created_queue: bool) -> Self {
        Self {
            queue,
            created_queue,
            sent: 0,
            deduplicated: 0,
            refused: 0,
            without_key: 0,
            without_dedup_key: 0,
            empty_lines: 0,
            id: None,
            elapsed_ms: 0,
            started: Some(Instant::now()),
        }
    }

    /// Counts an outcome and hands an error on.
    pub(super) fn take(&mut self, outcome: Outcome) -> Result<(), Error> {
        let enqueued = outcome.inspect_err(|_| self.refused += 1)?;
        let only = self.sent + self.deduplicated == 0;
        self.id = only.then(|| enqueued.id.to_string());
        match enqueued.deduplicated {
            true => self.deduplicated += 1,
            false => self.sent += 1,
        }
        let elapsed = self.started.map(|started| started.elapsed()).unwrap_or_default();
        self.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        Ok(())
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn no_key(&mut self) {
        self.without_key += 1;
    }

    pub(super) fn no_dedup_key(&mut self) {
        self.without_dedup_key += 1;
    }

    pub(super) fn empty_line(&mut self) {
        self.empty_lines += 1;
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("sent {} to \"{}\"", count(self.sent, "task"), self.queue);
        if let (Some(id), 1) = (&self.id, self.sent) {
            text.push_str(&format!(": {id}"));
        }
        let notes = [
            (self.deduplicated, "already there"),
            (self.without_key, "without a key"),
            (self.without_dedup_key, "without a dedup key"),
            (self.refused, "refused"),
            (self.empty_lines, "empty, skipped"),
        ];
        let notes = notes.iter().filter(|(many, _)| *many > 0);
        let notes: Vec<String> =
            notes.map(|(many, what)| format!("{} {what}", grouped(*many))).collect();
        if !notes.is_empty() {
            text.push_str(&format!(" ({})", notes.join(", ")));
        }
        text
    }
}
