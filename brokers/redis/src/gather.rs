//! Calls of one script on one partition that come while others are under way go together, as one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis::{Arg, Cmd, Value};
use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::oneshot;

use crate::capabilities::BATCH_MAX;
use crate::driver::Redis;
use crate::partition::Partition;
use crate::reply::{Parts, strange};
use crate::script;

/// Calls under way at a time before others gather behind them. With fewer, a server that syncs before it answers
/// does so twice where once would do for all.
const UNDER_WAY_MAX: usize = 8;

/// A script that takes any number of things and answers each of them.
#[derive(Clone, Copy)]
pub(crate) struct Gathered {
    pub(crate) script: fn() -> &'static script::Script,
    pub(crate) doing: Operation,
    /// What the script is given once, before the things.
    pub(crate) first: Option<i64>,
}

/// What one caller wants: so many things and their arguments.
pub(crate) struct Wanted {
    pub(crate) count: usize,
    pub(crate) arguments: Cmd,
}

/// All calls that gather, by script and partition. A lane is held by the calls that are under way in it.
#[derive(Default)]
pub(crate) struct Gather(Mutex<HashMap<(Operation, String), Weak<Lane>>>);

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
    waiting: Vec<Waiting>,
}

struct Waiting {
    wanted: Wanted,
    answer: oneshot::Sender<Result<Vec<Value>>>,
}

impl Redis {
    /// Runs a script for a caller, alone if nobody else's call is under way. Returns an answer for each of the things.
    /// Dropping this leaves what was sent; others who wait are served all the same.
    pub(crate) async fn gathered(
        &self,
        how: Gathered,
        partition: &Partition,
        wanted: Wanted,
    ) -> Result<Vec<Value>> {
        let lane = self.shared.gather.lane(how.doing, partition.meta());
        match lane.come(wanted) {
            Came::First(wanted) => {
                let _next = Next { redis: self, how, partition, lane: &lane };
                self.send(how, partition, &[&wanted]).await
            }
            Came::Behind(answer) => match answer.await {
                Ok(answer) => answer,
                // The runtime is ending.
                Err(_) => Err(Error::new(ErrorKind::Closed, how.doing, "the broker is closing")),
            },
        }
    }

    async fn send(
        &self,
        how: Gathered,
        partition: &Partition,
        all: &[&Wanted],
    ) -> Result<Vec<Value>> {
        let answer = self.change((how.script)(), partition, how.doing, |call| {
            if let Some(first) = how.first {
                call.arg(first);
            }
            for argument in all.iter().flat_map(|wanted| wanted.arguments.args_iter()) {
                if let Arg::Simple(bytes) = argument {
                    call.arg(bytes);
                }
            }
        });
        let answers = Parts::of(answer.await?, how.doing)?.rest();
        let wanted: usize = all.iter().map(|wanted| wanted.count).sum();
        if answers.len() == wanted { Ok(answers) } else { Err(strange(how.doing)) }
    }
}

impl Gather {
    fn lane(&self, doing: Operation, partition: String) -> Arc<Lane> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (doing, partition);
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

enum Came {
    /// There is room for this call.
    First(Wanted),
    /// Another one takes it along.
    Behind(oneshot::Receiver<Result<Vec<Value>>>),
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn come(&self, wanted: Wanted) -> Came {
        let mut state = self.lock();
        if state.under_way < UNDER_WAY_MAX {
            state.under_way += 1;
            return Came::First(wanted);
        }
        let (answer, heard) = oneshot::channel();
        state.waiting.push(Waiting { wanted, answer });
        Came::Behind(heard)
    }

    /// Those who go next, together, or none, and then there is room for another call.
    fn next(&self) -> Vec<Waiting> {
        let mut state = self.lock();
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

/// A call that is under way. When it ends, whether it was answered or dropped, those who came meanwhile go.
struct Next<'a> {
    redis: &'a Redis,
    how: Gathered,
    partition: &'a Partition,
    lane: &'a Arc<Lane>,
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        let Self { redis, how, partition, lane } = self;
        let first = lane.next();
        if !first.is_empty() {
            let (redis, how, lane) = ((*redis).clone(), *how, (*lane).clone());
            let partition = (*partition).clone();
            tokio::spawn(async move { redis.go_on(how, &partition, &lane, first).await });
        }
    }
}

impl Redis {
    /// Sends what has come together, until nobody waits.
    async fn go_on(&self, how: Gathered, partition: &Partition, lane: &Lane, first: Vec<Waiting>) {
        let mut now = first;
        while !now.is_empty() {
            let all: Vec<&Wanted> = now.iter().map(|waiting| &waiting.wanted).collect();
            let answer = self.send(how, partition, &all).await;
            let mut answers = answer.map(Vec::into_iter);
            for Waiting { wanted, answer } in now {
                let own = match &mut answers {
                    Ok(answers) => Ok(answers.by_ref().take(wanted.count).collect()),
                    Err(error) => Err(Error::new(error.kind(), how.doing, error.message())),
                };
                // Whoever does not wait any more has given up.
                let _ = answer.send(own);
            }
            now = lane.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_one_as_long_as_somebody_is_in_it_and_forgotten_then() {
        let gather = Gather::default();
        let held = gather.lane(Operation::Enqueue, "mail".into());
        assert!(Arc::ptr_eq(&held, &gather.lane(Operation::Enqueue, "mail".into())));
        assert!(!Arc::ptr_eq(&held, &gather.lane(Operation::Settle, "mail".into())));
        for number in 0..10_000 {
            gather.lane(Operation::Enqueue, number.to_string());
        }
        assert!(Arc::ptr_eq(&held, &gather.lane(Operation::Enqueue, "mail".into())));
        let known = gather.0.lock().unwrap().len();
        assert!(known < 100, "{known} lanes are known");
    }
}
