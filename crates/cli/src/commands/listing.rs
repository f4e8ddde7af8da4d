//! Tasks as a table or as JSON, one or many.

use tidegate::{TaskId, TaskView};

use crate::failure::Failure;
use crate::output::{self, Output, cut, line, number, pairs, table};
use crate::units;
use crate::views::{self, dead_letter, moment};

/// Most characters of a payload, an error or a reason in a table.
const CELL_CHARS_MAX: usize = 40;

/// Tasks of a queue.
pub(crate) fn tasks(output: Output, tasks: &[TaskView]) -> Result<(), Failure> {
    if output.json {
        return output.json(&tasks.iter().map(views::Task::new).collect::<Vec<_>>());
    }
    if tasks.is_empty() {
        return line("no tasks");
    }
    let headings = ["SEQUENCE", "ID", "STATE", "KIND", "KEY", "ATTEMPT", "BYTES", "LAST ERROR"];
    let mut rows = table(&headings);
    for view in tasks {
        let task = &view.task;
        rows.add_row([
            number(task.sequence),
            task.id.to_string().into(),
            view.state.as_str().into(),
            cut(&task.kind, CELL_CHARS_MAX).into(),
            cut(task.ordering_key.as_deref().unwrap_or("-"), CELL_CHARS_MAX).into(),
            number(task.attempt),
            number(units::grouped(task.payload.len() as u64)),
            cut(task.last_error.as_deref().unwrap_or("-"), CELL_CHARS_MAX).into(),
        ]);
    }
    output::rows(&rows)
}

/// Dead tasks with their reasons.
pub(crate) fn dead(output: Output, tasks: &[TaskView]) -> Result<(), Failure> {
    if output.json {
        return output.json(&tasks.iter().map(views::Task::new).collect::<Vec<_>>());
    }
    if tasks.is_empty() {
        return line("no dead tasks");
    }
    let mut rows = table(&["ID", "KIND", "ATTEMPTS", "DIED AT", "REASON", "LAST ERROR", "LIES IN"]);
    for view in tasks {
        let dead = dead_letter(view);
        let error = dead.and_then(|dead| dead.error.as_deref()).unwrap_or("-");
        rows.add_row([
            view.task.id.to_string().into(),
            cut(&view.task.kind, CELL_CHARS_MAX).into(),
            number(dead.map_or(0, |dead| dead.attempts)),
            dead.map_or_else(|| "-".to_owned(), |dead| moment(dead.died_at)).into(),
            cut(dead.map_or("-", |dead| &dead.reason), CELL_CHARS_MAX).into(),
            cut(error, CELL_CHARS_MAX).into(),
            view.task.queue.to_string().into(),
        ]);
    }
    output::rows(&rows)
}

/// One task with all there is to know.
pub(crate) fn one(output: Output, view: &TaskView) -> Result<(), Failure> {
    if output.json {
        return output.json(&views::Task::new(view));
    }
    let task = &view.task;
    let mut rows = vec![
        ("id", task.id.to_string()),
        ("queue", task.queue.to_string()),
        ("state", view.state.to_string()),
        ("kind", task.kind.to_string()),
        ("sequence", task.sequence.to_string()),
        ("partition", task.partition.to_string()),
        ("priority", task.priority.to_string()),
        ("ordering key", task.ordering_key.clone().unwrap_or_else(|| "-".into())),
        ("deliveries", task.deliveries.to_string()),
        ("attempt", task.attempt.to_string()),
        ("enqueued at", moment(task.enqueued_at)),
    ];
    rows.extend(view.until.map(|until| ("until", moment(until))));
    rows.extend(task.last_error.as_ref().map(|error| ("last error", error.clone())));
    if let Some(dead) = dead_letter(view) {
        rows.push(("died in", dead.source.to_string()));
        rows.push(("died at", moment(dead.died_at)));
        rows.push(("reason", dead.reason.clone()));
        rows.extend(dead.error.as_ref().map(|error| ("its error", error.clone())));
        rows.push(("attempts", dead.attempts.to_string()));
    }
    let headers: Vec<_> =
        task.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    rows.extend((!headers.is_empty()).then(|| ("headers", headers.join(", "))));
    output::rows(&pairs(rows))?;
    line("")?;
    match std::str::from_utf8(&task.payload) {
        Ok(text) => line(text),
        Err(_) => {
            line(format!("{} bytes that are not text; --json shows them", task.payload.len()))
        }
    }
}

/// A task that is not there.
pub(crate) fn missing(queue: &tidegate::QueueName, id: TaskId) -> Failure {
    Failure::missing(format!("there is no task {id} in \"{queue}\""))
        .with_help("a completed task is no longer kept; `tidegate task list` shows those that are")
}
