//! Acknowledgements from before the kill, presented after it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use tidegate::{Consumer, LeaseToken, Settled, Verdict};

use super::journal::{Event, Journal, Reader};
use crate::failure::Failure;

/// Tokens of tasks that were in hand when their process was killed, as the journal kept them.
#[derive(Debug)]
pub(super) struct Stale {
    process: u32,
    known: Mutex<Known>,
    consumer: Consumer,
}

#[derive(Debug)]
struct Known {
    journal: Reader,
    tokens: BTreeMap<u32, LeaseToken>,
}

impl Stale {
    /// Tokens of processes other than this one.
    pub(super) fn of_others(process: u32, journal: Reader, consumer: Consumer) -> Self {
        let known = Known { journal, tokens: BTreeMap::new() };
        Self { process, known: Mutex::new(known), consumer }
    }

    /// Presents the old token of a line, if there is one. The task is in this process's hands now, so
    /// that the broker must refuse it.
    pub(super) async fn present(&self, line: u32, journal: &Journal) -> io::Result<()> {
        let token = self.tokens()?.remove(&line);
        if let Some(token) = token {
            // WHY: if the broker cannot answer, nothing is journalled, and the audit misses it.
            let _ = self.present_one(line, &token, true, journal).await;
        }
        Ok(())
    }

    /// Presents all of them once more, when their tasks are done.
    pub(super) async fn present_all(&self, journal: &Journal) -> Result<(), Failure> {
        let tokens = self.tokens();
        for (line, token) in
            tokens.map_err(|error| Failure::failed(format!("the journal: {error}")))?
        {
            self.present_one(line, &token, false, journal).await?;
        }
        Ok(())
    }

    fn tokens(&self) -> io::Result<BTreeMap<u32, LeaseToken>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in known.journal.read()? {
            if let Event::Hung { line, token } = entry.event
                && entry.process != self.process
            {
                known.tokens.insert(line, LeaseToken::from_bytes(unhex(&token)));
            }
        }
        Ok(known.tokens.clone())
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
