//! Answers in words that two brokers share: tasks go by the number they were sent with, not by the
//! sequence each broker gave them.

use tidegate_core::{Enqueued, Lease, Task, TaskId, TaskView};

/// The id of the task that is sent as this number, the same on both sides.
pub(super) fn id(number: u64) -> TaskId {
    TaskId::from_bytes(u128::from(number).to_be_bytes())
}

fn number(id: TaskId) -> u128 {
    u128::from_be_bytes(*id.as_bytes())
}

pub(super) fn enqueued(enqueued: &Enqueued) -> String {
    let Enqueued { id, sequence: _, deduplicated } = enqueued;
    let number = number(*id);
    if *deduplicated { format!("#{number} stands for it") } else { format!("#{number}") }
}

pub(super) fn lease(lease: &Lease) -> String {
    let Lease { task, token: _, until, duration } = lease;
    format!("{} until {until} for {duration:?}", task_text(task))
}

pub(super) fn views(views: &[TaskView]) -> String {
    let views: Vec<_> = views.iter().map(view_text).collect();
    format!("[{}]", views.join("; "))
}

fn view_text(view: &TaskView) -> String {
    let TaskView { task, state, until, dead_letter } = view;
    let until = until.map_or_else(String::new, |until| format!(" until {until}"));
    let dead = dead_letter.as_ref().map_or_else(String::new, |dead| format!(" {dead:?}"));
    format!("{} {state}{until}{dead}", task_text(task))
}

fn task_text(task: &Task) -> String {
    let Task {
        id,
        queue,
        kind,
        payload,
        headers,
        priority,
        ordering_key,
        partition,
        sequence: _,
        deliveries,
        attempt,
        enqueued_at,
        last_error,
        dead_letter,
    } = task;
    let mut text = format!("#{} in {queue} {kind} {payload:?} {headers:?}", number(*id));
    text += &format!(" deliveries {deliveries} attempt {attempt} sent {enqueued_at}");
    text += &format!(" priority {priority}");
    if let Some(key) = ordering_key {
        // WHY: without a key the partition follows from the sequence, which is the broker's own.
        text += &format!(" key {key} partition {partition}");
    }
    if let Some(error) = last_error {
        text += &format!(" error {error}");
    }
    if let Some(dead) = dead_letter {
        text += &format!(" moved {dead:?}");
    }
    text
}
