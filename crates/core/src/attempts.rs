//! What a broker in this process remembers of receives by their attempt ids.

use std::collections::{HashMap, VecDeque};

use crate::clock::Timestamp;
use crate::driver::AttemptId;
use crate::limits::{ATTEMPT_MEMORY, ATTEMPT_MEMORY_MAX};

/// Receives of one queue by their attempt ids, each with what `T` knows of what it handed out. The
/// oldest are forgotten after [`ATTEMPT_MEMORY`], and when there are more than [`ATTEMPT_MEMORY_MAX`].
#[derive(Debug)]
pub struct Attempts<T> {
    known: HashMap<AttemptId, (Timestamp, T)>,
    order: VecDeque<(Timestamp, AttemptId)>,
}

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Attempts<T> {
    /// What the receive of this id handed out, if it is known at `now`.
    pub fn get(&self, id: &AttemptId, now: Timestamp) -> Option<&T> {
        self.known.get(id).filter(|(until, _)| now < *until).map(|(_, given)| given)
    }

    /// Remembers what a receive handed out at `now`, in the place of an earlier one of its id.
    pub fn remember(&mut self, id: AttemptId, given: T, now: Timestamp) {
        let until = now.plus(ATTEMPT_MEMORY);
        self.order.push_back((until, id.clone()));
        self.known.insert(id, (until, given));
        while let Some((until, id)) = self.order.front()
            && (*until <= now || self.order.len() > ATTEMPT_MEMORY_MAX)
        {
            // WHY: it may have been remembered again since.
            if self.known.get(id).is_some_and(|(newest, _)| newest == until) {
                self.known.remove(id);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(text: &str) -> AttemptId {
        AttemptId::new(text).unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_receive_is_known_for_five_minutes_and_no_longer() {
        let mut attempts = Attempts::default();
        attempts.remember(id("a"), 1, at(0));
        assert_eq!(attempts.get(&id("a"), at(299)), Some(&1));
        assert_eq!(attempts.get(&id("a"), at(300)), None);
        assert_eq!(attempts.get(&id("b"), at(0)), None);
    }

    #[test]
    fn what_is_over_takes_no_room_and_what_was_remembered_again_stays() {
        let mut attempts = Attempts::default();
        attempts.remember(id("a"), 1, at(0));
        attempts.remember(id("gone"), 1, at(0));
        attempts.remember(id("a"), 2, at(200));
        attempts.remember(id("b"), 3, at(301));
        assert_eq!((attempts.known.len(), attempts.order.len()), (2, 2));
        assert_eq!(attempts.get(&id("a"), at(499)), Some(&2));
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut attempts = Attempts::default();
        for number in 0..=ATTEMPT_MEMORY_MAX {
            attempts.remember(id(&number.to_string()), (), at(1));
        }
        assert_eq!(attempts.known.len(), ATTEMPT_MEMORY_MAX);
        assert_eq!(attempts.get(&id("0"), at(1)), None);
        assert_eq!(attempts.get(&id("1"), at(1)), Some(&()));
    }
}
