//! What arrives together goes together: while one batch is with the broker the next one gathers, so
//! many clients cost one step of the broker instead of many.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::errors::{Code, Failure};

/// One outcome for each item, in order.
pub(crate) type Outcomes<R> = Result<Vec<R>, Failure>;

/// Gathers items of many callers. One batch is under way at a time, so items keep the order in which
/// they came.
#[derive(Debug)]
pub(crate) struct Gather<T, R> {
    state: Mutex<State<T, R>>,
    /// Most items in a batch; a caller's own are never parted.
    most: usize,
}

#[derive(Debug)]
struct State<T, R> {
    waiting: VecDeque<Group<T, R>>,
    is_running: bool,
}

/// A caller's items.
#[derive(Debug)]
struct Group<T, R> {
    items: Vec<T>,
    answer: oneshot::Sender<Outcomes<R>>,
}

impl<T: Send + 'static, R: Send + 'static> Gather<T, R> {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let state = State { waiting: VecDeque::new(), is_running: false };
        Arc::new(Self { state: Mutex::new(state), most })
    }

    /// Hands items in and waits for their outcomes. `run` takes a batch to the broker. Dropping the
    /// future takes nothing back: the items go their way, and nobody is told.
    pub(crate) async fn submit<F, Fut>(self: &Arc<Self>, items: Vec<T>, run: F) -> Outcomes<R>
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Outcomes<R>> + Send + 'static,
    {
        match self.begin(items) {
            Begun::First(items) => self.first(items, run).await,
            Begun::Waiting(told) => told.await.unwrap_or_else(|_| Err(lost())),
        }
    }

    async fn first<F, Fut>(self: &Arc<Self>, items: Vec<T>, run: F) -> Outcomes<R>
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Outcomes<R>> + Send + 'static,
    {
        let mut running = Box::pin(run(items));
        match at_once(running.as_mut()) {
            Ok(Poll::Ready(outcomes)) => {
                self.go_on(run);
                outcomes
            }
            Ok(Poll::Pending) => {
                let (answer, told) = oneshot::channel();
                // WHY: not in the caller's own future, which goes when the client does, and others wait.
                tokio::spawn(self.clone().finish(running, answer, run));
                told.await.unwrap_or_else(|_| Err(lost()))
            }
            Err(_) => {
                self.idle();
                Err(lost())
            }
        }
    }

    /// Who comes first goes with its own items; others wait for that batch to end.
    fn begin(&self, items: Vec<T>) -> Begun<T, R> {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_running, true) {
            return Begun::First(items);
        }
        let (answer, told) = oneshot::channel();
        state.waiting.push_back(Group { items, answer });
        Begun::Waiting(told)
    }

    /// Runs what waits, if anything does.
    fn go_on<F, Fut>(self: &Arc<Self>, run: F)
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Outcomes<R>> + Send + 'static,
    {
        let others_wait = {
            let mut state = self.state();
            state.is_running = !state.waiting.is_empty();
            state.is_running
        };
        if others_wait {
            // WHY: whoever was first goes on with its own answer, and does not do others' work instead.
            tokio::spawn(self.clone().run(run));
        }
    }

    /// Ends the batch that is under way, and runs what waits.
    async fn finish<F, Fut>(
        self: Arc<Self>,
        running: Pin<Box<Fut>>,
        answer: oneshot::Sender<Outcomes<R>>,
        run: F,
    ) where
        F: Fn(Vec<T>) -> Fut,
        Fut: Future<Output = Outcomes<R>>,
    {
        let idle = IdleOnDrop(&self);
        // Who is gone is told nothing.
        let _ = answer.send(running.await);
        drop(idle);
        self.clone().run(run).await;
    }

    async fn run<F, Fut>(self: Arc<Self>, run: F)
    where
        F: Fn(Vec<T>) -> Fut,
        Fut: Future<Output = Outcomes<R>>,
    {
        let _idle = IdleOnDrop(&self);
        while let Some((items, groups)) = self.next() {
            match run(items).await {
                Ok(outcomes) => {
                    let mut outcomes = outcomes.into_iter();
                    for (count, answer) in groups {
                        // Who is gone is told nothing.
                        let _ = answer.send(Ok(outcomes.by_ref().take(count).collect()));
                    }
                }
                Err(failure) => {
                    for (_, answer) in groups {
                        let _ = answer.send(Err(failure.clone()));
                    }
                }
            }
        }
    }

    /// The next batch, and whose it is. With none, whoever comes next runs again.
    #[expect(clippy::type_complexity, reason = "named nowhere else")]
    fn next(&self) -> Option<(Vec<T>, Vec<(usize, oneshot::Sender<Outcomes<R>>)>)> {
        let mut state = self.state();
        let Some(Group { mut items, answer }) = state.waiting.pop_front() else {
            state.is_running = false;
            return None;
        };
        let mut groups = vec![(items.len(), answer)];
        while let Some(next) = state.waiting.front()
            && items.len() + next.items.len() <= self.most
            && let Some(Group { items: more, answer }) = state.waiting.pop_front()
        {
            groups.push((more.len(), answer));
            items.extend(more);
        }
        Some((items, groups))
    }
}

impl<T, R> Gather<T, R> {
    /// Nothing is under way any more, and whoever waits is told that it is lost.
    fn idle(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.is_running = false;
    }

    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How somebody's items begin.
enum Begun<T, R> {
    /// Nothing is under way.
    First(Vec<T>),
    /// They go with the next batch.
    Waiting(oneshot::Receiver<Outcomes<R>>),
}

/// What can be done without waiting for anything. An error is a panic. WHY: where a broker has its answer at
/// once, a task for it is a cost of its own; and a panic is as little the caller's as in a task.
fn at_once<F: Future>(running: Pin<&mut F>) -> std::thread::Result<Poll<F::Output>> {
    let mut context = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| running.poll(&mut context)))
}

fn lost() -> Failure {
    Code::InternalFailure.because("The request was lost; try again.")
}

/// WHY: a runner that panics must not leave the others waiting for ever. Their senders go, and the next
/// caller runs.
struct IdleOnDrop<'a, T, R>(&'a Gather<T, R>);

impl<T, R> Drop for IdleOnDrop<'_, T, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.idle();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn what_arrives_while_a_batch_is_under_way_goes_together_and_in_order() {
        let gather = Gather::<u32, u32>::new(4);
        let (told, mut batches) = mpsc::unbounded_channel::<(Vec<u32>, oneshot::Sender<()>)>();
        let run = move |items: Vec<u32>| {
            let told = told.clone();
            async move {
                let (go, gone) = oneshot::channel();
                told.send((items.clone(), go)).unwrap();
                gone.await.unwrap();
                Ok(items.into_iter().map(|item| item * 10).collect())
            }
        };
        let submit = |items: Vec<u32>| {
            let (gather, run) = (gather.clone(), run.clone());
            tokio::spawn(async move { gather.submit(items, run).await })
        };
        let first = submit(vec![1]);
        let (batch, go_first) = batches.recv().await.unwrap();
        assert_eq!(batch, [1]);
        let others = [submit(vec![2, 3]), submit(vec![4]), submit(vec![5, 6])];
        // WHY: until all of them have handed in.
        while gather.state().waiting.len() < 3 {
            tokio::task::yield_now().await;
        }
        go_first.send(()).unwrap();
        let (batch, go) = batches.recv().await.unwrap();
        assert_eq!(batch, [2, 3, 4], "a caller's own are not parted");
        go.send(()).unwrap();
        let (batch, go) = batches.recv().await.unwrap();
        assert_eq!(batch, [5, 6]);
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(vec![10]));
        let mut outcomes = Vec::new();
        for other in others {
            outcomes.push(other.await.unwrap().unwrap());
        }
        assert_eq!(outcomes, [vec![20, 30], vec![40], vec![50, 60]]);
    }

    /// While the first is answered, in its own turn, another comes.
    #[tokio::test(start_paused = true)]
    async fn what_needs_no_waiting_is_answered_at_once_and_who_came_meanwhile_is_answered_too() {
        let gather = Gather::<u32, u32>::new(4);
        let others = Arc::new(Mutex::new(Vec::new()));
        let run = {
            let (gather, others) = (gather.clone(), others.clone());
            move |items: Vec<u32>| {
                if items == [1] {
                    let gather = gather.clone();
                    let other = async move { gather.submit(vec![2], echo).await };
                    let mut other = Box::pin(other);
                    assert!(at_once(other.as_mut()).unwrap().is_pending());
                    others.lock().unwrap().push(other);
                }
                echo(items)
            }
        };
        let mut first = Box::pin(gather.submit(vec![1], run));
        let Poll::Ready(answer) = at_once(first.as_mut()).unwrap() else { panic!("it has waited") };
        assert_eq!(answer, Ok(vec![1]));
        let other = others.lock().unwrap().pop().unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(1), other).await;
        assert_eq!(answer.expect("nobody has run it"), Ok(vec![2]));
        assert_eq!(gather.submit(vec![3], echo).await, Ok(vec![3]));
    }

    async fn echo(items: Vec<u32>) -> Outcomes<u32> {
        Ok(items)
    }

    #[tokio::test]
    async fn a_batch_that_fails_fails_for_all_and_the_next_one_runs() {
        let gather = Gather::<u32, u32>::new(4);
        let failed = gather.submit(vec![1], |_| async { Err(Failure::no_queue()) }).await;
        assert_eq!(failed, Err(Failure::no_queue()));
        assert_eq!(gather.submit(vec![2], echo).await, Ok(vec![2]));
    }

    #[tokio::test]
    async fn a_batch_that_panics_loses_nobody_who_comes_later() {
        let gather = Gather::<u32, u32>::new(4);
        let lost = gather.submit(vec![1], |_| async { panic!("on purpose") }).await;
        assert_eq!(lost.unwrap_err().code, Code::InternalFailure);
        assert_eq!(gather.submit(vec![2], echo).await, Ok(vec![2]));
    }
}
