//! Small calls that come while others are under way go together, as one: with most brokers what a call costs to begin is
//! most of it. For drivers; it knows no runtime.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_channel::oneshot;

use crate::{Error, ErrorKind, Operation, Result};

/// Calls of one kind that can be made together.
///
/// No such call may wait for something that any other of them would not wait for: whoever comes with it waits as well.
pub trait Gathered: Clone + Send + Sync + 'static {
    /// What one caller wants.
    type Wanted: Send + Sync + 'static;
    /// That caller's part of the answer.
    type Own: Send + 'static;

    /// How many are under way, and how much goes together.
    const ROOM: Room;

    /// What is done, as errors tell it.
    fn doing(&self) -> Operation;

    /// How much that is.
    fn size(wanted: &Self::Wanted) -> Size;

    /// Whether both can be asked for by one call.
    fn goes_with(_one: &Self::Wanted, _other: &Self::Wanted) -> bool {
        true
    }

    /// Runs work that no caller waits for, on a runtime that lives as long as the driver: what one caller began is for
    /// others too. It may let those who are ready to run come first, so that what they want goes along.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static);

    /// Ends when a call has taken so long that others are not to gather behind it any more.
    fn patience(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Makes one call for all. Returns the part of each, in order.
    ///
    /// # Errors
    /// What the broker says. Each caller has it, by [`Self::again`].
    fn call(&self, all: &[Self::Wanted]) -> impl Future<Output = Result<Vec<Self::Own>>> + Send;

    /// The same error for a further caller. A cause cannot be had twice, so it has none unless the driver knows it.
    fn again(&self, error: &Error) -> Error {
        let again = Error::new(error.kind(), error.operation(), error.message());
        match error.subject() {
            Some(subject) => again.about(subject),
            None => again,
        }
    }
}

/// How many calls of a lane are under way, and how much one call does.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Calls under way at a time before others gather behind them.
    pub calls: usize,
    /// The same where [`many`](Self::many) things wait.
    pub calls_of_many: usize,
    /// Things that are so many that a call of them need not wait: with more of them each costs hardly less.
    pub many: usize,
    /// What one call for several callers does at most. A caller who wants more than that goes alone.
    pub together: Size,
}

/// How much a call does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Tasks, leases or whatever each of which costs the broker something.
    pub things: usize,
    /// Bytes on their way.
    pub bytes: usize,
}

impl Size {
    fn plus(self, other: Self) -> Self {
        let Self { things, bytes } = self;
        let things = things.saturating_add(other.things);
        Self { things, bytes: bytes.saturating_add(other.bytes) }
    }

    fn fits(self, within: Self) -> bool {
        self.things <= within.things && self.bytes <= within.bytes
    }
}

/// Where calls of one kind gather: those that one call of the broker can answer.
pub struct Lane<G: Gathered>(Mutex<State<G>>);

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
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

/// Makes a call for a caller, together with others who come at the same time. Returns the caller's part of the answer.
/// Dropping this leaves what was sent, and takes back what was not; others who wait are served all the same.
///
/// # Errors
/// What [`Gathered::call`] says; [`ErrorKind::Closed`] if the runtime ends before there is an answer.
pub async fn gathered<G: Gathered>(
    how: &G,
    lane: &Arc<Lane<G>>,
    wanted: G::Wanted,
) -> Result<G::Own> {
    let (answer, heard) = oneshot::channel();
    lane.lock().waiting.push(Waiting { wanted, answer });
    begin_next(how, lane);
    match heard.await {
        Ok(answer) => answer,
        Err(oneshot::Canceled) => {
            Err(Error::new(ErrorKind::Closed, how.doing(), "the broker is closing"))
        }
    }
}

/// Makes calls of what has come together, until nobody waits.
async fn go_on<G: Gathered>(how: G, mut turn: Turn<G>) {
    loop {
        let (all, answers) = turn.next();
        if all.is_empty() {
            return;
        }
        begin_next(&how, &turn.lane);
        let mut call = pin!(how.call(&all));
        let mut patience = pin!(how.patience());
        let ended = poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(shares) => Poll::Ready(Some(shares)),
            Poll::Pending => patience.as_mut().poll(cx).map(|()| None),
        });
        let Some(shares) = ended.await else {
            turn.end();
            begin_next(&how, &turn.lane);
            return tell(&how, call.await, answers);
        };
        tell(&how, shares, answers);
    }
}

/// Begins a call for those who wait, if there is room for one.
fn begin_next<G: Gathered>(how: &G, lane: &Arc<Lane<G>>) {
    if let Some(turn) = lane.turn() {
        how.spawn(go_on(how.clone(), turn));
    }
}

/// Gives each caller his part of the answer, or the error that all have met, the last of them with its cause.
fn tell<G: Gathered>(how: &G, shares: Result<Vec<G::Own>>, mut answers: Vec<Answer<G>>) {
    // Whoever does not wait any more has given up.
    match shares {
        Ok(shares) => {
            let mut shares = shares.into_iter();
            for answer in answers {
                let own = shares.next().ok_or_else(|| {
                    let why = "the broker has answered fewer than have asked";
                    Error::new(ErrorKind::Unexpected, how.doing(), why)
                });
                let _ = answer.send(own);
            }
        }
        Err(error) => {
            let last = answers.pop();
            for answer in answers {
                let _ = answer.send(Err(how.again(&error)));
            }
            let _ = last.map(|last| last.send(Err(error)));
        }
    }
}

impl<G: Gathered> Lane<G> {
    fn lock(&self) -> MutexGuard<'_, State<G>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, if somebody waits for whom there is room, and nobody is about to take them along.
    fn turn(self: &Arc<Self>) -> Option<Turn<G>> {
        let Room { calls, calls_of_many, many, together: _ } = G::ROOM;
        let mut state = self.lock();
        let has_room = match state.under_way {
            _ if state.is_gathering || state.waiting.is_empty() => false,
            under_way if under_way < calls => true,
            under_way => under_way < calls_of_many && state.waits_for(many),
        };
        has_room.then(|| {
            state.under_way += 1;
            state.is_gathering = true;
            Turn { lane: self.clone(), counts: true }
        })
    }
}

impl<G: Gathered> State<G> {
    /// Whether that many things are waited for.
    fn waits_for(&self, many: usize) -> bool {
        // WHY: each wants one thing at least, so who comes behind so many makes no difference.
        let waiting = self.waiting.iter().take(many);
        waiting.map(|waiting| G::size(&waiting.wanted).things).sum::<usize>() >= many
    }

    /// How many of those who wait go next, together. The first goes in any case: one that is too large for company is not
    /// to wait for ever.
    fn go_together(&self) -> usize {
        let Some(first) = self.waiting.first() else { return 0 };
        let mut size = G::size(&first.wanted);
        let fits = |waiting: &&Waiting<G>| {
            size = size.plus(G::size(&waiting.wanted));
            size.fits(G::ROOM.together) && G::goes_with(&first.wanted, &waiting.wanted)
        };
        1 + self.waiting.iter().skip(1).take_while(fits).count()
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
        state.waiting.retain(|waiting| !waiting.answer.is_canceled());
        let many = state.go_together();
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;

    type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// A broker whose calls the test answers, and a runtime that runs when the test says so.
    #[derive(Clone, Default)]
    struct Bench(Arc<Mutex<Inside>>);

    #[derive(Default)]
    struct Inside {
        /// What was spawned and has not ended.
        works: Vec<Work>,
        /// Calls under way, each as what its callers wanted, with the way to answer it.
        calls: VecDeque<(Vec<&'static str>, oneshot::Sender<Result<()>>)>,
        /// Patience of each call.
        patience: Vec<oneshot::Sender<()>>,
    }

    impl Bench {
        fn inside(&self) -> MutexGuard<'_, Inside> {
            self.0.lock().unwrap()
        }

        /// Polls everything that was spawned until nothing more is.
        fn run(&self) {
            loop {
                let works = std::mem::take(&mut self.inside().works);
                let before = works.len();
                let mut left = Vec::new();
                for mut work in works {
                    if poll(&mut work).is_pending() {
                        left.push(work);
                    }
                }
                let mut inside = self.inside();
                let is_settled = inside.works.is_empty() && left.len() == before;
                inside.works.append(&mut left);
                if is_settled {
                    return;
                }
            }
        }

        /// Answers the oldest call, and tells what it was.
        fn answer(&self, answer: Result<()>) -> Vec<&'static str> {
            let (wanted, answers) = self.inside().calls.pop_front().expect("no call is under way");
            answers.send(answer).unwrap();
            self.run();
            wanted
        }

        /// What the calls under way are for.
        fn under_way(&self) -> Vec<Vec<&'static str>> {
            self.inside().calls.iter().map(|(wanted, _)| wanted.clone()).collect()
        }
    }

    /// A word is so many things as it has letters; words with a capital do not go with others.
    impl Gathered for Bench {
        type Wanted = &'static str;
        type Own = String;
        const ROOM: Room =
            Room { calls: 1, calls_of_many: 3, many: 6, together: Size { things: 10, bytes: 3 } };

        fn doing(&self) -> Operation {
            Operation::Settle
        }

        /// A word's bytes are its dots.
        fn size(wanted: &&'static str) -> Size {
            Size { things: wanted.len(), bytes: wanted.matches('.').count() }
        }

        fn goes_with(one: &&'static str, other: &&'static str) -> bool {
            let is_capital = |word: &str| word.starts_with(char::is_uppercase);
            is_capital(one) == is_capital(other)
        }

        fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
            self.inside().works.push(Box::pin(work));
        }

        async fn patience(&self) {
            let (ends, ended) = oneshot::channel();
            self.inside().patience.push(ends);
            let _ = ended.await;
        }

        async fn call(&self, all: &[&'static str]) -> Result<Vec<String>> {
            let (answer, answered) = oneshot::channel();
            self.inside().calls.push_back((all.to_vec(), answer));
            answered.await.expect("no answer")?;
            // The broker forgets `-`.
            let answered = all.iter().filter(|word| **word != "-");
            Ok(answered.map(|word| word.to_uppercase()).collect())
        }
    }

    type Heard = Pin<Box<dyn Future<Output = Result<String>> + Send>>;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// A caller who has asked.
    fn ask(bench: &Bench, lane: &Arc<Lane<Bench>>, wanted: &'static str) -> Heard {
        let (bench, lane) = (bench.clone(), lane.clone());
        let mut heard: Heard = Box::pin(async move { gathered(&bench, &lane, wanted).await });
        assert!(poll(&mut heard).is_pending());
        heard
    }

    fn heard(mut heard: Heard) -> Result<String> {
        match poll(&mut heard) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("there is no answer"),
        }
    }

    fn start() -> (Bench, Arc<Lane<Bench>>) {
        Default::default()
    }

    #[test]
    fn what_comes_before_a_call_is_made_and_while_one_is_under_way_goes_together_in_order() {
        let (bench, lane) = start();
        let first = [ask(&bench, &lane, "a"), ask(&bench, &lane, "b")];
        bench.run();
        let then = [ask(&bench, &lane, "c"), ask(&bench, &lane, "dd"), ask(&bench, &lane, "e")];
        bench.run();
        assert_eq!(bench.under_way(), [["a", "b"]]);
        bench.answer(Ok(()));
        assert_eq!(first.map(|one| heard(one).unwrap()), ["A", "B"]);
        assert_eq!(bench.under_way(), [["c", "dd", "e"]]);
        bench.answer(Ok(()));
        assert_eq!(then.map(|one| heard(one).unwrap()), ["C", "DD", "E"]);
        assert!(bench.inside().works.is_empty());
    }

    #[test]
    fn many_things_do_not_wait_but_for_so_many_calls() {
        let (bench, lane) = start();
        let _all: Vec<Heard> = ["a", "bbbbb", "c", "dddddd", "eeeeee", "f"]
            .map(|word| {
                let asked = ask(&bench, &lane, word);
                bench.run();
                asked
            })
            .into();
        assert_eq!(bench.under_way(), [vec!["a"], vec!["bbbbb", "c"], vec!["dddddd"]]);
        bench.answer(Ok(()));
        assert_eq!(bench.under_way(), [vec!["bbbbb", "c"], vec!["dddddd"], vec!["eeeeee", "f"]]);
    }

    #[test]
    fn what_comes_at_once_begins_one_call_and_that_one_the_next_for_what_is_left() {
        let (bench, lane) = start();
        let _all = ["aaaaaa", "bbbbbb", "c"].map(|word| ask(&bench, &lane, word));
        assert_eq!(bench.inside().works.len(), 1);
        bench.run();
        assert_eq!(bench.under_way(), [vec!["aaaaaa"], vec!["bbbbbb", "c"]]);
    }

    #[test]
    fn no_more_goes_together_than_there_is_room_for_and_what_is_larger_goes_alone() {
        let (bench, lane) = start();
        let words =
            ["aaaaa", "bbbbb", "c", "dddddddddddd", "e..", "f..", "....", "g", "H", "I", "j"];
        let all = words.map(|word| ask(&bench, &lane, word));
        bench.run();
        let mut calls = Vec::new();
        while !bench.under_way().is_empty() {
            calls.push(bench.answer(Ok(())).join(" "));
        }
        let expected = ["aaaaa bbbbb", "c", "dddddddddddd", "e..", "f..", "....", "g", "H I", "j"];
        assert_eq!(calls, expected);
        assert_eq!(all.map(|one| heard(one).unwrap()), words.map(str::to_uppercase));
    }

    #[test]
    fn an_error_is_everybodys_with_its_kind_operation_and_subject() {
        let (bench, lane) = start();
        let all = ["a", "b"].map(|word| ask(&bench, &lane, word));
        bench.run();
        let gone = Error::new(ErrorKind::Unavailable, Operation::Settle, "it is gone");
        bench.answer(Err(gone.about("mail").caused_by(std::io::Error::other("a cable"))));
        let [one, last] = all.map(|one| heard(one).unwrap_err());
        for error in [&one, &last] {
            let said = (error.kind(), error.operation(), error.subject(), error.message());
            assert_eq!(
                said,
                (ErrorKind::Unavailable, Operation::Settle, Some("mail"), "it is gone")
            );
        }
        assert!(std::error::Error::source(&last).is_some());
        assert!(bench.inside().works.is_empty());
    }

    #[test]
    fn who_has_no_part_in_an_answer_is_told_so() {
        let (bench, lane) = start();
        let [answered, forgotten] = ["a", "-"].map(|word| ask(&bench, &lane, word));
        bench.run();
        bench.answer(Ok(()));
        assert_eq!(heard(answered).unwrap(), "A");
        let error = heard(forgotten).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unexpected, Operation::Settle));
    }

    #[test]
    fn who_gives_up_takes_back_what_was_not_sent_and_others_are_served() {
        let (bench, lane) = start();
        let begun_it = ask(&bench, &lane, "a");
        bench.run();
        let (given_up, waits) = (ask(&bench, &lane, "b"), ask(&bench, &lane, "c"));
        drop((begun_it, given_up));
        assert_eq!(bench.answer(Ok(())), ["a"]);
        assert_eq!(bench.under_way(), [["c"]]);
        bench.answer(Ok(()));
        assert_eq!(heard(waits).unwrap(), "C");
    }

    #[test]
    fn a_call_that_takes_long_is_not_waited_for_and_has_its_answer_all_the_same() {
        let (bench, lane) = start();
        let slow = ask(&bench, &lane, "a");
        bench.run();
        let quick = ask(&bench, &lane, "b");
        bench.run();
        assert_eq!(bench.under_way(), [["a"]]);
        let patience = bench.inside().patience.remove(0);
        patience.send(()).unwrap();
        bench.run();
        assert_eq!(bench.under_way(), [["a"], ["b"]]);
        let (_, slow_answer) = bench.inside().calls.pop_front().unwrap();
        bench.answer(Ok(()));
        assert_eq!(heard(quick).unwrap(), "B");
        slow_answer.send(Ok(())).unwrap();
        bench.run();
        assert_eq!(heard(slow).unwrap(), "A");
        let again = ask(&bench, &lane, "c");
        bench.run();
        bench.answer(Ok(()));
        assert_eq!(heard(again).unwrap(), "C");
    }

    #[test]
    fn nobody_waits_for_what_ended_with_its_runtime() {
        let (bench, lane) = start();
        let under_way = ask(&bench, &lane, "a");
        bench.run();
        let waits = ask(&bench, &lane, "b");
        let works = std::mem::take(&mut bench.inside().works);
        drop(works);
        for lost in [under_way, waits] {
            assert_eq!(heard(lost).unwrap_err().kind(), ErrorKind::Closed);
        }
        bench.inside().calls.clear();
        let never_ran = ask(&bench, &lane, "c");
        bench.inside().works.clear();
        assert_eq!(heard(never_ran).unwrap_err().kind(), ErrorKind::Closed);
        let next = ask(&bench, &lane, "d");
        bench.run();
        bench.answer(Ok(()));
        assert_eq!(heard(next).unwrap(), "D");
    }
}
