//! Messages among tasks: what the protocol's words are in a task, and a task in the protocol's words.
//!
//! The body is the payload and text attributes are headers of the same names, so both sides read what
//! the other sent. What only the protocol knows is in headers that begin with `AWS.`, which it allows
//! no attribute.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tidegate_core::limits::{HEADERS_BYTES_MAX, KIND_BYTES_MAX};
use tidegate_core::task::{Headers, Task};
use tidegate_core::{Kind, NewTask, Unique};

use super::shapes::{AttributeValues, MessageAttributeValue};

/// The type of an attribute that is not plain `String`; the attribute's name follows.
const TYPE: &str = "AWS.Type.";
/// The trace header.
pub(crate) const TRACE: &str = "AWS.TraceHeader";
/// The id that a message was deduplicated by.
pub(crate) const DEDUPLICATION_ID: &str = "AWS.MessageDeduplicationId";
/// Who sent it, where that is not the queue's own account.
pub(crate) const SENDER: &str = "AWS.SenderId";
/// Where the payload's body ends and attributes that are too long for headers begin.
const BODY_BYTES: &str = "AWS.BodyBytes";
/// All of the above.
const OURS: &str = "AWS.";
/// The attribute that is the task's kind, as in CloudEvents.
const KIND: &str = "type";
/// Where its type is.
const KIND_TYPE: &str = "AWS.Type.type";
/// The kind of a message that does not say it. WHY: not the queue's name, which would be another after
/// a move to another queue.
const KIND_UNSAID: &str = "message";
/// Tells that a body is base64, of a payload that is no text.
const ENCODING: &str = "datacontentencoding";
/// Room in the headers for those of the protocol itself.
const OWN_HEADERS_BYTES: usize = 2 * 1024;

const TEXT: &str = "String";
const BINARY: &str = "Binary";

/// Message attributes by name.
pub(crate) type Attributes = BTreeMap<String, Attribute>;

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// `String`, `Number` or `Binary`, and what the sender put behind it.
    pub(crate) data_type: String,
    pub(crate) value: Value,
}

/// Its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Binary(Vec<u8>),
}

impl Value {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

impl Attribute {
    fn text(value: impl Into<String>) -> Self {
        Self { data_type: TEXT.into(), value: Value::Text(value.into()) }
    }

    fn is_plain(&self) -> bool {
        self.data_type == TEXT && matches!(self.value, Value::Text(_))
    }
}

/// A message that is sent, with everything about it checked.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Bytes,
    pub(crate) attributes: Attributes,
    pub(crate) trace: Option<String>,
    pub(crate) sender: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication: Option<Deduplication>,
    pub(crate) delay: std::time::Duration,
}

/// How a message is kept from being there twice.
#[derive(Clone, Debug)]
pub(crate) struct Deduplication {
    /// As the client knows it.
    pub(crate) id: String,
    /// As the broker does.
    pub(crate) key: String,
    pub(crate) window: std::time::Duration,
}

impl Outgoing {
    /// The task.
    pub(crate) fn into_task(self) -> NewTask {
        let Self { body, mut attributes, trace, sender, group, deduplication, delay } = self;
        let mut headers = Headers::new();
        let named = take_kind(&mut attributes);
        if named.is_some() {
            headers.insert(KIND_TYPE.into(), TEXT.into());
        }
        let payload = if headers_bytes(&attributes) + OWN_HEADERS_BYTES > HEADERS_BYTES_MAX {
            headers.insert(BODY_BYTES.into(), body.len().to_string());
            overflow::append(body, &attributes)
        } else {
            to_headers(attributes, &mut headers);
            body
        };
        let ids = deduplication.as_ref().map(|it| it.id.clone());
        let own = [(TRACE, trace), (SENDER, sender), (DEDUPLICATION_ID, ids)];
        for (name, value) in own {
            if let Some(value) = value {
                headers.insert(name.to_owned(), value);
            }
        }
        let mut task =
            NewTask::new(named.map_or(Kind::from(KIND_UNSAID), Kind::from), payload).delay(delay);
        task.headers = headers;
        task.ordering_key = group;
        match deduplication {
            Some(Deduplication { id: _, key, window }) => task.dedup(key, Unique::Window(window)),
            None => task,
        }
    }
}

fn take_kind(attributes: &mut Attributes) -> Option<String> {
    let fits = |attribute: &Attribute| {
        attribute.is_plain() && (1..=KIND_BYTES_MAX).contains(&attribute.value.len())
    };
    attributes.get(KIND).filter(|attribute| fits(attribute))?;
    match attributes.remove(KIND)?.value {
        Value::Text(text) => Some(text),
        Value::Binary(_) => None,
    }
}

fn type_of(name: &str) -> String {
    format!("{TYPE}{name}")
}

fn headers_bytes(attributes: &Attributes) -> usize {
    let bytes = |(name, attribute): (&String, &Attribute)| {
        let value = match &attribute.value {
            Value::Text(text) => text.len(),
            Value::Binary(bytes) => bytes.len().div_ceil(3) * 4,
        };
        2 * name.len() + TYPE.len() + attribute.data_type.len() + value
    };
    attributes.iter().map(bytes).sum()
}

fn to_headers(attributes: Attributes, headers: &mut Headers) {
    for (name, Attribute { data_type, value }) in attributes {
        if data_type != TEXT {
            headers.insert(type_of(&name), data_type);
        }
        let value = match value {
            Value::Text(text) => text,
            Value::Binary(bytes) => STANDARD.encode(bytes),
        };
        headers.insert(name, value);
    }
}

/// What a task is as a message: its body and all its attributes.
pub(crate) fn read(task: &Task) -> (Cow<'_, str>, Attributes) {
    let (body, mut attributes) = match task.headers.get(BODY_BYTES) {
        Some(bytes) => overflow::split(&task.payload, bytes)
            .unwrap_or_else(|| (&task.payload, Attributes::new())),
        None => (&task.payload[..], Attributes::new()),
    };
    let theirs = task.headers.iter().filter(|(name, _)| !name.starts_with(OURS));
    attributes.extend(theirs.filter_map(|(name, value)| {
        Some((name.clone(), from_header(value, task.headers.get(&type_of(name)))?))
    }));
    if task.kind != KIND_UNSAID || task.headers.contains_key(KIND_TYPE) {
        attributes.entry(KIND.into()).or_insert_with(|| Attribute::text(task.kind.as_str()));
    }
    match std::str::from_utf8(body).ok().filter(|body| is_allowed(body)) {
        Some(body) => (Cow::Borrowed(body), attributes),
        None => {
            attributes.insert(ENCODING.into(), Attribute::text("base64"));
            (Cow::Owned(STANDARD.encode(body)), attributes)
        }
    }
}

/// `None` for a value that the protocol has no words for: an empty one.
fn from_header(value: &str, data_type: Option<&String>) -> Option<Attribute> {
    let data_type = data_type.map_or(TEXT, String::as_str);
    let binary = data_type.starts_with(BINARY).then(|| STANDARD.decode(value).ok()).flatten();
    let value = match binary {
        Some(bytes) => Value::Binary(bytes),
        None => Value::Text(value.to_owned()),
    };
    (value.len() > 0).then(|| Attribute { data_type: data_type.into(), value })
}

/// The attributes that a receiver has asked for: `All`, `.*`, names, and beginnings with `.*` behind
/// them.
pub(crate) fn keep_asked<T: AsRef<str>>(attributes: &mut Attributes, asked: &[T]) {
    let is_asked = |name: &str| {
        asked.iter().map(AsRef::as_ref).any(|asked| match asked.strip_suffix(".*") {
            Some(beginning) => name.starts_with(beginning),
            None => asked == "All" || asked == name,
        })
    };
    attributes.retain(|name, _| is_asked(name));
}

/// Attributes as they go out.
pub(crate) fn to_wire(attributes: Attributes) -> AttributeValues {
    let value = |Attribute { data_type, value }| {
        let (text, binary) = match value {
            Value::Text(text) => (Some(text), None),
            Value::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        MessageAttributeValue {
            string_value: text,
            binary_value: binary,
            data_type: Some(data_type),
            ..MessageAttributeValue::default()
        }
    };
    attributes.into_iter().map(|(name, attribute)| (name, value(attribute))).collect()
}

/// Whether the protocol allows all characters of a text.
pub(crate) fn is_allowed(text: &str) -> bool {
    let is_control = |b: u8| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r');
    // WHY: a block to its end, so that many bytes are compared at once.
    let has_control = |block: &[u8]| block.iter().fold(false, |any, b| any | is_control(*b));
    let has_control = text.as_bytes().chunks(256).any(has_control);
    !has_control && (text.is_ascii() || !text.contains(['\u{fffe}', '\u{ffff}']))
}

/// Attributes that are too long for headers: behind the body, in the payload.
mod overflow {
    use super::{Attribute, Attributes, BINARY, Bytes, Value};

    pub(super) fn append(body: Bytes, attributes: &Attributes) -> Bytes {
        let mut payload = Vec::from(body);
        let mut sized = |bytes: &[u8]| {
            payload.extend((bytes.len() as u32).to_be_bytes());
            payload.extend(bytes);
        };
        for (name, Attribute { data_type, value }) in attributes {
            sized(name.as_bytes());
            sized(data_type.as_bytes());
            match value {
                Value::Text(text) => sized(text.as_bytes()),
                Value::Binary(bytes) => sized(bytes),
            }
        }
        payload.into()
    }

    /// `None` if it is not what `append` made.
    pub(super) fn split<'a>(payload: &'a [u8], body_bytes: &str) -> Option<(&'a [u8], Attributes)> {
        let (body, mut rest) = payload.split_at_checked(body_bytes.parse().ok()?)?;
        let mut attributes = Attributes::new();
        while !rest.is_empty() {
            let name = String::from_utf8(sized(&mut rest)?.to_vec()).ok()?;
            let data_type = String::from_utf8(sized(&mut rest)?.to_vec()).ok()?;
            let value = sized(&mut rest)?.to_vec();
            let value = match data_type.starts_with(BINARY) {
                true => Value::Binary(value),
                false => Value::Text(String::from_utf8(value).ok()?),
            };
            attributes.insert(name, Attribute { data_type, value });
        }
        Some((body, attributes))
    }

    fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        *rest = behind;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_core::{QueueName, Timestamp};

    use super::*;

    fn outgoing(attributes: Attributes) -> Outgoing {
        Outgoing {
            body: Bytes::from_static(b"body"),
            attributes,
            trace: Some("Root=1".into()),
            sender: None,
            group: Some("g".into()),
            deduplication: None,
            delay: Duration::ZERO,
        }
    }

    fn task(new: NewTask) -> Task {
        Task {
            id: new.id,
            queue: QueueName::new("q").unwrap(),
            kind: new.kind,
            payload: new.payload,
            headers: new.headers,
            priority: 0,
            ordering_key: new.ordering_key,
            partition: 0,
            sequence: 1,
            deliveries: 1,
            attempt: 1,
            enqueued_at: Timestamp::from_millis(0),
            last_error: None,
            dead_letter: None,
        }
    }

    fn attributes(long: usize) -> Attributes {
        let number = Attribute { data_type: "Number.int".into(), value: Value::Text("7".into()) };
        let binary = Attribute { data_type: BINARY.into(), value: Value::Binary(vec![0xff; long]) };
        let text = Attribute::text("x");
        [("n", number), ("b", binary), ("type", text.clone()), ("t", text)]
            .map(|(name, attribute)| (name.to_owned(), attribute))
            .into()
    }

    #[test]
    fn text_attributes_are_headers_and_one_is_the_kind() {
        let task = outgoing(attributes(2)).into_task();
        assert_eq!(task.kind, "x");
        assert_eq!(task.payload, "body");
        assert_eq!(task.ordering_key.as_deref(), Some("g"));
        let headers = [
            ("AWS.TraceHeader", "Root=1"),
            ("AWS.Type.b", "Binary"),
            ("AWS.Type.n", "Number.int"),
            ("AWS.Type.type", "String"),
            ("b", "//8="),
            ("n", "7"),
            ("t", "x"),
        ];
        assert_eq!(task.headers, headers.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn what_was_sent_is_received_however_long_its_attributes_are() {
        for long in [1, 20_000] {
            let sent = attributes(long);
            let task = task(outgoing(sent.clone()).into_task());
            assert_eq!(task.payload.len() > 20_000, long > 1);
            let (body, received) = read(&task);
            assert_eq!(body, "body");
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn a_kind_that_was_named_is_told_even_if_it_is_that_of_all_others() {
        let sent = Attributes::from([("type".to_owned(), Attribute::text("message"))]);
        let named = task(outgoing(sent.clone()).into_task());
        assert_eq!(read(&named).1, sent);
        let unnamed = task(outgoing(Attributes::new()).into_task());
        assert_eq!(read(&unnamed).1, Attributes::new());
    }

    #[test]
    fn a_task_that_is_no_text_is_received_as_base64_and_says_so() {
        for (payload, body) in [(vec![0xff, 0xfe], "//4="), (vec![b'a', 0], "YQA=")] {
            let native = task(NewTask::new("mail.welcome", payload).header("tenant", "acme"));
            let (text, attributes) = read(&native);
            assert_eq!(text, body);
            let expected =
                [("datacontentencoding", "base64"), ("tenant", "acme"), ("type", "mail.welcome")];
            let expected = expected.map(|(n, v)| (n.to_owned(), Attribute::text(v)));
            assert_eq!(attributes, expected.into());
        }
    }

    #[test]
    fn attributes_are_asked_for_by_name_and_by_beginning() {
        let all = || attributes(1);
        let kept = |asked: &[&str]| {
            let mut attributes = all();
            keep_asked(&mut attributes, asked);
            attributes.into_keys().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(kept(&[]), "");
        assert_eq!(kept(&["All"]), "b n t type");
        assert_eq!(kept(&[".*"]), "b n t type");
        assert_eq!(kept(&["t"]), "t");
        assert_eq!(kept(&["t.*", "n", "other"]), "n t type");
    }

    #[test]
    fn the_characters_of_a_body_are_those_of_the_protocol() {
        for allowed in ["a\t\n\r ~", "é", "\u{d7ff}\u{e000}\u{fffd}\u{10000}"] {
            assert!(is_allowed(allowed), "{allowed:?}");
        }
        for refused in ["\0", "\u{1f}", "\u{b}", "\u{fffe}", "é\u{ffff}"] {
            assert!(!is_allowed(refused), "{refused:?}");
        }
    }
}
