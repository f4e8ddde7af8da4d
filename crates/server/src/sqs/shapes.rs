//! One type for each request and answer, shared by both wire forms. The names of the members are the
//! protocol's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use tidegate_core::TaskId;

use super::lists::{Entries, List, Named, SentAttributes};

/// Text of a request: borrowed from it where nothing in it is escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// Names and values, as of attributes and tags.
pub(crate) type Pairs = BTreeMap<String, String>;

macro_rules! request {
    ($($shape:ident $(<$lt:lifetime>)? { $($(#[$attr:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            #[derive(Clone, Debug, Default, Deserialize)]
            #[serde(rename_all = "PascalCase", default)]
            pub(crate) struct $shape $(<$lt>)? {
                $($(#[$attr])* pub(crate) $field: Option<$kind>,)*
            }
        )*
    };
}

macro_rules! answer {
    ($($shape:ident $(<$lt:lifetime>)? { $($(#[$attr:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            #[derive(Clone, Debug, Default, Serialize)]
            #[serde(rename_all = "PascalCase")]
            pub(crate) struct $shape $(<$lt>)? { $($(#[$attr])* pub(crate) $field: $kind,)* }
        )*
    };
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self(Cow::Borrowed(""))
    }
}

/// A message attribute on the wire. The lists are of the model and are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MessageAttributeValue {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) string_value: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binary_value: Option<String>,
    #[serde(skip_serializing)]
    pub(crate) string_list_values: Option<Entries<String>>,
    #[serde(skip_serializing)]
    pub(crate) binary_list_values: Option<Entries<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_type: Option<String>,
}

pub(crate) type AttributeValues = BTreeMap<String, MessageAttributeValue>;

request! {
    AddPermissionRequest {
        queue_url: String,
        label: String,
        #[serde(rename = "AWSAccountIds")]
        aws_account_ids: List<String>,
        actions: List<String>,
    }
    CancelMessageMoveTaskRequest { task_handle: String, }
    ChangeMessageVisibilityRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        #[serde(borrow)]
        receipt_handle: Text<'a>,
        visibility_timeout: i64,
    }
    ChangeMessageVisibilityBatchRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        #[serde(borrow)]
        entries: Entries<ChangeMessageVisibilityBatchRequestEntry<'a>>,
    }
    ChangeMessageVisibilityBatchRequestEntry<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        receipt_handle: Text<'a>,
        visibility_timeout: i64,
    }
    CreateQueueRequest {
        queue_name: String,
        attributes: Named,
        #[serde(rename = "tags", alias = "Tags")]
        tags: Named,
    }
    DeleteMessageRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        #[serde(borrow)]
        receipt_handle: Text<'a>,
    }
    DeleteMessageBatchRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        #[serde(borrow)]
        entries: Entries<DeleteMessageBatchRequestEntry<'a>>,
    }
    DeleteMessageBatchRequestEntry<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        receipt_handle: Text<'a>,
    }
    DeleteQueueRequest { queue_url: String, }
    GetQueueAttributesRequest { queue_url: String, attribute_names: List<String>, }
    GetQueueUrlRequest {
        queue_name: String,
        #[serde(rename = "QueueOwnerAWSAccountId")]
        queue_owner_aws_account_id: String,
    }
    ListDeadLetterSourceQueuesRequest { queue_url: String, next_token: String, max_results: i64, }
    ListMessageMoveTasksRequest { source_arn: String, max_results: i64, }
    ListQueueTagsRequest { queue_url: String, }
    ListQueuesRequest { queue_name_prefix: String, next_token: String, max_results: i64, }
    PurgeQueueRequest { queue_url: String, }
    ReceiveMessageRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        attribute_names: List<Text<'a>>,
        message_system_attribute_names: List<Text<'a>>,
        message_attribute_names: List<Text<'a>>,
        max_number_of_messages: i64,
        visibility_timeout: i64,
        wait_time_seconds: i64,
        receive_request_attempt_id: String,
    }
    RemovePermissionRequest { queue_url: String, label: String, }
    SendMessageRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        #[serde(borrow)]
        message_body: Text<'a>,
        delay_seconds: i64,
        message_attributes: SentAttributes,
        message_system_attributes: SentAttributes,
        message_deduplication_id: String,
        message_group_id: String,
    }
    SendMessageBatchRequest<'a> {
        #[serde(borrow)]
        queue_url: Text<'a>,
        #[serde(borrow)]
        entries: Entries<SendMessageBatchRequestEntry<'a>>,
    }
    SendMessageBatchRequestEntry<'a> {
        #[serde(borrow)]
        id: Text<'a>,
        #[serde(borrow)]
        message_body: Text<'a>,
        delay_seconds: i64,
        message_attributes: SentAttributes,
        message_system_attributes: SentAttributes,
        message_deduplication_id: String,
        message_group_id: String,
    }
    SetQueueAttributesRequest { queue_url: String, attributes: Named, }
    StartMessageMoveTaskRequest {
        source_arn: String,
        destination_arn: String,
        max_number_of_messages_per_second: i64,
    }
    TagQueueRequest { queue_url: String, tags: Named, }
    UntagQueueRequest { queue_url: String, tag_keys: List<String>, }
}

answer! {
    CancelMessageMoveTaskResult { approximate_number_of_messages_moved: u64, }
    QueueUrlResult { queue_url: String, }
    GetQueueAttributesResult {
        #[serde(skip_serializing_if = "Pairs::is_empty")]
        attributes: Pairs,
    }
    ListDeadLetterSourceQueuesResult {
        #[serde(rename = "queueUrls")]
        queue_urls: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    ListMessageMoveTasksResult { results: Vec<ListMessageMoveTasksResultEntry>, }
    ListMessageMoveTasksResultEntry {
        #[serde(skip_serializing_if = "Option::is_none")]
        task_handle: Option<String>,
        status: String,
        source_arn: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        destination_arn: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_number_of_messages_per_second: Option<u32>,
        approximate_number_of_messages_moved: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        approximate_number_of_messages_to_move: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure_reason: Option<String>,
        started_timestamp: u64,
    }
    ListQueueTagsResult {
        #[serde(skip_serializing_if = "Pairs::is_empty")]
        tags: Pairs,
    }
    ListQueuesResult {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        queue_urls: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    ReceiveMessageResult<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        messages: Vec<Message<'a>>,
    }
    SendMessageResult {
        #[serde(rename = "MD5OfMessageBody")]
        md5_of_message_body: Hex<32>,
        #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
        md5_of_message_attributes: Option<Hex<32>>,
        #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
        md5_of_message_system_attributes: Option<Hex<32>>,
        message_id: Hex<36>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sequence_number: Option<String>,
    }
    SendMessageBatchResultEntry<'a> {
        id: Text<'a>,
        #[serde(flatten)]
        sent: SendMessageResult,
    }
    IdOnly<'a> { id: Text<'a>, }
    BatchResultErrorEntry { id: String, sender_fault: bool, code: String, message: String, }
    StartMessageMoveTaskResult { task_handle: String, }
    Message<'a> {
        message_id: Hex<36>,
        receipt_handle: String,
        #[serde(rename = "MD5OfBody")]
        md5_of_body: Hex<32>,
        body: Text<'a>,
        #[serde(skip_serializing_if = "Pairs::is_empty")]
        attributes: Pairs,
        #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
        md5_of_message_attributes: Option<Hex<32>>,
        #[serde(skip_serializing_if = "AttributeValues::is_empty")]
        message_attributes: AttributeValues,
    }
}

/// The answer to a batch. INVARIANT: each entry of the request is in one of the two lists.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BatchResult<T> {
    pub(crate) successful: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<BatchResultErrorEntry>,
}

/// Hexadecimal digits, and the hyphens of an id, as many as there always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex<const CHARS: usize>([u8; CHARS]);

impl From<[u8; 16]> for Hex<32> {
    fn from(bytes: [u8; 16]) -> Self {
        let mut chars = [0; 32];
        uuid::Uuid::from_bytes(bytes).simple().encode_lower(&mut chars);
        Self(chars)
    }
}

impl From<TaskId> for Hex<36> {
    fn from(id: TaskId) -> Self {
        let mut chars = [0; 36];
        uuid::Uuid::from_bytes(*id.as_bytes()).hyphenated().encode_lower(&mut chars);
        Self(chars)
    }
}

impl<const CHARS: usize> Default for Hex<CHARS> {
    fn default() -> Self {
        Self([b'0'; CHARS])
    }
}

impl<const CHARS: usize> Hex<CHARS> {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<const CHARS: usize> Serialize for Hex<CHARS> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
