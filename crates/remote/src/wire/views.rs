//! What is seen of queues and tasks.

use tidegate_core::{
    DeadFilter, ListOptions, Member, Operation, QueueName, QueueStats, Result, State, TaskView,
    Timestamp,
};

use super::task::{dead_letter_from, dead_letter_to, task_from, task_to};
use super::time::{duration, micros};
use super::{newer, unreadable};
use crate::proto;

const INSPECT: Operation = Operation::Inspect;

const STATES: [(State, proto::State); 5] = [
    (State::Scheduled, proto::State::Scheduled),
    (State::Ready, proto::State::Ready),
    (State::Leased, proto::State::Leased),
    (State::Done, proto::State::Done),
    (State::Dead, proto::State::Dead),
];

pub(crate) fn state_to(state: State) -> proto::State {
    let known = STATES.iter().find(|(known, _)| *known == state);
    known.map_or(proto::State::Unspecified, |(_, state)| *state)
}

/// The state of a message; `None` if it names none.
pub(crate) fn state_from(state: i32) -> Result<Option<State>> {
    let wire = proto::State::try_from(state)
        .map_err(|_| unreadable(INSPECT, format!("state {state} is not known")))?;
    Ok(STATES.iter().find(|(_, known)| *known == wire).map(|(state, _)| *state))
}

pub(crate) fn view_to(view: TaskView) -> proto::TaskView {
    let TaskView { task, state, until, dead_letter } = view;
    proto::TaskView {
        task: Some(task_to(task, false)),
        state: state_to(state).into(),
        until_ms: until.map(Timestamp::as_millis),
        dead_letter: dead_letter.map(dead_letter_to),
    }
}

pub(crate) fn view_from(view: proto::TaskView, queue: &QueueName) -> Result<TaskView> {
    let proto::TaskView { task, state, until_ms, dead_letter } = view;
    let task = task.ok_or_else(|| unreadable(INSPECT, "a view has no task").on(queue))?;
    let state = state_from(state).map_err(|error| newer(&error))?;
    Ok(TaskView {
        task: task_from(task, queue, INSPECT)?,
        state: state.ok_or_else(|| unreadable(INSPECT, "a view has no state").on(queue))?,
        until: until_ms.map(Timestamp::from_millis),
        dead_letter: dead_letter.map(|dead| dead_letter_from(dead, INSPECT)).transpose()?,
    })
}

pub(crate) fn stats_to(stats: &QueueStats) -> proto::GetStatsResponse {
    let QueueStats { ready, scheduled, leased, dead, oldest_ready, paused } = *stats;
    let oldest_ready_us = oldest_ready.map(micros);
    proto::GetStatsResponse { ready, scheduled, leased, dead, oldest_ready_us, paused }
}

pub(crate) fn stats_from(stats: proto::GetStatsResponse) -> QueueStats {
    let proto::GetStatsResponse { ready, scheduled, leased, dead, oldest_ready_us, paused } = stats;
    let oldest_ready = oldest_ready_us.map(duration);
    QueueStats { ready, scheduled, leased, dead, oldest_ready, paused }
}

pub(crate) fn member_to(member: Member) -> proto::Member {
    let Member { id, partitions, heartbeat_age } = member;
    proto::Member { id, partitions, heartbeat_age_us: micros(heartbeat_age) }
}

pub(crate) fn member_from(member: proto::Member) -> Member {
    let proto::Member { id, partitions, heartbeat_age_us } = member;
    Member { id, partitions, heartbeat_age: duration(heartbeat_age_us) }
}

pub(crate) fn filter_to(filter: &DeadFilter) -> proto::DeadFilter {
    let DeadFilter { limit, reason } = filter;
    proto::DeadFilter { limit: limit.map(|limit| limit as u64), reason: reason.clone() }
}

pub(crate) fn filter_from(filter: Option<proto::DeadFilter>) -> DeadFilter {
    let proto::DeadFilter { limit, reason } = filter.unwrap_or_default();
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    DeadFilter { limit, reason }
}

pub(crate) fn list_to(queue: &QueueName, options: &ListOptions) -> proto::ListTasksRequest {
    let ListOptions { state, after, limit } = options;
    proto::ListTasksRequest {
        queue: queue.to_string(),
        state: state.map_or(proto::State::Unspecified, state_to).into(),
        after: *after,
        limit: u32::try_from(*limit).unwrap_or(u32::MAX),
    }
}

pub(crate) fn list_from(request: &proto::ListTasksRequest) -> Result<ListOptions> {
    let proto::ListTasksRequest { queue: _, state, after, limit } = request;
    Ok(ListOptions { state: state_from(*state)?, after: *after, limit: *limit as usize })
}
