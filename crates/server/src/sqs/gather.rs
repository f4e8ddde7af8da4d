//! What arrives together goes together: while one batch is with the broker the next one gathers, so
//! many clients cost one step of the broker instead of many.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

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
        let (answer, outcomes) = oneshot::channel();
        let begins = {
            let mut state = self.state();
            state.waiting.push_back(Group { items, answer });
            !std::mem::replace(&mut state.is_running, true)
        };
        if begins {
            begin(self.clone().run(run));
        }
        let lost = |_| Err(Code::InternalFailure.because("The request was lost; try again."));
        outcomes.await.unwrap_or_else(lost)
    }

    async fn run<F, Fut>(self: Arc<Self>, run: F)
    where
        F: Fn(Vec<T>) -> Fut,
        Fut: Future<Output = Outcomes<R>>,
    {
        let _idle = IdleOnDrop(&self);
        let mut is_first = true;
        while let Some((items, groups)) = self.next() {
            // WHY: whoever begins goes on with its own answer, and does not do others' work instead.
            if !std::mem::replace(&mut is_first, false) {
                tokio::task::yield_now().await;
            }
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

    fn state(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes as far as it can at once, as is all the way with a broker that waits for nothing, and the rest in a task.
/// WHY: not in the caller's own future, which goes when the client does, and others wait.
fn begin(running: impl Future<Output = ()> + Send + 'static) {
    let mut running = Box::pin(running);
    let mut context = Context::from_waker(Waker::noop());
    // WHY: a panic is as little the caller's as in a task.
    let begun = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut context)));
    if begun.is_ok_and(|begun| begun.is_pending()) {
        tokio::spawn(running);
    }
}

/// WHY: a runner that panics must not leave the others waiting for ever. Their senders go, and the next
/// caller runs.
struct IdleOnDrop<'a, T, R>(&'a Gather<T, R>);

impl<T, R> Drop for IdleOnDrop<'_, T, R> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_running && std::thread::panicking() {
            state.waiting.clear();
            state.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn a_batch_that_fails_fails_for_all_and_the_next_one_runs() {
        let gather = Gather::<u32, u32>::new(4);
        let failed = gather.submit(vec![1], |_| async { Err(Failure::no_queue()) }).await;
        assert_eq!(failed, Err(Failure::no_queue()));
        let run = |items: Vec<u32>| async { Ok(items) };
        assert_eq!(gather.submit(vec![2], run).await, Ok(vec![2]));
    }

    #[tokio::test]
    async fn a_batch_that_panics_loses_nobody_who_comes_later() {
        let gather = Gather::<u32, u32>::new(4);
        let lost = gather.submit(vec![1], |_| async { panic!("on purpose") }).await;
        assert_eq!(lost.unwrap_err().code, Code::InternalFailure);
        let run = |items: Vec<u32>| async { Ok(items) };
        assert_eq!(gather.submit(vec![2], run).await, Ok(vec![2]));
    }
}
