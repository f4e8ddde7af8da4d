//! Calls of one script on one partition that come together, or while others are under way, go together, as one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use redis::{Arg, Cmd, Value};
use tidegate_core::gather::{self, Gathered, Room, Size};
use tidegate_core::{Error, Operation, Result};

use crate::capabilities::BATCH_MAX;
use crate::driver::Redis;
use crate::errors::told_again;
use crate::partition::Partition;
use crate::reply::strange;
use crate::script;

/// How often those who are ready to run come before a call is made.
const TURNS: usize = 4;

/// A script that does any number of things for any number of callers.
#[derive(Clone, Copy)]
pub(crate) struct How {
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
    size: Size,
    arguments: Cmd,
}

impl Wanted {
    pub(crate) fn new(count: usize, arguments: Cmd) -> Self {
        let bytes = parts(&arguments).map(<[u8]>::len).sum();
        Self { size: Size { things: count, bytes }, arguments }
    }
}

fn parts(arguments: &Cmd) -> impl Iterator<Item = &[u8]> {
    arguments.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    })
}

/// Calls of a script on a partition.
#[derive(Clone)]
struct Calls {
    redis: Redis,
    how: How,
    partition: Partition,
}

impl Gathered for Calls {
    type Wanted = Wanted;
    type Own = Value;
    /// One call at a time, or several of 64 things each: a server that syncs before it answers does so once for all calls
    /// that it has got. Arguments of more than a megabyte gain nothing by going together, and a server takes no more than
    /// a gigabyte of one (`client-query-buffer-limit` of redis.conf).
    const ROOM: Room = Room {
        calls: 1,
        calls_of_many: 8,
        many: 64,
        together: Size { things: BATCH_MAX, bytes: 1 << 20 },
    };

    fn doing(&self) -> Operation {
        self.how.doing
    }

    fn size(wanted: &Wanted) -> Size {
        wanted.size
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // WHY: not the caller's own runtime, which may end before others have their answers.
        self.redis.shared.runtime.spawn(async move {
            // WHY: those who are ready to run come first, and what they want goes together.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            work.await;
        });
    }

    async fn call(&self, all: &[Wanted]) -> Result<Vec<Value>> {
        let Self { redis, how, partition } = self;
        let counts: Vec<usize> = all.iter().map(|wanted| wanted.size.things).collect();
        let answer = redis.change((how.script)(), partition, how.doing, |call| {
            (how.first)(call, how.alike, counts.iter().sum());
            for argument in all.iter().flat_map(|wanted| parts(&wanted.arguments)) {
                call.arg(argument);
            }
        });
        (how.share)(answer.await?, &counts, how.doing)
    }

    fn again(&self, error: &Error) -> Error {
        told_again(error, self.how.doing)
    }
}

impl Redis {
    /// Runs a script for a caller, together with others who come at the same time. Returns the caller's part of the
    /// answer. Dropping this leaves what was sent, and takes back what was not.
    pub(crate) async fn gathered(
        &self,
        how: How,
        partition: &Partition,
        wanted: Wanted,
    ) -> Result<Value> {
        let lane = self.shared.lanes.lane((how.doing, how.alike, partition.meta()));
        let calls = Calls { redis: self.clone(), how, partition: partition.clone() };
        gather::gathered(&calls, &lane, wanted).await
    }
}

/// All lanes. One is held by the calls that are under way in it.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<HashMap<Name, Weak<Lane>>>);

type Lane = gather::Lane<Calls>;

/// What goes together: calls of a script, with something in common, on a partition.
type Name = (Operation, Alike, String);

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lanes")
    }
}

impl Lanes {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_one_as_long_as_somebody_is_in_it_and_forgotten_then() {
        let lanes = Lanes::default();
        let named = |doing, partition: &str| (doing, [0; 3], partition.to_owned());
        let held = lanes.lane(named(Operation::Enqueue, "mail"));
        assert!(Arc::ptr_eq(&held, &lanes.lane(named(Operation::Enqueue, "mail"))));
        assert!(!Arc::ptr_eq(&held, &lanes.lane(named(Operation::Settle, "mail"))));
        for number in 0..10_000 {
            lanes.lane(named(Operation::Enqueue, &number.to_string()));
        }
        assert!(Arc::ptr_eq(&held, &lanes.lane(named(Operation::Enqueue, "mail"))));
        let known = lanes.0.lock().unwrap().len();
        assert!(known < 100, "{known} lanes are known");
    }
}
