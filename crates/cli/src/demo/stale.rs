//! Acknowledgements from before the kill, presented after it.

use std::collections::BTreeMap;

use tidegate::{Consumer, LeaseToken, Settled, Verdict};

use super::journal::{Entry, Event, Journal};
use crate::failure::Failure;

/// Tokens of tasks that were in hand when the process before was killed.
#[derive(Debug)]
pub(super) struct Stale {
    tokens: BTreeMap<u32, LeaseToken>,
    consumer: Consumer,
}

impl Stale {
    /// The tokens that the journal of the runs before kept.
    pub(super) fn from(past: &[Entry], consumer: Consumer) -> Self {
        let token = |entry: &Entry| match &entry.event {
            Event::Hung { line, token } => Some((*line, LeaseToken::from_bytes(unhex(token)))),
            _ => None,
        };
        Self { tokens: past.iter().filter_map(token).collect(), consumer }
    }

    /// Presents the old token of a line, if there is one. The task is in somebody else's hands now,
    /// so that the broker must refuse it.
    pub(super) async fn present(&self, line: u32, journal: &Journal) {
        if let Some(token) = self.tokens.get(&line) {
            // WHY: if the broker cannot answer, nothing is journalled, and the audit misses it.
            let _ = self.present_one(line, token, true, journal).await;
        }
    }

    /// Presents all of them once more, when their tasks are done.
    pub(super) async fn present_all(&self, journal: &Journal) -> Result<(), Failure> {
        for (line, token) in &self.tokens {
            self.present_one(*line, token, false, journal).await?;
        }
        Ok(())
    }

    async fn present_one(
        &self,
        line: u32,
        token: &LeaseToken,
        in_other_hands: bool,
        journal: &Journal,
    ) -> tidegate::Result<()> {
        let verdict = [(token.clone(), Verdict::Complete)];
        for settled in self.consumer.settle(&verdict).await? {
            let (accepted, answer) = match settled {
                Settled::Lost(lost) => (false, lost.to_string()),
                other => (true, format!("{other:?}")),
            };
            journal.write(Event::Stale { line, in_other_hands, accepted, answer });
        }
        Ok(())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::hex;

    #[test]
    fn a_token_survives_the_journal() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), bytes);
    }
}
