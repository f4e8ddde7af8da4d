//! Tasks with a type: the kind, version, queue and key belong to it, and its payload is JSON.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_core::{Bytes, Error, ErrorKind, NewTask, Operation, Result, Task};

/// The header that carries the version of a task's payload, as a decimal number from 1. A task
/// without it is read as the version the reader knows.
pub const HEADER_VERSION: &str = "tidegate-version";

/// The header that says what the payload is encoded as: the CloudEvents attribute of that name. A
/// task without it is read as JSON.
pub const HEADER_CONTENT_TYPE: &str = "datacontenttype";

/// How typed tasks are encoded.
pub const CONTENT_TYPE_JSON: &str = "application/json";

/// A type whose values are tasks. Derive it:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidegate::TypedTask;
///
/// #[derive(Serialize, Deserialize, TypedTask)]
/// #[task(kind = "mail.welcome", version = 2, queue = "mail", key = user)]
/// struct Welcome {
///     user: u64,
/// }
///
/// assert_eq!(Welcome::KIND, "mail.welcome");
/// assert_eq!(Welcome { user: 7 }.key().as_deref(), Some("7"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a typed task",
    label = "not a typed task",
    note = "derive it: `#[derive(Serialize, Deserialize, TypedTask)]` and `#[task(kind = \"...\")]`"
)]
pub trait TypedTask: Serialize + DeserializeOwned + Send + 'static {
    /// What it is called on the wire; 1 to 256 bytes. Never reuse one for something else.
    const KIND: &'static str;
    /// The version of its payload, from 1. Raise it when an older reader would misread a new
    /// payload; a reader turns down versions above its own.
    const VERSION: u32;
    /// The queue it goes to unless the sender says otherwise.
    const QUEUE: Option<&'static str>;

    /// Its ordering key: tasks with the same key are handed out in order, on a queue that keeps
    /// order.
    fn key(&self) -> Option<Cow<'_, str>>;
}

/// The task that carries `typed`: its kind, version, key and JSON payload, and the defaults for all
/// else. A value that JSON cannot hold (a map whose keys are no text, say) is `Invalid`.
pub fn encode<T: TypedTask>(typed: &T) -> Result<NewTask> {
    let payload = serde_json::to_vec(typed).map_err(|error| {
        let why = format!("a {} could not be written as JSON: {error}", T::KIND);
        Error::new(ErrorKind::Invalid, Operation::Enqueue, why).about("a task").caused_by(error)
    })?;
    let mut task = NewTask::new(T::KIND, Bytes::from(payload))
        .header(HEADER_VERSION, T::VERSION.to_string())
        .header(HEADER_CONTENT_TYPE, CONTENT_TYPE_JSON);
    task.ordering_key = typed.key().map(Cow::into_owned);
    Ok(task)
}

/// The value that a task carries. The error is the reason to dead-letter it with: it names the
/// field or the version, and trying again would not help.
///
/// An older version is read like the current one: give new fields `#[serde(default)]`.
pub fn decode<T: TypedTask>(task: &Task) -> Result<T, String> {
    let version = version_of(task)?;
    if version.is_some_and(|version| version > T::VERSION) {
        return Err(format!(
            "undecodable {}: its {HEADER_VERSION} is {}, this worker knows up to {}; update it, \
             then redrive",
            T::KIND,
            version.unwrap_or_default(),
            T::VERSION
        ));
    }
    match task.headers.get(HEADER_CONTENT_TYPE) {
        Some(content) if !is_json(content) => Err(format!(
            "undecodable {}: its {HEADER_CONTENT_TYPE} is {content:?}, this worker reads \
             {CONTENT_TYPE_JSON}",
            T::KIND
        )),
        _ => serde_json::from_slice(&task.payload).map_err(|_| why_undecodable::<T>(task, version)),
    }
}

fn version_of(task: &Task) -> Result<Option<u32>, String> {
    let Some(text) = task.headers.get(HEADER_VERSION) else {
        return Ok(None);
    };
    let unreadable = |_| format!("undecodable {}: its {HEADER_VERSION} is {text:?}", task.kind);
    text.parse().map(Some).map_err(unreadable)
}

/// Whether a content type is JSON, parameters such as a charset aside.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(CONTENT_TYPE_JSON) || essence.ends_with("+json")
}

/// WHY: decodes a second time, so that only what fails pays for following the path of fields.
fn why_undecodable<T: TypedTask>(task: &Task, version: Option<u32>) -> String {
    let mut json = serde_json::Deserializer::from_slice(&task.payload);
    let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    let known = T::VERSION;
    let versions = format!("{HEADER_VERSION} {version}, this worker's is {known}");
    match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => format!("undecodable {}: more follows its JSON ({versions})", T::KIND),
        Err(error) if error.path().iter().len() == 0 => {
            format!("undecodable {}: {} ({versions})", T::KIND, error.inner())
        }
        Err(error) => {
            let (path, inner) = (error.path(), error.inner());
            format!("undecodable {}: field `{path}`: {inner} ({versions})", T::KIND)
        }
    }
}
