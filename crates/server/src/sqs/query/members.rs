//! The members of requests as forms name them.

use crate::sqs::action::Action;

/// A member of a request.
#[derive(Debug)]
pub(super) struct Member {
    /// As JSON names it.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What a member is, and how a form names its parts.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Number,
    /// `NAME.1`, `NAME.2`, ...
    Texts(&'static str),
    /// `NAME.1.KEY` and `NAME.1.VALUE`, under any of the names.
    Pairs {
        names: &'static [&'static str],
        key: &'static str,
        value: &'static str,
    },
    /// `NAME.1.Name`, `NAME.1.Value.DataType`, ...
    Attributes(&'static str),
    /// `NAME.1.MEMBER`.
    Entries(&'static str, &'static [Member]),
}

const fn text(name: &'static str) -> Member {
    Member { name, kind: Kind::Text }
}

const fn number(name: &'static str) -> Member {
    Member { name, kind: Kind::Number }
}

const fn texts(name: &'static str, wire: &'static str) -> Member {
    Member { name, kind: Kind::Texts(wire) }
}

const URL: Member = text("QueueUrl");
const ATTRIBUTES: Member = Member {
    name: "Attributes",
    kind: Kind::Pairs { names: &["Attribute"], key: "Name", value: "Value" },
};

const fn tags(name: &'static str) -> Member {
    Member { name, kind: Kind::Pairs { names: &["Tag", "Tags"], key: "Key", value: "Value" } }
}

const BODY: Member = text("MessageBody");
const DELAY: Member = number("DelaySeconds");
const MESSAGE_ATTRIBUTES: Member =
    Member { name: "MessageAttributes", kind: Kind::Attributes("MessageAttribute") };
const SYSTEM_ATTRIBUTES: Member =
    Member { name: "MessageSystemAttributes", kind: Kind::Attributes("MessageSystemAttribute") };
const DEDUPLICATION: Member = text("MessageDeduplicationId");
const GROUP: Member = text("MessageGroupId");
const ID: Member = text("Id");
const HANDLE: Member = text("ReceiptHandle");
const VISIBILITY: Member = number("VisibilityTimeout");

const fn entries(wire: &'static str, members: &'static [Member]) -> Member {
    Member { name: "Entries", kind: Kind::Entries(wire, members) }
}

/// All members of an action's request.
pub(super) const fn of(action: Action) -> &'static [Member] {
    match action {
        Action::ChangeMessageVisibility => const { &[URL, HANDLE, VISIBILITY] },
        Action::ChangeMessageVisibilityBatch => {
            const {
                &[
                    URL,
                    entries("ChangeMessageVisibilityBatchRequestEntry", &[ID, HANDLE, VISIBILITY]),
                ]
            }
        }
        Action::DeleteMessage => const { &[URL, HANDLE] },
        Action::DeleteMessageBatch => {
            const { &[URL, entries("DeleteMessageBatchRequestEntry", &[ID, HANDLE])] }
        }
        Action::ReceiveMessage => {
            const {
                &[
                    URL,
                    texts("AttributeNames", "AttributeName"),
                    texts("MessageSystemAttributeNames", "MessageSystemAttributeName"),
                    texts("MessageAttributeNames", "MessageAttributeName"),
                    number("MaxNumberOfMessages"),
                    VISIBILITY,
                    number("WaitTimeSeconds"),
                    text("ReceiveRequestAttemptId"),
                ]
            }
        }
        Action::SendMessage => {
            const { &[URL, BODY, DELAY, MESSAGE_ATTRIBUTES, SYSTEM_ATTRIBUTES, DEDUPLICATION, GROUP] }
        }
        Action::SendMessageBatch => {
            const {
                &[
                    URL,
                    entries(
                        "SendMessageBatchRequestEntry",
                        &[
                            ID,
                            BODY,
                            DELAY,
                            MESSAGE_ATTRIBUTES,
                            SYSTEM_ATTRIBUTES,
                            DEDUPLICATION,
                            GROUP,
                        ],
                    ),
                ]
            }
        }
        _ => of_queues(action),
    }
}

const fn of_queues(action: Action) -> &'static [Member] {
    match action {
        Action::AddPermission => {
            const {
                &[
                    URL,
                    text("Label"),
                    texts("AWSAccountIds", "AWSAccountId"),
                    texts("Actions", "ActionName"),
                ]
            }
        }
        Action::CancelMessageMoveTask => const { &[text("TaskHandle")] },
        Action::CreateQueue => const { &[text("QueueName"), ATTRIBUTES, tags("tags")] },
        Action::DeleteQueue | Action::ListQueueTags | Action::PurgeQueue => const { &[URL] },
        Action::GetQueueAttributes => const { &[URL, texts("AttributeNames", "AttributeName")] },
        Action::GetQueueUrl => const { &[text("QueueName"), text("QueueOwnerAWSAccountId")] },
        Action::ListDeadLetterSourceQueues => {
            const { &[URL, text("NextToken"), number("MaxResults")] }
        }
        Action::ListMessageMoveTasks => const { &[text("SourceArn"), number("MaxResults")] },
        Action::ListQueues => {
            const { &[text("QueueNamePrefix"), text("NextToken"), number("MaxResults")] }
        }
        Action::RemovePermission => const { &[URL, text("Label")] },
        Action::SetQueueAttributes => const { &[URL, ATTRIBUTES] },
        Action::StartMessageMoveTask => {
            const { &[text("SourceArn"), text("DestinationArn"), number("MaxNumberOfMessagesPerSecond")] }
        }
        Action::TagQueue => const { &[URL, tags("Tags")] },
        Action::UntagQueue => const { &[URL, texts("TagKeys", "TagKey")] },
        Action::ChangeMessageVisibility
        | Action::ChangeMessageVisibilityBatch
        | Action::DeleteMessage
        | Action::DeleteMessageBatch
        | Action::ReceiveMessage
        | Action::SendMessage
        | Action::SendMessageBatch => const { &[] },
    }
}

/// The members of an action, or of its entries, and what forms call the elements of each.
#[cfg(test)]
pub(crate) fn member_names(action: Action, of_entries: bool) -> Vec<(&'static str, &'static str)> {
    let wire = |kind: &Kind| match kind {
        Kind::Text | Kind::Number => "",
        Kind::Texts(wire) | Kind::Attributes(wire) | Kind::Entries(wire, _) => wire,
        Kind::Pairs { names, .. } => names[0],
    };
    let entries = of(action).iter().find_map(|member| match member.kind {
        Kind::Entries(_, members) => Some(members),
        _ => None,
    });
    let members = if of_entries { entries.unwrap() } else { of(action) };
    members.iter().map(|Member { name, kind }| (*name, wire(kind))).collect()
}

/// Whether forms call the elements of a map, its keys and its values as `parts` says.
#[cfg(test)]
pub(crate) fn pair_names(wire: &str, parts: &[&str]) -> bool {
    let all = [Action::CreateQueue, Action::TagQueue].into_iter().flat_map(of);
    let mut pairs = all.filter_map(|member| match member.kind {
        Kind::Pairs { names, key, value } => Some((names, key, value)),
        _ => None,
    });
    let is_pair = |(names, key, value): (&[&str], &str, &str)| {
        names.contains(&wire) && names.contains(&parts[0]) && parts[1..] == [key, value]
    };
    pairs.any(is_pair) || parts == [wire, "Name", "Value"]
}
