//! Receives that may wait, counted by the access key that asks, so that one client leaves others room.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::errors::{Code, Failure};

/// An access key, as it is named; `None` names none.
type Key = Option<String>;

/// How many there are now.
#[derive(Debug)]
pub(crate) struct Polls {
    /// Most of one key.
    most: usize,
    waiting: Mutex<HashMap<Key, usize>>,
}

/// A place for one. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    polls: &'a Polls,
    key: Key,
}

impl Polls {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    /// A place for one more of this key.
    ///
    /// # Errors
    /// `RequestThrottled` if there is none, which SDKs try again after a while.
    pub(crate) fn sit(&self, key: &Key) -> Result<Seat<'_>, Failure> {
        let mut waiting = self.waiting();
        let count = waiting.get(key).copied().unwrap_or(0);
        if count >= self.most {
            let most = self.most;
            let why = format!("{most} receives of this access key wait already; try again later.");
            return Err(Code::RequestThrottled.because(why));
        }
        waiting.insert(key.clone(), count + 1);
        Ok(Seat { polls: self, key: key.clone() })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut waiting = self.polls.waiting();
        if let Some(count) = waiting.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_places_and_gets_them_back() {
        let polls = Polls::new(2);
        let (one, other) = (Some("one".to_owned()), Some("other".to_owned()));
        let first = polls.sit(&one).unwrap();
        let _second = polls.sit(&one).unwrap();
        assert_eq!(polls.sit(&one).unwrap_err().code, Code::RequestThrottled);
        drop((polls.sit(&other).unwrap(), polls.sit(&None).unwrap()));
        drop(first);
        drop(polls.sit(&one).unwrap());
        assert_eq!(polls.waiting().len(), 1, "keys that do not wait are not kept");
    }
}
