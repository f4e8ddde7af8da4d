//! The plain calls: each makes the message, asks the server, and reads the answer.

use tidegate_core::{
    DeadFilter, Enqueued, Error, ErrorKind, FollowUp, LeaseToken, ListOptions, Member, Operation,
    QueueName, QueueSpec, QueueStats, Result, Settled, TaskId, TaskView, Verdict,
};
use tonic::{Response, Status, Streaming};

use super::line::Calls;
use crate::proto;
use crate::wire::error::status_from;
use crate::wire::lease::{settled_from, token_to, verdict_to};
use crate::wire::newer;
use crate::wire::spec::{spec_from, spec_to};
use crate::wire::task::{enqueued_from, follow_up_to, id_to};
use crate::wire::views::{filter_to, list_to, member_from, stats_from, view_from};

const INSPECT: Operation = Operation::Inspect;
const ADMINISTER: Operation = Operation::Administer;
/// What a server hands out of a list at a time.
const PAGE: usize = 1_000;

/// The answer to a call, or why there is none.
fn answer<T>(answered: Result<Response<T>, Status>, doing: Operation) -> Result<T> {
    answered.map(Response::into_inner).map_err(|status| status_from(status, doing))
}

async fn views(
    answered: Result<Response<Streaming<proto::TaskView>>, Status>,
    queue: &QueueName,
) -> Result<Vec<TaskView>> {
    let mut stream = answer(answered, INSPECT)?;
    let mut views = Vec::new();
    while let Some(view) = stream.message().await.map_err(|status| status_from(status, INSPECT))? {
        views.push(view_from(view, queue)?);
    }
    Ok(views)
}

pub(super) async fn declare(mut calls: Calls, spec: &QueueSpec) -> Result<()> {
    let request = proto::DeclareRequest { spec: Some(spec_to(spec)) };
    answer(calls.declare(request).await, Operation::Declare).map(drop)
}

pub(super) async fn settle_and_enqueue(
    mut calls: Calls,
    queue: &QueueName,
    token: &LeaseToken,
    verdict: &Verdict,
    follow_ups: &[FollowUp],
) -> Result<(Settled, Vec<Enqueued>)> {
    const SETTLE: Operation = Operation::Settle;
    let request = proto::SettleAndEnqueueRequest {
        queue: queue.to_string(),
        token: token_to(token),
        verdict: Some(verdict_to(verdict)),
        follow_ups: follow_ups.iter().map(follow_up_to).collect(),
    };
    let answered = answer(calls.settle_and_enqueue(request).await, SETTLE)?;
    let proto::SettleAndEnqueueResponse { outcome, enqueued } = answered;
    let enqueued = enqueued.into_iter().map(|enqueued| enqueued_from(enqueued, SETTLE).flatten());
    Ok((settled_from(outcome)?, enqueued.collect::<Result<_>>()?))
}

pub(super) async fn queues(mut calls: Calls) -> Result<Vec<QueueName>> {
    let queues = answer(calls.list_queues(proto::ListQueuesRequest {}).await, INSPECT)?.queues;
    let name = |name: String| QueueName::new(name).map_err(|why| unexpected(INSPECT, why));
    queues.into_iter().map(name).collect()
}

pub(super) async fn spec(mut calls: Calls, queue: &QueueName) -> Result<QueueSpec> {
    let request = proto::GetSpecRequest { queue: queue.to_string() };
    spec_from(answer(calls.get_spec(request).await, INSPECT)?.spec, INSPECT)
        .map_err(|error| newer(&error))
}

pub(super) async fn stats(mut calls: Calls, queue: &QueueName) -> Result<QueueStats> {
    let request = proto::GetStatsRequest { queue: queue.to_string() };
    answer(calls.get_stats(request).await, INSPECT).map(stats_from)
}

pub(super) async fn peek(
    mut calls: Calls,
    queue: &QueueName,
    limit: usize,
) -> Result<Vec<TaskView>> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let request = proto::PeekRequest { queue: queue.to_string(), limit };
    views(calls.peek(request).await, queue).await
}

/// Asks for page after page, as many as `options.limit` needs.
pub(super) async fn list(
    mut calls: Calls,
    queue: &QueueName,
    options: &ListOptions,
) -> Result<Vec<TaskView>> {
    let mut listed: Vec<TaskView> = Vec::new();
    loop {
        let limit = (options.limit - listed.len()).min(PAGE);
        let after = listed.last().map(|view| view.task.sequence).or(options.after);
        let page = ListOptions { limit, after, ..options.clone() };
        let page = views(calls.list_tasks(list_to(queue, &page)).await, queue).await?;
        let is_last = page.len() < limit;
        listed.extend(page);
        if is_last || listed.len() >= options.limit {
            return Ok(listed);
        }
    }
}

pub(super) async fn get(
    mut calls: Calls,
    queue: &QueueName,
    id: TaskId,
) -> Result<Option<TaskView>> {
    let request = proto::GetTaskRequest { queue: queue.to_string(), id: id_to(id) };
    let task = answer(calls.get_task(request).await, INSPECT)?.task;
    task.map(|view| view_from(view, queue)).transpose()
}

pub(super) async fn dead(
    mut calls: Calls,
    queue: &QueueName,
    filter: &DeadFilter,
) -> Result<Vec<TaskView>> {
    let filter = Some(filter_to(filter));
    let request = proto::ListDeadRequest { queue: queue.to_string(), filter };
    views(calls.list_dead(request).await, queue).await
}

pub(super) async fn members(mut calls: Calls, queue: &QueueName) -> Result<Vec<Member>> {
    let request = proto::ListMembersRequest { queue: queue.to_string() };
    let members = answer(calls.list_members(request).await, INSPECT)?.members;
    Ok(members.into_iter().map(member_from).collect())
}

pub(super) async fn update(mut calls: Calls, spec: &QueueSpec) -> Result<QueueSpec> {
    let request = proto::UpdateQueueRequest { spec: Some(spec_to(spec)) };
    let spec = answer(calls.update_queue(request).await, ADMINISTER)?.spec;
    spec_from(spec, ADMINISTER).map_err(|error| newer(&error))
}

pub(super) async fn delete(mut calls: Calls, queue: &QueueName) -> Result<()> {
    let request = proto::DeleteQueueRequest { queue: queue.to_string() };
    answer(calls.delete_queue(request).await, ADMINISTER).map(drop)
}

pub(super) async fn purge(mut calls: Calls, queue: &QueueName) -> Result<u64> {
    let request = proto::PurgeQueueRequest { queue: queue.to_string() };
    Ok(answer(calls.purge_queue(request).await, ADMINISTER)?.tasks)
}

pub(super) async fn purge_dead(
    mut calls: Calls,
    queue: &QueueName,
    filter: &DeadFilter,
) -> Result<u64> {
    let filter = Some(filter_to(filter));
    let request = proto::PurgeDeadRequest { queue: queue.to_string(), filter };
    Ok(answer(calls.purge_dead(request).await, ADMINISTER)?.tasks)
}

pub(super) async fn pause(mut calls: Calls, queue: &QueueName, paused: bool) -> Result<()> {
    let request = proto::PauseQueueRequest { queue: queue.to_string(), paused };
    answer(calls.pause_queue(request).await, ADMINISTER).map(drop)
}

pub(super) async fn redrive(
    mut calls: Calls,
    queue: &QueueName,
    filter: &DeadFilter,
) -> Result<u64> {
    let filter = Some(filter_to(filter));
    let request = proto::RedriveRequest { queue: queue.to_string(), filter };
    Ok(answer(calls.redrive(request).await, ADMINISTER)?.tasks)
}

fn unexpected(doing: Operation, why: String) -> Error {
    Error::new(ErrorKind::Unexpected, doing, why)
}
