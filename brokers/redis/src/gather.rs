//! Calls of one script on one partition that come together, or while others are under way, go together, as one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis::{Arg, Cmd, Value};
use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::oneshot;

use crate::capabilities::BATCH_MAX;
use crate::driver::Redis;
use crate::errors::told_again;
use crate::partition::Partition;
use crate::reply::strange;
use crate::script;

/// Calls under way at a time before others gather behind them. With fewer, a server that syncs before it answers
/// does so twice where once would do for all.
const UNDER_WAY_MAX: usize = 8;

/// A script that does any number of things for any number of callers.
#[derive(Clone, Copy)]
pub(crate) struct Gathered {
    pub(crate) script: fn() -> &'static script::Script,
    pub(crate) doing: Operation,
    /// What else calls must have in common to go together.
    pub(crate) alike: Alike,
    /// What the script is given before the callers' arguments, for so many things.
    pub(crate) first: fn(&mut Cmd, Alike, usize),
    /// What the script answers, in parts for callers that want so many things each.
    pub(crate) share: fn(Value, &[usize], Operation) -> Result<Vec<Value>>,
}

/// What calls have in common: three numbers, whose meaning is the script's.
pub(crate) type Alike = [i64; 3];

/// What one caller wants: so many things and their arguments.
pub(crate) struct Wanted {
    pub(crate) count: usize,
    pub(crate) arguments: Cmd,
}

/// All calls that gather. A lane is held by the calls that are under way in it.
#[derive(Default)]
pub(crate) struct Gather(Mutex<HashMap<Name, Weak<Lane>>>);

/// What goes together: calls of a script, with something in common, on a partition.
type Name = (Operation, Alike, String);

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gather")
    }
}

#[derive(Default)]
struct Lane(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: usize,
    /// Whether somebody is about to take along all who wait.
    is_gathering: bool,
    waiting: Vec<Waiting>,
}

struct Waiting {
    wanted: Wanted,
    answer: oneshot::Sender<Result<Value>>,
}

impl Redis {
    /// Runs a script for a caller, together with others who come at the same time. Returns the caller's part of the
    /// answer. Dropping this leaves what was sent, and takes back what was not; others who wait are served all the same.
    pub(crate) async fn gathered(
        &self,
        how: Gathered,
        partition: &Partition,
        wanted: Wanted,
    ) -> Result<Value> {
        let lane = self.shared.gather.lane((how.doing, how.alike, partition.meta()));
        let (answer, heard) = oneshot::channel();
        if lane.come(Waiting { wanted, answer }) {
            self.begin(how, partition.clone(), lane);
        }
        match heard.await {
            Ok(answer) => answer,
            // The runtime is ending.
            Err(_) => Err(Error::new(ErrorKind::Closed, how.doing, "the broker is closing")),
        }
    }

    /// Has those who wait taken along, by nobody's call: one may be left alone for long by whoever made it, and no other
    /// is to wait for that.
    fn begin(&self, how: Gathered, partition: Partition, lane: Arc<Lane>) {
        let redis = self.clone();
        tokio::spawn(async move {
            // WHY: those who are ready to run come first, and what they want goes together.
            tokio::task::yield_now().await;
            redis.go_on(how, &partition, &lane).await;
        });
    }

    /// Sends what has come together, until nobody waits.
    async fn go_on(&self, how: Gathered, partition: &Partition, lane: &Arc<Lane>) {
        loop {
            let now = lane.next();
            if now.is_empty() {
                return;
            }
            if lane.has_room() {
                self.begin(how, partition.clone(), lane.clone());
            }
            let counts: Vec<usize> = now.iter().map(|waiting| waiting.wanted.count).collect();
            let shares = self.send(how, partition, &now, &counts).await;
            let mut shares = shares.map(Vec::into_iter);
            for Waiting { wanted: _, answer } in now {
                let own = match &mut shares {
                    Ok(shares) => shares.next().ok_or_else(|| strange(how.doing)),
                    Err(error) => Err(told_again(error, how.doing)),
                };
                // Whoever does not wait any more has given up.
                let _ = answer.send(own);
            }
        }
    }

    async fn send(
        &self,
        how: Gathered,
        partition: &Partition,
        all: &[Waiting],
        counts: &[usize],
    ) -> Result<Vec<Value>> {
        let answer = self.change((how.script)(), partition, how.doing, |call| {
            (how.first)(call, how.alike, counts.iter().sum());
            for argument in all.iter().flat_map(|it| it.wanted.arguments.args_iter()) {
                if let Arg::Simple(bytes) = argument {
                    call.arg(bytes);
                }
            }
        });
        (how.share)(answer.await?, counts, how.doing)
    }
}

/// An answer that has a part for each thing.
pub(crate) fn one_for_each(
    answer: Value,
    counts: &[usize],
    doing: Operation,
) -> Result<Vec<Value>> {
    let Value::Array(answers) = answer else { return Err(strange(doing)) };
    if answers.len() != counts.iter().sum::<usize>() {
        return Err(strange(doing));
    }
    let mut answers = answers.into_iter();
    Ok(counts.iter().map(|count| Value::Array(answers.by_ref().take(*count).collect())).collect())
}

impl Gather {
    fn lane(&self, name: Name) -> Arc<Lane> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&name).and_then(Weak::upgrade) {
            return lane;
        }
        // WHY: before it would grow, so that looking at all costs little for each.
        if lanes.len() == lanes.capacity() {
            lanes.retain(|_, lane| lane.strong_count() > 0);
        }
        let lane = Arc::new(Lane::default());
        lanes.insert(name, Arc::downgrade(&lane));
        lane
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a caller wait. Returns whether somebody has to begin to send for those who do.
    fn come(&self, waiting: Waiting) -> bool {
        self.lock().waiting.push(waiting);
        self.has_room()
    }

    /// Whether somebody waits for whom there is room, and nobody is about to take them along. Then it is the asker's.
    fn has_room(&self) -> bool {
        let mut state = self.lock();
        let has_room =
            !state.waiting.is_empty() && !state.is_gathering && state.under_way < UNDER_WAY_MAX;
        if has_room {
            state.under_way += 1;
            state.is_gathering = true;
        }
        has_room
    }

    /// Those who go next, together, or none, and then there is room for another call.
    fn next(&self) -> Vec<Waiting> {
        let mut state = self.lock();
        state.is_gathering = false;
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        let mut count = 0;
        let mut fits = |waiting: &Waiting| {
            count += waiting.wanted.count;
            count <= BATCH_MAX
        };
        let many = state.waiting.iter().take_while(|waiting| fits(waiting)).count();
        // WHY: one that is too large by itself is for the server to refuse, not to wait for ever.
        let many = many.max(1).min(state.waiting.len());
        if many == 0 {
            state.under_way -= 1;
        }
        state.waiting.drain(..many).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_one_as_long_as_somebody_is_in_it_and_forgotten_then() {
        let gather = Gather::default();
        let named = |doing, partition: &str| (doing, [0; 3], partition.to_owned());
        let held = gather.lane(named(Operation::Enqueue, "mail"));
        assert!(Arc::ptr_eq(&held, &gather.lane(named(Operation::Enqueue, "mail"))));
        assert!(!Arc::ptr_eq(&held, &gather.lane(named(Operation::Settle, "mail"))));
        for number in 0..10_000 {
            gather.lane(named(Operation::Enqueue, &number.to_string()));
        }
        assert!(Arc::ptr_eq(&held, &gather.lane(named(Operation::Enqueue, "mail"))));
        let known = gather.0.lock().unwrap().len();
        assert!(known < 100, "{known} lanes are known");
    }
}
