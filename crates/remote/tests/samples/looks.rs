//! What is seen of queues and tasks.

use bytes::Bytes;
use tidegate_remote::proto::{
    GetSpecRequest, GetSpecResponse, GetStatsRequest, GetStatsResponse, GetTaskRequest,
    GetTaskResponse, ListDeadRequest, ListMembersRequest, ListMembersResponse, ListQueuesRequest,
    ListQueuesResponse, ListTasksRequest, Member, PeekRequest, TaskView,
};

use super::queues::{filter, spec};
use super::works::{dead_letter, task};
use super::{Sample, sample};

pub(super) fn all() -> Vec<Sample> {
    let queue = || String::from("mail");
    let queues = vec!["bills".into(), "mail".into()];
    let id = Bytes::from_static(b"0123456789abcdef");
    let dead = ListDeadRequest { queue: queue(), filter: Some(filter()) };
    let mut samples = vec![
        sample("ListQueuesRequest", ListQueuesRequest {}),
        sample("ListQueuesResponse", ListQueuesResponse { queues }),
        sample("GetSpecRequest", GetSpecRequest { queue: queue() }),
        sample("GetSpecResponse", GetSpecResponse { spec: Some(spec(1, 1)) }),
        sample("GetStatsRequest", GetStatsRequest { queue: queue() }),
        sample("GetStatsResponse", stats()),
        sample("PeekRequest", PeekRequest { queue: queue(), limit: 611 }),
        sample("ListTasksRequest", list()),
        sample("ListTasksRequest.first", ListTasksRequest { after: None, ..list() }),
        sample("GetTaskRequest", GetTaskRequest { queue: queue(), id }),
        sample("GetTaskResponse", GetTaskResponse { task: Some(view(2)) }),
        sample("GetTaskResponse.none", GetTaskResponse { task: None }),
        sample("ListDeadRequest", dead),
        sample("ListMembersRequest", ListMembersRequest { queue: queue() }),
        sample("ListMembersResponse", ListMembersResponse { members: vec![member()] }),
        sample("Member", member()),
    ];
    samples.extend((0..6).map(|state| sample(format!("TaskView.{state}"), view(state))));
    samples
}

fn stats() -> GetStatsResponse {
    GetStatsResponse {
        ready: 601,
        scheduled: 602,
        leased: 603,
        dead: 604,
        oldest_ready_us: Some(605),
        paused: true,
    }
}

fn list() -> ListTasksRequest {
    ListTasksRequest { queue: "mail".into(), state: 3, after: Some(621), limit: 622 }
}

fn view(state: i32) -> TaskView {
    TaskView { task: Some(task()), state, until_ms: Some(631), dead_letter: Some(dead_letter()) }
}

fn member() -> Member {
    Member { id: "worker-1".into(), partitions: vec![0, 641], heartbeat_age_us: 642 }
}
