//! Looking at queues and tasks.

use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    DeadFilter, Inspect, ListOptions, Member, Operation, QueueName, QueueSpec, QueueStats, Result,
    State, TaskId, TaskView,
};

use crate::driver::Redis;
use crate::envelope::{self, Fields};
use crate::partition::{Partition, number_of, time};
use crate::reply::{Parts, strange};
use crate::script;

const INSPECT: Operation = Operation::Inspect;
/// Tasks in one answer of a script.
const PAGE: usize = 200;

/// A dead task and the partition that it lies in.
pub(crate) struct Dead {
    pub(crate) lies_in: Partition,
    pub(crate) view: TaskView,
}

impl Dead {
    /// Its number in its partition.
    pub(crate) fn number(&self) -> u64 {
        number_of(self.view.task.sequence).0
    }
}

#[async_trait]
impl Inspect for Redis {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.open_still(INSPECT)?;
        let mut there = Vec::new();
        for name in self.names(INSPECT).await? {
            if self.find(&name, INSPECT).await?.is_some() {
                there.push(name);
            }
        }
        Ok(there)
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        self.open_still(INSPECT)?;
        Ok(QueueSpec::clone(&*self.seen(queue, INSPECT).await?))
    }

    async fn stats(&self, queue: &QueueName) -> Result<QueueStats> {
        self.open_still(INSPECT)?;
        let known = self.seen(queue, INSPECT).await?;
        let mut stats = QueueStats::default();
        for partition in self.partitions(queue, &known) {
            let answer = self.change(&script::STATS, &partition, INSPECT, |_| {}).await;
            let mut answer = Parts::of(answer.map_err(|error| error.on(queue))?, INSPECT)?;
            stats.ready += answer.number()?;
            stats.scheduled += answer.number()?;
            stats.leased += answer.number()?;
            stats.dead += answer.number()?;
            let oldest = u64::try_from(answer.int()?).ok().map(Duration::from_micros);
            stats.oldest_ready = stats.oldest_ready.max(oldest);
            stats.paused |= answer.int()? == 1;
        }
        Ok(stats)
    }

    async fn peek(&self, queue: &QueueName, limit: usize) -> Result<Vec<TaskView>> {
        self.open_still(INSPECT)?;
        let known = self.seen(queue, INSPECT).await?;
        let mut views = Vec::new();
        for partition in self.partitions(queue, &known) {
            let left = limit.saturating_sub(views.len());
            if left > 0 {
                let answer = self
                    .change(&script::PEEK, &partition, INSPECT, |call| {
                        call.arg(left);
                    })
                    .await?;
                views.extend(rows(answer, queue, &partition)?);
            }
        }
        Ok(views)
    }

    async fn list(&self, queue: &QueueName, options: &ListOptions) -> Result<Vec<TaskView>> {
        self.open_still(INSPECT)?;
        let ListOptions { state, after, limit } = options;
        let known = self.seen(queue, INSPECT).await?;
        let mut views = Vec::new();
        for partition in self.partitions(queue, &known) {
            // WHY: numbers are compared, so the first of this partition's beyond the sequence.
            let after = after.map_or(0, |after| match number_of(after) {
                (number, index) if partition.index <= index => number,
                (number, _) => number.saturating_sub(1),
            });
            views.extend(self.list_partition(queue, &partition, after, *state, *limit).await?);
        }
        views.sort_by_key(|view| view.task.sequence);
        views.truncate(*limit);
        Ok(views)
    }

    async fn get(&self, queue: &QueueName, id: TaskId) -> Result<Option<TaskView>> {
        self.open_still(INSPECT)?;
        let known = self.seen(queue, INSPECT).await?;
        for partition in self.partitions(queue, &known) {
            let mut after = Some(0);
            while let Some(from) = after {
                let (views, next) = self.page(queue, &partition, from, None, PAGE).await?;
                if let Some(view) = views.into_iter().find(|view| view.task.id == id) {
                    return Ok(Some(view));
                }
                after = next;
            }
        }
        Ok(None)
    }

    async fn dead(&self, queue: &QueueName, filter: &DeadFilter) -> Result<Vec<TaskView>> {
        self.open_still(INSPECT)?;
        let dead = self.dead_of(queue, filter, INSPECT).await?;
        Ok(dead.into_iter().take(filter.limit()).map(|dead| dead.view).collect())
    }

    async fn members(&self, queue: &QueueName) -> Result<Vec<Member>> {
        self.open_still(INSPECT)?;
        self.members_of(queue, INSPECT).await
    }
}

impl Redis {
    /// The dead tasks of a queue that a filter's reason means, oldest death first, whatever its limit.
    pub(crate) async fn dead_of(
        &self,
        queue: &QueueName,
        filter: &DeadFilter,
        doing: Operation,
    ) -> Result<Vec<Dead>> {
        let known = self.seen(queue, doing).await?;
        let mut all = Vec::new();
        for partition in self.partitions(queue, &known) {
            self.dead_in(queue, &partition, &mut all).await?;
        }
        if let Some(target) = &known.dead_letters.queue
            && let Some(there) = self.find(target, doing).await?
        {
            for partition in self.partitions(target, &there) {
                let views = self.list_partition(target, &partition, 0, None, usize::MAX).await?;
                all.extend(views.into_iter().map(|view| Dead { lies_in: partition.clone(), view }));
            }
        }
        all.retain(|dead| {
            let why = dead.view.dead_letter.as_ref();
            why.is_some_and(|why| why.source == *queue && filter.matches(why))
        });
        all.sort_by_key(|dead| {
            (dead.view.dead_letter.as_ref().map(|why| why.died_at), dead.view.task.sequence)
        });
        Ok(all)
    }

    async fn dead_in(
        &self,
        queue: &QueueName,
        partition: &Partition,
        all: &mut Vec<Dead>,
    ) -> Result<()> {
        let mut first = 0;
        loop {
            let page = |call: &mut redis::Cmd| {
                call.arg(first).arg(PAGE);
            };
            // WHY: it looks into the dead-letter queue as well, and a task on its way there is in neither.
            let answer = self.change_and_carry(&script::DEAD, partition, INSPECT, page).await?;
            let views = rows(answer, queue, partition)?;
            let count = views.len();
            all.extend(views.into_iter().map(|view| Dead { lies_in: partition.clone(), view }));
            if count < PAGE {
                return Ok(());
            }
            first += count;
        }
    }

    async fn list_partition(
        &self,
        queue: &QueueName,
        partition: &Partition,
        after: u64,
        state: Option<State>,
        limit: usize,
    ) -> Result<Vec<TaskView>> {
        let (mut views, mut after) = (Vec::new(), Some(after));
        while let Some(from) = after.filter(|_| views.len() < limit) {
            let wanted = PAGE.min(limit - views.len());
            let (page, next) = self.page(queue, partition, from, state, wanted).await?;
            views.extend(page);
            after = next;
        }
        Ok(views)
    }

    /// A page, and where the next one begins.
    async fn page(
        &self,
        queue: &QueueName,
        partition: &Partition,
        after: u64,
        state: Option<State>,
        limit: usize,
    ) -> Result<(Vec<TaskView>, Option<u64>)> {
        let state = match state {
            None => "",
            Some(State::Ready) => "r",
            Some(State::Scheduled) => "s",
            Some(State::Leased) => "l",
            Some(State::Dead) => "x",
            // Nobody keeps them.
            Some(State::Done) => return Ok((Vec::new(), None)),
        };
        let list = |call: &mut redis::Cmd| {
            call.arg(after).arg(limit).arg(state);
        };
        let answer = self.change(&script::LIST, partition, INSPECT, list).await;
        let mut answer = Parts::of(answer.map_err(|error| error.on(queue))?, INSPECT)?;
        let views = rows(answer.next()?, queue, partition)?;
        Ok((views, u64::try_from(answer.int()?).ok()))
    }
}

/// Tasks, as `lua/views.lua` writes them.
fn rows(answer: redis::Value, queue: &QueueName, partition: &Partition) -> Result<Vec<TaskView>> {
    Parts::of(answer, INSPECT)?.each().map(|row| view(row?, queue, partition)).collect()
}

fn view(mut row: Parts, queue: &QueueName, partition: &Partition) -> Result<TaskView> {
    let number = row.number()?;
    let state = match row.text()?.as_str() {
        "r" => State::Ready,
        "s" => State::Scheduled,
        "l" => State::Leased,
        "x" => State::Dead,
        _ => return Err(strange(INSPECT)),
    };
    let until = u64::try_from(row.int()?).ok().map(time);
    let (priority, deliveries, attempt) = (row.count()?, row.count()?, row.count()?);
    let (dead, last_error) = (row.maybe_bytes()?, row.maybe_text()?);
    let fields = Fields::read(row.parts()?, INSPECT)?;
    let dead_letter = envelope::dead_letter(dead, INSPECT)?;
    let known = envelope::Known {
        partition: partition.index,
        sequence: partition.sequence(number),
        priority: u8::try_from(priority).map_err(|_| strange(INSPECT))?,
        deliveries,
        attempt,
        enqueued_us: row.number()?,
        last_error,
        // WHY: the task itself says that it is a dead letter only where it was moved.
        dead_letter: dead_letter.clone().filter(|_| state != State::Dead),
    };
    Ok(TaskView { task: envelope::task(queue, fields, known), state, until, dead_letter })
}
