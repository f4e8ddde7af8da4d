//! From the JSON of an answer to its XML.

use std::fmt::Write;

use quick_xml::escape::escape;
use serde_json::{Map, Value};

use crate::sqs::action::Action;
use crate::sqs::errors::Failure;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// The answer to an action. `result` is none for those that say nothing.
pub(crate) fn answer(action: Action, result: Option<&Value>, request_id: &str) -> String {
    let name = action.name();
    let mut xml = String::with_capacity(512);
    let _ = write!(xml, "<?xml version=\"1.0\"?><{name}Response xmlns=\"{NAMESPACE}\">");
    if let Some(result) = result {
        let _ = write!(xml, "<{name}Result>");
        if let Value::Object(members) = result {
            structure(&mut xml, action, members);
        }
        let _ = write!(xml, "</{name}Result>");
    }
    let _ = write!(
        xml,
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    );
    xml
}

/// An error.
pub(crate) fn error(failure: &Failure, request_id: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{}</Type><Code>{}</Code>\
         <Message>{}</Message><Detail/></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        failure.code.fault(),
        failure.code.query_code(),
        text(failure.query_message())
    )
}

/// What is answered where no action is asked for.
pub(crate) fn unknown_operation() -> String {
    "<UnknownOperationException/>".into()
}

/// Who asks, as STS tells it: many tools ask that first.
pub(crate) fn caller_identity(account: &str, request_id: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>arn:aws:iam::{account}:root</Arn><UserId>{account}</UserId>\
         <Account>{account}</Account></GetCallerIdentityResult><ResponseMetadata>\
         <RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
}

/// WHY: a carriage return that stands as itself is a line feed to every reader of XML.
fn text(text: &str) -> String {
    let escaped = escape(text);
    if escaped.contains('\r') { escaped.replace('\r', "&#xD;") } else { escaped.into_owned() }
}

fn structure(xml: &mut String, action: Action, members: &Map<String, Value>) {
    for (name, value) in members {
        member(xml, action, name, value);
    }
}

fn member(xml: &mut String, action: Action, name: &str, value: &Value) {
    match value {
        Value::Array(elements) => {
            for element in elements {
                member(xml, action, &one_of(action, name), element);
            }
        }
        Value::Object(members) => match pair_of(name) {
            Some((one, key_name, value_name)) => {
                for (key, value) in members {
                    let _ = write!(xml, "<{one}><{key_name}>{}</{key_name}>", text(key));
                    member(xml, action, value_name, value);
                    let _ = write!(xml, "</{one}>");
                }
            }
            None => {
                let _ = write!(xml, "<{name}>");
                structure(xml, action, members);
                let _ = write!(xml, "</{name}>");
            }
        },
        Value::Null => {}
        Value::String(value) => {
            let _ = write!(xml, "<{name}>{}</{name}>", text(value));
        }
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(xml, "<{name}>{value}</{name}>");
        }
    }
}

/// What an element of a list is called.
fn one_of(action: Action, list: &str) -> String {
    match list {
        "QueueUrls" | "queueUrls" => "QueueUrl".into(),
        "Messages" => "Message".into(),
        "Results" => "ListMessageMoveTasksResultEntry".into(),
        "Failed" => "BatchResultErrorEntry".into(),
        "Successful" => format!("{}ResultEntry", action.name()),
        other => other.into(),
    }
}

/// What an element of a map is called, its key and its value.
fn pair_of(map: &str) -> Option<(&'static str, &'static str, &'static str)> {
    match map {
        "Attributes" => Some(("Attribute", "Name", "Value")),
        "MessageAttributes" => Some(("MessageAttribute", "Name", "Value")),
        "Tags" => Some(("Tag", "Key", "Value")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sqs::errors::Code;

    #[test]
    fn a_receive_is_unfolded_with_all_its_parts() {
        let result = json!({ "Messages": [{
            "MessageId": "m", "Body": "a<b&\"\r\n",
            "Attributes": { "SentTimestamp": "1" },
            "MessageAttributes": { "n": { "StringValue": "7", "DataType": "Number" } },
        }] });
        let expected = "<?xml version=\"1.0\"?><ReceiveMessageResponse \
            xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ReceiveMessageResult><Message>\
            <Attributes_/><Body>a&lt;b&amp;&quot;&#xD;\n</Body>\
            <MessageAttribute><Name>n</Name><Value><DataType>Number</DataType><StringValue>7</StringValue>\
            </Value></MessageAttribute><MessageId>m</MessageId></Message></ReceiveMessageResult>\
            <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ReceiveMessageResponse>";
        let expected = expected.replace(
            "<Attributes_/>",
            "<Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute>",
        );
        assert_eq!(answer(Action::ReceiveMessage, Some(&result), "r"), expected);
    }

    #[test]
    fn a_batch_names_its_entries_by_its_action() {
        let result = json!({ "Successful": [{ "Id": "a" }], "Failed": [{ "Id": "b", "SenderFault": true }] });
        let xml = answer(Action::DeleteMessageBatch, Some(&result), "r");
        assert!(
            xml.contains(
                "<DeleteMessageBatchResultEntry><Id>a</Id></DeleteMessageBatchResultEntry>"
            )
        );
        let failed = "<BatchResultErrorEntry><Id>b</Id><SenderFault>true</SenderFault></BatchResultErrorEntry>";
        assert!(xml.contains(failed), "{xml}");
    }

    #[test]
    fn an_error_has_its_query_code_and_its_older_words() {
        let xml = error(&Failure::no_queue(), "r");
        let expected = "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
            <Error><Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>\
            <Message>The specified queue does not exist for this wsdl version.</Message><Detail/></Error>\
            <RequestId>r</RequestId></ErrorResponse>";
        assert_eq!(xml, expected);
        assert!(error(&Code::InternalFailure.because("<"), "r").contains("<Type>Receiver</Type>"));
    }

    #[test]
    fn what_says_nothing_has_no_result() {
        let expected = "<?xml version=\"1.0\"?><PurgeQueueResponse \
            xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ResponseMetadata><RequestId>r</RequestId>\
            </ResponseMetadata></PurgeQueueResponse>";
        assert_eq!(answer(Action::PurgeQueue, None, "r"), expected);
    }
}
