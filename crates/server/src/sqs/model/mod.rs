//! The service model of AWS, beside what is known here.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::action::Action;
use super::errors::Code;
use super::query::{member_names, pair_names};
use super::shapes::*;

const MODEL: &str = include_str!("sqs-2012-11-05.txt");

fn lines(first: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let first = first.to_owned();
    let lines = MODEL.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(move |words| words[0] == first)
}

/// The members of the model's requests and their names in forms, by action and shape.
fn requests() -> BTreeMap<Action, Vec<Vec<&'static str>>> {
    let mut requests = BTreeMap::new();
    let mut action = None;
    for words in MODEL.lines().map(|line| line.split(' ').collect::<Vec<_>>()) {
        match words[0] {
            "action" => action = Some(Action::of(words[1]).unwrap_or_else(|| panic!("{words:?}"))),
            "in" => requests.entry(action.unwrap()).or_insert_with(Vec::new).push(words),
            _ => {}
        }
    }
    requests
}

/// Tells the members of a shape by refusing to be one.
struct Names;

#[derive(Debug)]
struct Told(&'static [&'static str]);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Told {}

impl Error for Told {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        panic!("{message}")
    }
}

impl<'de> Deserializer<'de> for Names {
    type Error = Told;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Told> {
        panic!("only shapes have members")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Told> {
        Err(Told(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn members<T: Deserialize<'static>>() -> &'static [&'static str] {
    match T::deserialize(Names) {
        Err(Told(fields)) => fields,
        Ok(_) => panic!("nothing can be made of names"),
    }
}

macro_rules! shapes {
    ($name:expr, $($shape:ident $(<$lt:lifetime>)?),* $(,)?) => {
        match $name {
            $(stringify!($shape) => Some(members::<$shape $(<$lt>)?>()),)*
            _ => None,
        }
    };
}

fn members_of(shape: &str) -> Option<&'static [&'static str]> {
    shapes!(
        shape,
        AddPermissionRequest,
        CancelMessageMoveTaskRequest,
        ChangeMessageVisibilityRequest<'static>,
        ChangeMessageVisibilityBatchRequest<'static>,
        ChangeMessageVisibilityBatchRequestEntry<'static>,
        CreateQueueRequest,
        DeleteMessageRequest<'static>,
        DeleteMessageBatchRequest<'static>,
        DeleteMessageBatchRequestEntry<'static>,
        DeleteQueueRequest,
        GetQueueAttributesRequest,
        GetQueueUrlRequest,
        ListDeadLetterSourceQueuesRequest,
        ListMessageMoveTasksRequest,
        ListQueueTagsRequest,
        ListQueuesRequest,
        MessageAttributeValue,
        PurgeQueueRequest,
        ReceiveMessageRequest<'static>,
        RemovePermissionRequest,
        SendMessageRequest<'static>,
        SendMessageBatchRequest<'static>,
        SendMessageBatchRequestEntry<'static>,
        SetQueueAttributesRequest,
        StartMessageMoveTaskRequest,
        TagQueueRequest,
        UntagQueueRequest,
    )
}

#[test]
fn every_action_and_no_other_is_known() {
    let known: Vec<&str> = Action::ALL.iter().map(|action| action.name()).collect();
    let model: Vec<&str> = lines("action").map(|words| words[1]).collect();
    assert_eq!(known, model);
}

#[test]
fn every_member_of_every_request_is_known_in_json() {
    let mut seen = 0;
    for words in lines("in") {
        // The same members, for system attributes.
        let shape = words[1].replace("MessageSystemAttributeValue", "MessageAttributeValue");
        let members = members_of(&shape).unwrap_or_else(|| panic!("{shape} is not known"));
        assert!(members.contains(&words[2]), "{words:?}");
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn every_member_of_every_request_is_known_in_forms() {
    for (action, members) in requests() {
        for words in members {
            let (shape, name, kind) = (words[1], words[2], words[3]);
            if shape.ends_with("AttributeValue") {
                continue;
            }
            let known = member_names(action, shape.ends_with("Entry"));
            let known = known.iter().find(|(known, _)| *known == name);
            let (_, wire) = known.unwrap_or_else(|| panic!("{action:?}: {name}"));
            match (kind, &words[4..]) {
                ("list", [one]) => assert_eq!(wire, one, "{action:?}"),
                ("map", parts) => assert!(pair_names(wire, parts), "{action:?}: {wire} {parts:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn every_member_of_every_answer_can_be_told() {
    let told = answers();
    for words in lines("out") {
        let (shape, name) = (words[1], words[2]);
        // Lists in attributes are refused where they are sent.
        if name.ends_with("ListValues") {
            continue;
        }
        assert!(
            told.iter().any(|(s, members)| *s == shape && members.contains(&name.to_owned())),
            "{words:?}"
        );
    }
}

#[test]
fn every_error_is_known_with_its_query_code_and_status() {
    for words in lines("error") {
        let known =
            Code::ALL.iter().find(|code| code.json_type().ends_with(&format!("#{}", words[1])));
        let code = known.unwrap_or_else(|| panic!("{words:?}"));
        if let [_, _, query, status] = words.as_slice() {
            assert_eq!((code.query_code(), code.status().to_string().as_str()), (*query, *status));
        }
    }
}

/// The members of every answer, with everything in it.
fn answers() -> Vec<(&'static str, Vec<String>)> {
    fn of(shape: &impl serde::Serialize) -> Vec<String> {
        let value = serde_json::to_value(shape).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }
    let text = || Some(String::new());
    let pairs = || Pairs::from([(String::new(), String::new())]);
    let attribute = MessageAttributeValue {
        string_value: text(),
        binary_value: text(),
        string_list_values: None,
        binary_list_values: None,
        data_type: text(),
    };
    let md5 = Some(Hex::default());
    let sent = SendMessageResult {
        md5_of_message_attributes: md5,
        md5_of_message_system_attributes: md5,
        sequence_number: text(),
        ..SendMessageResult::default()
    };
    let message = Message {
        attributes: pairs(),
        md5_of_message_attributes: md5,
        message_attributes: AttributeValues::from([(String::new(), attribute.clone())]),
        ..Message::default()
    };
    let batch =
        of(&BatchResult { successful: vec![()], failed: vec![BatchResultErrorEntry::default()] });
    let moved = ListMessageMoveTasksResultEntry {
        task_handle: text(),
        destination_arn: text(),
        max_number_of_messages_per_second: Some(1),
        approximate_number_of_messages_to_move: Some(1),
        failure_reason: text(),
        ..ListMessageMoveTasksResultEntry::default()
    };
    let entry = SendMessageBatchResultEntry { id: Text::default(), sent: sent.clone() };
    let urls = || vec![String::new()];
    vec![
        ("BatchResultErrorEntry", of(&BatchResultErrorEntry::default())),
        ("CancelMessageMoveTaskResult", of(&CancelMessageMoveTaskResult::default())),
        ("ChangeMessageVisibilityBatchResult", batch.clone()),
        ("ChangeMessageVisibilityBatchResultEntry", of(&IdOnly::default())),
        ("CreateQueueResult", of(&QueueUrlResult::default())),
        ("DeleteMessageBatchResult", batch.clone()),
        ("DeleteMessageBatchResultEntry", of(&IdOnly::default())),
        ("GetQueueAttributesResult", of(&GetQueueAttributesResult { attributes: pairs() })),
        ("GetQueueUrlResult", of(&QueueUrlResult::default())),
        (
            "ListDeadLetterSourceQueuesResult",
            of(&ListDeadLetterSourceQueuesResult { queue_urls: urls(), next_token: text() }),
        ),
        ("ListMessageMoveTasksResult", of(&ListMessageMoveTasksResult { results: vec![] })),
        ("ListMessageMoveTasksResultEntry", of(&moved)),
        ("ListQueueTagsResult", of(&ListQueueTagsResult { tags: pairs() })),
        ("ListQueuesResult", of(&ListQueuesResult { queue_urls: urls(), next_token: text() })),
        ("Message", of(&message)),
        ("MessageAttributeValue", of(&attribute)),
        ("ReceiveMessageResult", of(&ReceiveMessageResult { messages: vec![message.clone()] })),
        ("SendMessageBatchResult", batch),
        ("SendMessageBatchResultEntry", of(&entry)),
        ("SendMessageResult", of(&sent)),
        ("StartMessageMoveTaskResult", of(&StartMessageMoveTaskResult::default())),
    ]
}
