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

/// Things that are so many that a call of them need not wait for the one that is under way: with more of them each costs
/// hardly less, and a server that syncs before it answers does so once for all calls that it has got.
const MANY: usize = 64;
/// Calls under way at a time, however many things wait.
const UNDER_WAY_MAX: usize = 8;
/// Bytes of arguments that calls of several callers have at most. Larger ones gain nothing by going together, and a server
/// takes no more than a gigabyte of one (`client-query-buffer-limit` of redis.conf).
const TOGETHER_BYTES_MAX: usize = 1 << 20;
/// How often those who are ready to run come before a call is made.
const TURNS: usize = 4;

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
    bytes: usize,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Value>>;

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
        let bytes = arguments(&wanted).map(<[u8]>::len).sum();
        if let Some(turn) = lane.come(Waiting { wanted, bytes, answer }) {
            self.begin(how, partition.clone(), turn);
        }
        match heard.await {
            Ok(answer) => answer,
            // The runtime is ending.
            Err(_) => Err(Error::new(ErrorKind::Closed, how.doing, "the broker is closing")),
        }
    }

    /// Has those who wait taken along, by nobody's call: one may be left alone for long by whoever made it, and no other
    /// is to wait for that.
    fn begin(&self, how: Gathered, partition: Partition, turn: Turn) {
        let redis = self.clone();
        // WHY: not the caller's own runtime, which may end before others have their answers.
        self.shared.runtime.spawn(async move {
            // WHY: those who are ready to run come first, and what they want goes together.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            redis.go_on(how, &partition, turn).await;
        });
    }

    /// Sends what has come together, until nobody waits.
    async fn go_on(&self, how: Gathered, partition: &Partition, mut turn: Turn) {
        loop {
            let all = turn.next();
            if all.is_empty() {
                return;
            }
            if let Some(other) = turn.lane.turn() {
                self.begin(how, partition.clone(), other);
            }
            let (all, answers): (Vec<_>, Vec<_>) =
                all.into_iter().map(|waiting| (waiting.wanted, waiting.answer)).unzip();
            tell(self.send(how, partition, &all).await, answers, how.doing);
        }
    }

    async fn send(
        &self,
        how: Gathered,
        partition: &Partition,
        all: &[Wanted],
    ) -> Result<Vec<Value>> {
        let counts: Vec<usize> = all.iter().map(|wanted| wanted.count).collect();
        let answer = self.change((how.script)(), partition, how.doing, |call| {
            (how.first)(call, how.alike, counts.iter().sum());
            for argument in all.iter().flat_map(arguments) {
                call.arg(argument);
            }
        });
        (how.share)(answer.await?, &counts, how.doing)
    }
}

fn arguments(wanted: &Wanted) -> impl Iterator<Item = &[u8]> {
    wanted.arguments.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    })
}

/// Gives each caller his part of the answer, or the error that all have met.
fn tell(shares: Result<Vec<Value>>, answers: Vec<Answer>, doing: Operation) {
    let mut shares = shares.map(Vec::into_iter);
    for answer in answers {
        let own = match &mut shares {
            Ok(shares) => shares.next().ok_or_else(|| strange(doing)),
            Err(error) => Err(told_again(error, doing)),
        };
        // Whoever does not wait any more has given up.
        let _ = answer.send(own);
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

    /// Lets a caller wait. Returns a turn if somebody has to send for those who do.
    fn come(self: &Arc<Self>, waiting: Waiting) -> Option<Turn> {
        self.lock().waiting.push(waiting);
        self.turn()
    }

    /// A turn, if somebody waits for whom there is room, and nobody is about to take them along.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.lock();
        // WHY: each wants one thing at least, so who comes behind so many makes no difference.
        let things = || state.waiting.iter().take(MANY).map(|it| it.wanted.count).sum::<usize>();
        let has_room = match state.under_way {
            _ if state.is_gathering => false,
            0 => !state.waiting.is_empty(),
            under_way => under_way < UNDER_WAY_MAX && things() >= MANY,
        };
        has_room.then(|| {
            state.under_way += 1;
            state.is_gathering = true;
            Turn { lane: self.clone(), is_over: false }
        })
    }
}

/// The right to send for those who wait.
struct Turn {
    lane: Arc<Lane>,
    is_over: bool,
}

impl Turn {
    /// Those who go next, together, or none, and then the turn is over.
    fn next(&mut self) -> Vec<Waiting> {
        let mut state = self.lane.lock();
        state.is_gathering = false;
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        let (mut count, mut bytes) = (0, 0);
        let mut fits = |waiting: &Waiting| {
            count += waiting.wanted.count;
            bytes += waiting.bytes;
            count <= BATCH_MAX && bytes <= TOGETHER_BYTES_MAX
        };
        let many = state.waiting.iter().take_while(|waiting| fits(waiting)).count();
        // WHY: one that is too large for company is not to wait for ever.
        let many = many.max(1).min(state.waiting.len());
        if many == 0 {
            state.under_way -= 1;
            self.is_over = true;
        }
        state.waiting.drain(..many).collect()
    }
}

impl Drop for Turn {
    /// One that nobody has ended was cut short with its runtime. Nobody is to wait for it.
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.lane.lock();
            state.under_way -= 1;
            state.is_gathering = false;
            state.waiting.clear();
        }
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
