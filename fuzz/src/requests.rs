//! Requests for SQS in both wire forms, and one form written from the other by tables of its own.

use bytes::Bytes;
use http::request::{Builder, Parts};
use peak_alloc::PeakAlloc;
use serde_json::{Map, Value};
use tidegate_server::sqs::Action;
use tidegate_server::sqs::fuzzing::{self, Read};

/// Reading a request may take so many times its bytes, and so much beside, in JSON and as a form: each of its
/// thousand fields may be a map of its own.
const TIMES: usize = 16;
const BESIDE_JSON: usize = 64 << 10;
const BESIDE_FORM: usize = 1 << 20;
/// Fields that a form may have.
const FIELDS_MAX: usize = 1_024;
/// Attributes that a message may have.
const ATTRIBUTES_MAX: usize = 10;

/// The first line names the action, the rest is the body.
pub fn json(input: &[u8], memory: &PeakAlloc) {
    let (name, body) = line(input);
    let Ok(name) = std::str::from_utf8(name) else { return };
    let head = http::Request::post("/").header("x-amz-target", format!("AmazonSQS.{name}"));
    let Some((action, shown)) = read(head, body, memory) else { return };
    // WHY: what is not read of a request need not be JSON that can be kept: the depth of what is passed over
    // has no limit.
    let body = if body.is_empty() { b"{}" } else { body };
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return };
    let Some(whole) = whole.as_object() else { return };
    if has_many_attributes(whole) {
        return;
    }
    let again = in_json(action, whole, memory);
    assert_eq!(shown, again.expect("what was read is read again"));
    if let Some(plain) = plain(action.name(), whole) {
        both(action, &plain, memory);
    }
}

/// The first line is the address, the rest is the body.
pub fn query(input: &[u8], memory: &PeakAlloc) {
    let (uri, body) = line(input);
    let Ok(uri) = http::Uri::try_from(uri) else { return };
    let parts = parts(http::Request::post(uri));
    let bytes = body.len() + parts.uri.to_string().len();
    let body = Bytes::copy_from_slice(body);
    let told = bounded(&parts, &body, bytes, memory, |Read { action, shape: _, folded }| {
        action.zip(folded.cloned())
    });
    let Some((action, Value::Object(mut folded))) = told else { return };
    // WHY: the address is told to all, also to those who do not ask for it.
    if matches!(kind(action.name(), "QueueUrl"), Kind::Unknown) {
        folded.remove("QueueUrl");
    }
    if has_many_attributes(&folded) {
        return;
    }
    let Some(plain) = plain(action.name(), &folded) else { return };
    assert_eq!(plain, folded);
    both(action, &folded, memory);
}

/// The same request in both forms is the same.
fn both(action: Action, members: &Map<String, Value>, memory: &PeakAlloc) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action.name()).append_pair("Version", "2012-11-05");
    let mut fields = 2;
    flatten(action.name(), "", members, &mut |name, value| {
        fields += 1;
        form.append_pair(name, value);
    });
    if fields > FIELDS_MAX {
        return;
    }
    let form = form.finish();
    let as_form = read(http::Request::post("/"), form.as_bytes(), memory);
    assert_eq!(as_form.map(|(_, shown)| shown), in_json(action, members, memory));
}

fn in_json(action: Action, members: &Map<String, Value>, memory: &PeakAlloc) -> Option<String> {
    let target = format!("AmazonSQS.{}", action.name());
    let body = serde_json::to_vec(members).expect("it is JSON");
    read(http::Request::post("/").header("x-amz-target", target), &body, memory).map(|it| it.1)
}

/// What is asked for, and how it shows, if it is not refused.
fn read(head: Builder, body: &[u8], memory: &PeakAlloc) -> Option<(Action, String)> {
    let parts = parts(head);
    let body = Bytes::copy_from_slice(body);
    bounded(&parts, &body, body.len(), memory, |Read { action, shape, folded: _ }| {
        action.map(|action| (action, format!("{shape:?}")))
    })
}

fn parts(head: Builder) -> Parts {
    // What no header can be is no request.
    head.body(()).map_or_else(|_| http::Request::new(()).into_parts().0, |it| it.into_parts().0)
}

/// Reads within what so many bytes may take.
fn bounded<T>(
    parts: &Parts,
    body: &Bytes,
    bytes: usize,
    memory: &PeakAlloc,
    tell: impl FnOnce(&Read<'_>) -> Option<T>,
) -> Option<T> {
    memory.reset_peak_usage();
    let before = memory.current_usage();
    let within = || {
        let is_json = parts.headers.contains_key("x-amz-target");
        let beside = if is_json { BESIDE_JSON } else { BESIDE_FORM };
        let taken = memory.peak_usage().saturating_sub(before);
        assert!(taken <= TIMES * bytes + beside, "{bytes} bytes take {taken}");
    };
    let told = fuzzing::read(parts, body, |read| {
        within();
        tell(read)
    });
    if told.is_err() {
        within();
    }
    told.ok().flatten()
}

fn line(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// Whether a message has more attributes than it may: then only some of them are kept, and it is refused.
fn has_many_attributes(whole: &Map<String, Value>) -> bool {
    let entries = whole.get("Entries").and_then(Value::as_array).into_iter().flatten();
    let messages = entries.filter_map(Value::as_object).chain([whole]);
    let mut attributes = messages.flat_map(|message| {
        ["MessageAttributes", "MessageSystemAttributes"].map(|name| message.get(name))
    });
    attributes.any(|it| it.and_then(Value::as_object).is_some_and(|it| it.len() > ATTRIBUTES_MAX))
}

/// What of a request has a name in forms. `None` if something in it cannot be written in one.
fn plain(action: &str, whole: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut kept = Map::new();
    for (name, value) in whole {
        let value = match (kind(action, name), value) {
            (Kind::Unknown, _) | (_, Value::Null) => continue,
            (Kind::One | Kind::Texts(_) | Kind::Pairs(..), value) => value.clone(),
            (Kind::Attributes(_), Value::Object(attributes)) => {
                let mut all = Map::new();
                for (name, value) in attributes {
                    let mut value = value.as_object()?.clone();
                    value.retain(|name, it| ATTRIBUTE.contains(&name.as_str()) && !it.is_null());
                    all.insert(name.clone(), Value::Object(value));
                }
                Value::Object(all)
            }
            (Kind::Entries, Value::Array(entries)) => {
                let entries = entries.iter().map(|entry| {
                    let entry = plain(ENTRY, entry.as_object()?)?;
                    // One of which nothing is said has no place in a form.
                    (!entry.is_empty()).then_some(Value::Object(entry))
                });
                Value::Array(entries.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        let is_empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty);
        // WHY: so that it is the last of several that counts, as in JSON.
        let name = if action == "CreateQueue" && name == "Tags" { "tags" } else { name };
        if !is_empty {
            kept.insert(name.to_owned(), value);
        }
    }
    Some(kept)
}

const ATTRIBUTE: [&str; 3] = ["DataType", "StringValue", "BinaryValue"];
/// Stands for the entries of all batches.
const ENTRY: &str = "";

enum Kind {
    One,
    Texts(&'static str),
    Pairs(&'static str, &'static str),
    Attributes(&'static str),
    Entries,
    Unknown,
}

fn kind(action: &str, name: &str) -> Kind {
    match (action, name) {
        ("ReceiveMessage" | "GetQueueAttributes", "AttributeNames") => Kind::Texts("AttributeName"),
        ("ReceiveMessage", "MessageAttributeNames") => Kind::Texts("MessageAttributeName"),
        ("ReceiveMessage", "MessageSystemAttributeNames") => {
            Kind::Texts("MessageSystemAttributeName")
        }
        ("AddPermission", "AWSAccountIds") => Kind::Texts("AWSAccountId"),
        ("AddPermission", "Actions") => Kind::Texts("ActionName"),
        ("UntagQueue", "TagKeys") => Kind::Texts("TagKey"),
        ("CreateQueue" | "SetQueueAttributes", "Attributes") => Kind::Pairs("Attribute", "Name"),
        ("CreateQueue", "tags" | "Tags") | ("TagQueue", "Tags") => Kind::Pairs("Tag", "Key"),
        ("SendMessage" | ENTRY, "MessageAttributes") => Kind::Attributes("MessageAttribute"),
        ("SendMessage" | ENTRY, "MessageSystemAttributes") => {
            Kind::Attributes("MessageSystemAttribute")
        }
        (action, "Entries") if action.ends_with("Batch") => Kind::Entries,
        _ if is_one(action, name) => Kind::One,
        _ => Kind::Unknown,
    }
}

fn is_one(action: &str, name: &str) -> bool {
    let has = |names: &[&str]| names.contains(&name);
    match action {
        ENTRY => has(&["Id", "ReceiptHandle", "VisibilityTimeout"]) || is_of_message(name),
        "SendMessage" => name == "QueueUrl" || is_of_message(name),
        "CreateQueue" => name == "QueueName",
        "GetQueueUrl" => has(&["QueueName", "QueueOwnerAWSAccountId"]),
        "ListQueues" => has(&["QueueNamePrefix", "NextToken", "MaxResults"]),
        "ListDeadLetterSourceQueues" => has(&["QueueUrl", "NextToken", "MaxResults"]),
        "StartMessageMoveTask" => {
            has(&["SourceArn", "DestinationArn", "MaxNumberOfMessagesPerSecond"])
        }
        "ListMessageMoveTasks" => has(&["SourceArn", "MaxResults"]),
        "CancelMessageMoveTask" => name == "TaskHandle",
        "DeleteMessage" => has(&["QueueUrl", "ReceiptHandle"]),
        "ChangeMessageVisibility" => has(&["QueueUrl", "ReceiptHandle", "VisibilityTimeout"]),
        "AddPermission" | "RemovePermission" => has(&["QueueUrl", "Label"]),
        "ReceiveMessage" => has(&[
            "QueueUrl",
            "MaxNumberOfMessages",
            "VisibilityTimeout",
            "WaitTimeSeconds",
            "ReceiveRequestAttemptId",
        ]),
        _ => name == "QueueUrl",
    }
}

fn is_of_message(name: &str) -> bool {
    ["MessageBody", "DelaySeconds", "MessageDeduplicationId", "MessageGroupId"].contains(&name)
}

/// Names and values of a form.
fn flatten(
    action: &str,
    before: &str,
    members: &Map<String, Value>,
    tell: &mut dyn FnMut(&str, &str),
) {
    for (name, value) in members {
        match (kind(action, name), value) {
            (Kind::Texts(one), Value::Array(texts)) => {
                for (n, value) in texts.iter().enumerate() {
                    tell(&format!("{before}{one}.{}", n + 1), &text(value));
                }
            }
            (Kind::Pairs(one, key), Value::Object(pairs)) => {
                for (n, (name, value)) in pairs.iter().enumerate() {
                    let one = format!("{before}{one}.{}", n + 1);
                    tell(&format!("{one}.{key}"), name);
                    tell(&format!("{one}.Value"), &text(value));
                }
            }
            (Kind::Attributes(one), Value::Object(attributes)) => {
                for (n, (name, value)) in attributes.iter().enumerate() {
                    let one = format!("{before}{one}.{}", n + 1);
                    tell(&format!("{one}.Name"), name);
                    for (name, value) in value.as_object().into_iter().flatten() {
                        tell(&format!("{one}.Value.{name}"), &text(value));
                    }
                }
            }
            (Kind::Entries, Value::Array(entries)) => {
                for (n, entry) in entries.iter().enumerate() {
                    let one = format!("{action}RequestEntry.{}.", n + 1);
                    let entry = entry.as_object().expect("plain entries are objects");
                    flatten(ENTRY, &one, entry, tell);
                }
            }
            (_, value) => tell(&format!("{before}{name}"), &text(value)),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
