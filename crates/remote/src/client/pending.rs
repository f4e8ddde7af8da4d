//! Calls on a stream that wait for their answers, by the numbers they went out with.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Calls that wait. Once the stream has ended there are none, and none is taken any more.
#[derive(Debug)]
pub(super) struct Pending<T> {
    calls: Mutex<Calls<T>>,
}

#[derive(Debug)]
struct Calls<T> {
    last: u64,
    /// `None` once the stream has ended.
    waiting: Option<HashMap<u64, T>>,
}

impl<T> Pending<T> {
    pub(super) fn new() -> Self {
        Self { calls: Mutex::new(Calls { last: 0, waiting: Some(HashMap::new()) }) }
    }

    /// Adds a call and gives it a number, which is never 0. `None` if the stream has ended.
    pub(super) fn add(&self, call: T) -> Option<u64> {
        self.with(|calls| {
            let waiting = calls.waiting.as_mut()?;
            calls.last += 1;
            waiting.insert(calls.last, call);
            Some(calls.last)
        })
    }

    /// A number for a step whose answer nobody waits for.
    pub(super) fn number(&self) -> u64 {
        self.with(|calls| {
            calls.last += 1;
            calls.last
        })
    }

    /// Takes a call out, to answer it.
    pub(super) fn take(&self, number: u64) -> Option<T> {
        self.with(|calls| calls.waiting.as_mut()?.remove(&number))
    }

    /// Looks at a call that is not answered yet.
    pub(super) fn look<R>(&self, number: u64, at: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.with(|calls| calls.waiting.as_mut()?.get_mut(&number).map(at))
    }

    /// Whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        self.with(|calls| calls.waiting.as_ref().is_none_or(HashMap::is_empty))
    }

    /// Ends: drops every call that waits.
    pub(super) fn end(&self) {
        // WHY: dropped outside the lock: whoever waits may wake at once and ask again.
        let dropped = self.with(|calls| calls.waiting.take());
        drop(dropped);
    }

    fn with<R>(&self, change: impl FnOnce(&mut Calls<T>) -> R) -> R {
        change(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_numbers_of_their_own_until_the_end() {
        let pending = Pending::new();
        let (first, second) = (pending.add('a').unwrap(), pending.add('b').unwrap());
        assert!(first != 0 && first != second && second != pending.number());
        assert_eq!(pending.look(second, |call| *call), Some('b'));
        assert_eq!(pending.take(first), Some('a'));
        assert_eq!(pending.take(first), None);
        assert!(!pending.is_empty());
        pending.end();
        assert!(pending.is_empty());
        assert_eq!((pending.take(second), pending.add('c')), (None, None));
    }
}
