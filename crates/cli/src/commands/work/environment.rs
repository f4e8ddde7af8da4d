//! A task's attributes as environment variables.

use tidegate::Task;

use crate::views::moment;

/// What all of them start with.
const PREFIX: &str = "TIDEGATE_TASK_";

/// Variables of this process that would be taken for the task's: those of a task this very process
/// was started for.
pub(super) fn inherited() -> impl Iterator<Item = std::ffi::OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(PREFIX)))
}

/// The attributes of a task by the names of their variables.
pub(super) fn of(task: &Task) -> Vec<(String, String)> {
    let mut variables = vec![
        ("ID".to_owned(), task.id.to_string()),
        ("KIND".to_owned(), task.kind.to_string()),
        ("QUEUE".to_owned(), task.queue.to_string()),
        ("ATTEMPT".to_owned(), task.attempt.to_string()),
        ("DELIVERIES".to_owned(), task.deliveries.to_string()),
        ("PARTITION".to_owned(), task.partition.to_string()),
        ("SEQUENCE".to_owned(), task.sequence.to_string()),
        ("PRIORITY".to_owned(), task.priority.to_string()),
        ("ENQUEUED_AT".to_owned(), moment(task.enqueued_at)),
    ];
    variables.extend(task.ordering_key.as_ref().map(|key| ("KEY".to_owned(), key.clone())));
    let error = task.last_error.as_ref();
    variables.extend(error.map(|error| ("LAST_ERROR".to_owned(), error.clone())));
    let headers = task.headers.iter();
    variables.extend(headers.map(|(name, value)| (header(name), value.clone())));
    let prefixed = variables.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value));
    // WHY: the operating system ends a variable at a zero byte; it would refuse to start the program.
    prefixed.map(|(name, value)| (name, value.replace('\0', " "))).collect()
}

fn header(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("HEADER_{}", name.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headers_name_becomes_that_of_a_variable() {
        assert_eq!(header("trace-parent"), "HEADER_TRACE_PARENT");
        assert_eq!(header("clé"), "HEADER_CL_");
    }
}
