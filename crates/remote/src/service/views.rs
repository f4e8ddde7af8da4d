//! The plain calls: each checks who asks, reads the message, asks the broker, and makes the answer.

use tidegate_core::access::Action;
use tidegate_core::{Access, Broker, Error, ErrorKind, LeaseToken, Operation, QueueName, Result};

use crate::proto;
use crate::wire::lease::{settled_to, verdict_from};
use crate::wire::queue_from;
use crate::wire::spec::{spec_from, spec_to};
use crate::wire::task::{enqueued_to, follow_up_from, id_from};
use crate::wire::views::{filter_from, list_from, member_to, stats_to, view_to};

const INSPECT: Operation = Operation::Inspect;
const ADMINISTER: Operation = Operation::Administer;

/// Most tasks in one answer to `Peek` and `ListTasks`.
const PAGE_MAX: usize = 1_000;
/// Most tasks in one answer to `ListDead`.
const DEAD_MAX: usize = 10_000;

pub(super) async fn declare(
    broker: &Broker,
    access: &Access,
    request: proto::DeclareRequest,
) -> Result<proto::DeclareResponse> {
    const DECLARE: Operation = Operation::Declare;
    let spec = spec_from(request.spec, DECLARE)?;
    if let Err(denied) = access.require(Action::Administer, &spec.name, DECLARE) {
        // WHY: finding a queue as it should be changes nothing; whoever uses it may.
        let uses = [Action::Send, Action::Receive];
        if !uses.iter().any(|action| access.require(*action, &spec.name, DECLARE).is_ok()) {
            return Err(denied);
        }
        let found = broker.inspect()?.spec(&spec.name).await.map_err(|_| denied)?;
        return match spec.first_difference(&found) {
            None => Ok(proto::DeclareResponse {}),
            Some(field) => {
                let why = format!("it exists with another {field}");
                Err(Error::new(ErrorKind::Conflict, DECLARE, why).on(&spec.name))
            }
        };
    }
    if let Some(dead) = &spec.dead_letters.queue {
        access.require(Action::Administer, dead, DECLARE)?;
    }
    broker.declare(&spec).await?;
    Ok(proto::DeclareResponse {})
}

pub(super) async fn settle_and_enqueue(
    broker: &Broker,
    access: &Access,
    request: proto::SettleAndEnqueueRequest,
) -> Result<proto::SettleAndEnqueueResponse> {
    const SETTLE: Operation = Operation::Settle;
    let proto::SettleAndEnqueueRequest { queue, token, verdict, follow_ups } = request;
    let queue = queue_from(queue, SETTLE)?;
    access.require(Action::Receive, &queue, SETTLE)?;
    let verdict = verdict_from(verdict)?;
    let follow_ups: Result<Vec<_>> =
        follow_ups.into_iter().map(|follow_up| follow_up_from(follow_up, SETTLE)).collect();
    let follow_ups = follow_ups?;
    for follow_up in &follow_ups {
        access.require(Action::Send, &follow_up.queue, SETTLE)?;
    }
    let token = LeaseToken::from_bytes(token);
    let (settled, enqueued) =
        broker.settle_and_enqueue(&queue, &token, &verdict, &follow_ups).await?;
    let enqueued = enqueued.into_iter().map(|enqueued| enqueued_to(Ok(enqueued))).collect();
    Ok(proto::SettleAndEnqueueResponse { outcome: settled_to(settled).into(), enqueued })
}

/// The queue that somebody wants to look at.
fn seen(access: &Access, queue: String) -> Result<QueueName> {
    let queue = queue_from(queue, INSPECT)?;
    access.require(Action::Inspect, &queue, INSPECT)?;
    Ok(queue)
}

/// The queue that somebody wants to change.
fn changed(access: &Access, queue: String) -> Result<QueueName> {
    let queue = queue_from(queue, ADMINISTER)?;
    access.require(Action::Administer, &queue, ADMINISTER)?;
    Ok(queue)
}

pub(super) async fn list_queues(
    broker: &Broker,
    access: &Access,
    _: proto::ListQueuesRequest,
) -> Result<proto::ListQueuesResponse> {
    let queues = broker.inspect()?.queues().await?;
    let queues = queues.iter().filter(|queue| access.sees(queue)).map(ToString::to_string);
    Ok(proto::ListQueuesResponse { queues: queues.collect() })
}

pub(super) async fn get_spec(
    broker: &Broker,
    access: &Access,
    request: proto::GetSpecRequest,
) -> Result<proto::GetSpecResponse> {
    let queue = queue_from(request.queue, INSPECT)?;
    if !access.sees(&queue) {
        access.require(Action::Inspect, &queue, INSPECT)?;
    }
    let spec = broker.inspect()?.spec(&queue).await?;
    Ok(proto::GetSpecResponse { spec: Some(spec_to(&spec)) })
}

pub(super) async fn get_stats(
    broker: &Broker,
    access: &Access,
    request: proto::GetStatsRequest,
) -> Result<proto::GetStatsResponse> {
    let queue = seen(access, request.queue)?;
    Ok(stats_to(&broker.inspect()?.stats(&queue).await?))
}

pub(super) async fn peek(
    broker: &Broker,
    access: &Access,
    request: proto::PeekRequest,
) -> Result<Vec<proto::TaskView>> {
    let proto::PeekRequest { queue, limit } = request;
    let queue = seen(access, queue)?;
    let views = broker.inspect()?.peek(&queue, (limit as usize).min(PAGE_MAX)).await?;
    Ok(views.into_iter().map(view_to).collect())
}

pub(super) async fn list_tasks(
    broker: &Broker,
    access: &Access,
    request: proto::ListTasksRequest,
) -> Result<Vec<proto::TaskView>> {
    let mut options = list_from(&request)?;
    options.limit = options.limit.min(PAGE_MAX);
    let queue = seen(access, request.queue)?;
    let views = broker.inspect()?.list(&queue, &options).await?;
    Ok(views.into_iter().map(view_to).collect())
}

pub(super) async fn list_dead(
    broker: &Broker,
    access: &Access,
    request: proto::ListDeadRequest,
) -> Result<Vec<proto::TaskView>> {
    let proto::ListDeadRequest { queue, filter } = request;
    let queue = seen(access, queue)?;
    let mut filter = filter_from(filter);
    filter.limit = Some(filter.limit().min(DEAD_MAX));
    let views = broker.inspect()?.dead(&queue, &filter).await?;
    Ok(views.into_iter().map(view_to).collect())
}

pub(super) async fn get_task(
    broker: &Broker,
    access: &Access,
    request: proto::GetTaskRequest,
) -> Result<proto::GetTaskResponse> {
    let proto::GetTaskRequest { queue, id } = request;
    let queue = seen(access, queue)?;
    let task = broker.inspect()?.get(&queue, id_from(&id, INSPECT)?).await?;
    Ok(proto::GetTaskResponse { task: task.map(view_to) })
}

pub(super) async fn list_members(
    broker: &Broker,
    access: &Access,
    request: proto::ListMembersRequest,
) -> Result<proto::ListMembersResponse> {
    let queue = seen(access, request.queue)?;
    let members = broker.inspect()?.members(&queue).await?;
    Ok(proto::ListMembersResponse { members: members.into_iter().map(member_to).collect() })
}

pub(super) async fn update_queue(
    broker: &Broker,
    access: &Access,
    request: proto::UpdateQueueRequest,
) -> Result<proto::UpdateQueueResponse> {
    let spec = spec_from(request.spec, ADMINISTER)?;
    access.require(Action::Administer, &spec.name, ADMINISTER)?;
    if let Some(dead) = &spec.dead_letters.queue {
        access.require(Action::Administer, dead, ADMINISTER)?;
    }
    let updated = broker.update(&spec).await?;
    Ok(proto::UpdateQueueResponse { spec: Some(spec_to(&updated)) })
}

pub(super) async fn delete_queue(
    broker: &Broker,
    access: &Access,
    request: proto::DeleteQueueRequest,
) -> Result<proto::DeleteQueueResponse> {
    let queue = changed(access, request.queue)?;
    broker.admin()?.delete(&queue).await?;
    Ok(proto::DeleteQueueResponse {})
}

pub(super) async fn purge_queue(
    broker: &Broker,
    access: &Access,
    request: proto::PurgeQueueRequest,
) -> Result<proto::PurgeQueueResponse> {
    let queue = changed(access, request.queue)?;
    Ok(proto::PurgeQueueResponse { tasks: broker.admin()?.purge(&queue).await? })
}

pub(super) async fn purge_dead(
    broker: &Broker,
    access: &Access,
    request: proto::PurgeDeadRequest,
) -> Result<proto::PurgeDeadResponse> {
    let proto::PurgeDeadRequest { queue, filter } = request;
    let queue = changed(access, queue)?;
    let tasks = broker.admin()?.purge_dead(&queue, &filter_from(filter)).await?;
    Ok(proto::PurgeDeadResponse { tasks })
}

pub(super) async fn pause_queue(
    broker: &Broker,
    access: &Access,
    request: proto::PauseQueueRequest,
) -> Result<proto::PauseQueueResponse> {
    let proto::PauseQueueRequest { queue, paused } = request;
    let queue = changed(access, queue)?;
    broker.admin()?.pause(&queue, paused).await?;
    Ok(proto::PauseQueueResponse {})
}

pub(super) async fn redrive(
    broker: &Broker,
    access: &Access,
    request: proto::RedriveRequest,
) -> Result<proto::RedriveResponse> {
    let proto::RedriveRequest { queue, filter } = request;
    let queue = changed(access, queue)?;
    let tasks = broker.admin()?.redrive(&queue, &filter_from(filter)).await?;
    Ok(proto::RedriveResponse { tasks })
}
