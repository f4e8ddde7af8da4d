//! Small calls that come while others are under way go together, as one: what a call costs to begin is most of it.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::oneshot;

use crate::batch::BYTES_MAX;
use crate::driver::Postgres;
use crate::errors::{corrupt, told_again};

/// Calls of a lane under way at a time before others gather behind them: one that the server works on, and one whose
/// answer is on its way.
const UNDER_WAY_MAX: usize = 2;
/// How long a call counts as under way. One that takes longer may wait for a connection that is lost.
const PATIENCE: Duration = Duration::from_millis(100);
/// Things that one call for many does at most. With more of them each costs hardly less.
const TOGETHER_MAX: usize = 128;
/// Things, and bytes of payloads, of a call that is small. Others go by themselves, as many as there are.
const SMALL: usize = 64;
const SMALL_BYTES: usize = 256 << 10;

const _: () = assert!(TOGETHER_MAX * SMALL_BYTES <= BYTES_MAX);

/// Calls that can be made together.
///
/// INVARIANT: such a call waits for no lock that any other of them would not wait for, so that nobody is held up by what
/// those who come with him have met.
pub(crate) trait Gathered: Clone + Send + Sync + 'static {
    /// What one caller wants.
    type Wanted: Send + Sync + 'static;
    /// His part of the answer.
    type Own: Send + 'static;
    const DOING: Operation;

    /// How many things that are.
    fn count(wanted: &Self::Wanted) -> usize;

    /// Whether both can be asked for by one call.
    fn goes_with(one: &Self::Wanted, other: &Self::Wanted) -> bool;

    fn postgres(&self) -> &Postgres;

    /// Makes one call for all. Returns the part of each, in order.
    fn call(&self, all: &[Self::Wanted]) -> impl Future<Output = Result<Vec<Self::Own>>> + Send;
}

/// Whether a call of so many things with payloads of so many bytes is better made with others.
pub(crate) fn is_small(count: usize, bytes: usize) -> bool {
    count <= SMALL && bytes <= SMALL_BYTES
}

/// Where calls of one kind on one queue gather.
pub(crate) struct Lane<G: Gathered>(Mutex<State<G>>);

struct State<G: Gathered> {
    under_way: usize,
    /// Whether somebody is about to take along all who wait.
    is_gathering: bool,
    waiting: Vec<Waiting<G>>,
}

struct Waiting<G: Gathered> {
    wanted: G::Wanted,
    answer: Answer<G>,
}

type Answer<G> = oneshot::Sender<Result<<G as Gathered>::Own>>;

impl<G: Gathered> Default for Lane<G> {
    fn default() -> Self {
        Self(Mutex::new(State { under_way: 0, is_gathering: false, waiting: Vec::new() }))
    }
}

impl<G: Gathered> fmt::Debug for Lane<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lane")
    }
}

/// Makes a call for a caller, together with others who come at the same time. Dropping this leaves what was sent, and
/// takes back what was not; others who wait are served all the same.
pub(crate) async fn gathered<G: Gathered>(
    how: &G,
    lane: &Arc<Lane<G>>,
    wanted: G::Wanted,
) -> Result<G::Own> {
    let (answer, heard) = oneshot::channel();
    if let Some(turn) = lane.come(Waiting { wanted, answer }) {
        begin(how.clone(), turn);
    }
    match heard.await {
        Ok(answer) => answer,
        // The runtime has ended.
        Err(_) => Err(Error::new(ErrorKind::Closed, G::DOING, "the broker is closing")),
    }
}

/// Has those who wait taken along, by nobody's call: one may be left alone for long by whoever made it, and no other
/// is to wait for that.
fn begin<G: Gathered>(how: G, turn: Turn<G>) {
    let runtime = how.postgres().inner.runtime.clone();
    runtime.spawn(async move {
        // WHY: those who are ready to run come first, and what they want goes together.
        tokio::task::yield_now().await;
        go_on(how, turn).await;
    });
}

/// Makes calls of what has come together, until nobody waits.
async fn go_on<G: Gathered>(how: G, mut turn: Turn<G>) {
    loop {
        let (all, answers) = turn.next();
        if all.is_empty() {
            return;
        }
        if let Some(other) = turn.lane.turn() {
            begin(how.clone(), other);
        }
        let mut call = pin!(how.call(&all));
        match tokio::time::timeout(PATIENCE, &mut call).await {
            Ok(shares) => tell::<G>(shares, answers),
            Err(_) => {
                turn.end();
                if let Some(other) = turn.lane.turn() {
                    begin(how.clone(), other);
                }
                return tell::<G>(call.await, answers);
            }
        }
    }
}

/// Gives each caller his part of the answer, or the error that all have met, one of them with its cause.
fn tell<G: Gathered>(shares: Result<Vec<G::Own>>, mut answers: Vec<Answer<G>>) {
    // Whoever does not wait any more has given up.
    match shares {
        Ok(shares) => {
            let mut shares = shares.into_iter();
            for answer in answers {
                let own = shares.next();
                let own = own.ok_or_else(|| corrupt(G::DOING, "fewer answers than calls"));
                let _ = answer.send(own);
            }
        }
        Err(error) => {
            let last = answers.pop();
            for answer in answers {
                let _ = answer.send(Err(told_again(&error)));
            }
            let _ = last.map(|last| last.send(Err(error)));
        }
    }
}

impl<G: Gathered> Lane<G> {
    fn lock(&self) -> MutexGuard<'_, State<G>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a caller wait. Returns a turn if somebody has to call for those who do.
    fn come(self: &Arc<Self>, waiting: Waiting<G>) -> Option<Turn<G>> {
        self.lock().waiting.push(waiting);
        self.turn()
    }

    /// A turn, if somebody waits for whom there is room, and nobody is about to take them along.
    fn turn(self: &Arc<Self>) -> Option<Turn<G>> {
        let mut state = self.lock();
        let has_room =
            !state.waiting.is_empty() && !state.is_gathering && state.under_way < UNDER_WAY_MAX;
        has_room.then(|| {
            state.under_way += 1;
            state.is_gathering = true;
            Turn { lane: self.clone(), counts: true }
        })
    }
}

/// The right to call for those who wait.
struct Turn<G: Gathered> {
    lane: Arc<Lane<G>>,
    /// Whether it is one of those that are under way.
    counts: bool,
}

impl<G: Gathered> Turn<G> {
    /// Those who go next, together, or none, and then the turn is over.
    fn next(&mut self) -> (Vec<G::Wanted>, Vec<Answer<G>>) {
        let mut state = self.lane.lock();
        state.is_gathering = false;
        state.waiting.retain(|waiting| !waiting.answer.is_closed());
        let mut count = 0;
        let mut goes = |waiting: &Waiting<G>, first: &Waiting<G>| {
            count += G::count(&waiting.wanted);
            count <= TOGETHER_MAX && G::goes_with(&first.wanted, &waiting.wanted)
        };
        let all = state.waiting.iter();
        let many = match state.waiting.first() {
            Some(first) => all.take_while(|waiting| goes(waiting, first)).count(),
            None => 0,
        };
        if many == 0 {
            state.under_way -= 1;
            self.counts = false;
        }
        state.waiting.drain(..many).map(|Waiting { wanted, answer }| (wanted, answer)).unzip()
    }

    /// The turn is over, though its call goes on.
    fn end(&mut self) {
        self.lane.lock().under_way -= 1;
        self.counts = false;
    }
}

impl<G: Gathered> Drop for Turn<G> {
    /// One that nobody has ended was cut short with its runtime. Nobody is to wait for it.
    fn drop(&mut self) {
        if self.counts {
            let mut state = self.lane.lock();
            state.under_way -= 1;
            state.is_gathering = false;
            state.waiting.clear();
        }
    }
}
