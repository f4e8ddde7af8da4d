use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tidegate_core::{NewTask, QueueName, ReceiveOptions, SessionOptions};

use crate::world::{World, text};
use crate::{Case, cases};

pub(crate) fn all() -> Vec<Case> {
    cases![
        a_message_goes_through,
        attributes_are_kept_filtered_and_digested,
        long_attributes_are_kept,
        system_attributes_are_told,
        bodies_at_their_edges,
        the_size_limit_counts_attributes,
        delays_are_kept,
        retention_drops_what_is_old,
        wrong_handles_are_refused,
        a_standard_queue_takes_groups_and_no_deduplication,
        tasks_and_messages_are_read_by_each_other,
        parameters_of_a_receive_are_checked,
    ]
}

async fn a_message_goes_through(world: &World) {
    let url = world.queue("q").await;
    let sent = world.send(&url, "hello").await;
    assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(sent.as_object().unwrap().len(), 2, "{sent}");
    let received = world.receive_with(&url, json!({})).await;
    assert_eq!(received[0]["MessageId"], sent["MessageId"]);
    assert_eq!(received[0]["Body"], "hello");
    assert_eq!(received[0]["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(received[0].as_object().unwrap().len(), 4, "{received:?}");
    assert_eq!(world.ok("ReceiveMessage", json!({ "QueueUrl": url })).await, json!({}));
    world.delete(&url, &received[0]).await;
    world.delete(&url, &received[0]).await;
    world.pass(60);
    assert!(world.receive(&url).await.is_empty());
}

async fn attributes_are_kept_filtered_and_digested(world: &World) {
    let url = world.queue("q").await;
    let attributes = json!({
        "test-key": { "DataType": "String", "StringValue": "test-value" },
        "n": { "DataType": "Number.int", "StringValue": "007" },
        "b": { "DataType": "Binary", "BinaryValue": STANDARD.encode([0, 1, 255]) },
    });
    let sent = json!({ "QueueUrl": url, "MessageBody": "x", "MessageAttributes": attributes });
    let sent = world.ok("SendMessage", sent).await;
    let all = json!({ "MessageAttributeNames": ["All"], "VisibilityTimeout": 0 });
    let received = world.receive_with(&url, all).await;
    assert_eq!(received[0]["MessageAttributes"], attributes);
    assert_eq!(received[0]["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"]);
    for (asked, names) in [("test.*", vec!["test-key"]), ("n", vec!["n"]), ("none", vec![])] {
        world.pass(1);
        let some = json!({ "MessageAttributeNames": [asked], "VisibilityTimeout": 0 });
        let received = world.receive_with(&url, some).await;
        let got: Vec<&String> = received[0]["MessageAttributes"]
            .as_object()
            .into_iter()
            .flat_map(|it| it.keys())
            .collect();
        assert_eq!(got, names, "{asked}");
        if asked == "test.*" {
            let digest = "befa18540a897f7d022bf07057754a03";
            assert_eq!(received[0]["MD5OfMessageAttributes"], digest, "of what is returned");
        }
    }
}

async fn long_attributes_are_kept(world: &World) {
    let url = world.queue("q").await;
    let attributes = json!({
        "s": { "DataType": "String", "StringValue": "é".repeat(100_000) },
        "b": { "DataType": "Binary", "BinaryValue": STANDARD.encode(vec![255; 100_000]) },
    });
    let sent = json!({ "QueueUrl": url, "MessageBody": "body", "MessageAttributes": attributes });
    let sent = world.ok("SendMessage", sent).await;
    let received = world.receive_with(&url, json!({ "MessageAttributeNames": ["All"] })).await;
    assert_eq!(received[0]["Body"], "body");
    assert_eq!(received[0]["MessageAttributes"], attributes);
    assert_eq!(received[0]["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"]);
}

async fn system_attributes_are_told(world: &World) {
    let url = world.queue("q").await;
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let system = json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": trace } });
    let sent = json!({ "QueueUrl": url, "MessageBody": "x", "MessageSystemAttributes": system });
    let sent = world.ok("SendMessage", sent).await;
    assert_eq!(sent["MD5OfMessageSystemAttributes"], "5ae4d5d7636402d80f4eb6d213245a88");
    world.pass(2);
    let first = world.one(&url).await;
    let expected = json!({
        "AWSTraceHeader": trace,
        "ApproximateFirstReceiveTimestamp": "1767225602000",
        "ApproximateReceiveCount": "1",
        "SenderId": "000000000000",
        "SentTimestamp": "1767225600000",
    });
    assert_eq!(first["Attributes"], expected);
    world.pass(30);
    let asked = json!({ "MessageSystemAttributeNames": ["ApproximateReceiveCount"] });
    let second = world.receive_with(&url, asked).await;
    assert_eq!(second[0]["Attributes"], json!({ "ApproximateReceiveCount": "2" }));
    let unknown = json!({ "QueueUrl": url, "AttributeNames": ["Nothing"] });
    let why = "Unknown Attribute Nothing.";
    world.refused("ReceiveMessage", unknown, "InvalidAttributeName", why).await;
}

async fn bodies_at_their_edges(world: &World) {
    let url = world.queue("q").await;
    let body = "a<b>&\"'\t\r\n\u{d7ff}\u{e000}\u{fffd}\u{10000} +%=;";
    world.send(&url, body).await;
    assert_eq!(world.one(&url).await["Body"], body);
    let why = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | \
               #xE000 to #xFFFD | #x10000 to #x10FFFF";
    for body in ["\0", "\u{ffff}"] {
        let sent = json!({ "QueueUrl": url, "MessageBody": body });
        world.refused("SendMessage", sent, "InvalidMessageContents", why).await;
    }
    let why = "The request must contain the parameter MessageBody.";
    for sent in [json!({ "QueueUrl": url }), json!({ "QueueUrl": url, "MessageBody": "" })] {
        world.refused("SendMessage", sent, "MissingParameter", why).await;
    }
}

async fn the_size_limit_counts_attributes(world: &World) {
    let url = world.queue("q").await;
    let sent = |bytes: usize, value: &str| {
        json!({
            "QueueUrl": url, "MessageBody": "x".repeat(bytes),
            "MessageAttributes": { "a": { "DataType": "String", "StringValue": value } },
        })
    };
    let attribute = "aString".len() + 10;
    let value = "v".repeat(10);
    world.ok("SendMessage", sent(1_048_576 - attribute, &value)).await;
    let received = world.receive_with(&url, json!({ "MessageAttributeNames": ["All"] })).await;
    assert_eq!(text(&received[0]["Body"]).len(), 1_048_576 - attribute);
    let why =
        "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.";
    let long = sent(1_048_577 - attribute, &value);
    world.refused("SendMessage", long, "InvalidParameterValue", why).await;
    world.set(&url, "MaximumMessageSize", "1024").await;
    let why =
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.";
    let long = sent(1_025 - attribute, &value);
    world.refused("SendMessage", long, "InvalidParameterValue", why).await;
    world.ok("SendMessage", sent(1_024 - attribute, &value)).await;
}

async fn delays_are_kept(world: &World) {
    let url = world.queue_with("q", json!({ "DelaySeconds": "5" })).await;
    world.send(&url, "of the queue").await;
    let own = json!({ "QueueUrl": url, "MessageBody": "own", "DelaySeconds": 3 });
    world.ok("SendMessage", own).await;
    let none = json!({ "QueueUrl": url, "MessageBody": "none", "DelaySeconds": 0 });
    world.ok("SendMessage", none).await;
    assert_eq!(world.one(&url).await["Body"], "none");
    world.pass(3);
    assert_eq!(world.one(&url).await["Body"], "own");
    world.pass(2);
    assert_eq!(world.one(&url).await["Body"], "of the queue");
    let why = "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.";
    let long = json!({ "QueueUrl": url, "MessageBody": "x", "DelaySeconds": 901 });
    world.refused("SendMessage", long, "InvalidParameterValue", why).await;
}

async fn retention_drops_what_is_old(world: &World) {
    let url = world.queue_with("q", json!({ "MessageRetentionPeriod": "60" })).await;
    world.send(&url, "old").await;
    world.pass(59);
    assert_eq!(world.attribute(&url, "ApproximateNumberOfMessages").await, "1");
    world.pass(1);
    assert!(world.receive(&url).await.is_empty());
}

async fn wrong_handles_are_refused(world: &World) {
    let (url, other) = (world.queue("q").await, world.queue("other").await);
    world.send(&url, "x").await;
    let handle = text(&world.one(&url).await["ReceiptHandle"]);
    for (url, handle) in [(&url, "garbage"), (&other, handle.as_str())] {
        let why = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
        let deleted = json!({ "QueueUrl": url, "ReceiptHandle": handle });
        world.refused("DeleteMessage", deleted, "ReceiptHandleIsInvalid", &why).await;
        let changed = json!({ "QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 1 });
        world.refused("ChangeMessageVisibility", changed, "ReceiptHandleIsInvalid", &why).await;
    }
    let why = "The request must contain the parameter ReceiptHandle.";
    world.refused("DeleteMessage", json!({ "QueueUrl": url }), "MissingParameter", why).await;
}

async fn a_standard_queue_takes_groups_and_no_deduplication(world: &World) {
    let url = world.queue("q").await;
    for body in ["a", "b"] {
        let sent = json!({ "QueueUrl": url, "MessageBody": body, "MessageGroupId": "tenant" });
        world.ok("SendMessage", sent).await;
    }
    let first = world.receive_with(&url, json!({ "AttributeNames": ["MessageGroupId"] })).await;
    assert_eq!(first[0]["Attributes"], json!({ "MessageGroupId": "tenant" }));
    assert_eq!(world.receive(&url).await.len(), 1, "a group holds nothing up here");
    let why = "Value d for parameter MessageDeduplicationId is invalid. Reason: The request include \
               parameter that is not valid for this queue type.";
    let sent = json!({ "QueueUrl": url, "MessageBody": "x", "MessageDeduplicationId": "d" });
    world.refused("SendMessage", sent, "InvalidParameterValue", why).await;
}

async fn tasks_and_messages_are_read_by_each_other(world: &World) {
    let url = world.queue("mail").await;
    let name = QueueName::new("mail").unwrap();
    let task = NewTask::new("welcome", "{\"user\":42}").header("tenant", "acme");
    let id = task.id;
    world.broker.enqueue_one(&name, task).await.unwrap();
    let received = world.receive_with(&url, json!({ "MessageAttributeNames": ["All"] })).await;
    assert_eq!(received[0]["Body"], "{\"user\":42}");
    assert_eq!(received[0]["MessageId"], id.to_string());
    let attribute = |value: &str| json!({ "DataType": "String", "StringValue": value });
    let expected = json!({ "tenant": attribute("acme"), "type": attribute("welcome") });
    assert_eq!(received[0]["MessageAttributes"], expected);
    let attributes = json!({ "type": attribute("goodbye"), "tenant": attribute("acme") });
    let sent = json!({ "QueueUrl": url, "MessageBody": "bye", "MessageAttributes": attributes });
    let sent = world.ok("SendMessage", sent).await;
    let receiver = world.broker.open(&name, &SessionOptions::default()).await.unwrap();
    let leases = receiver.receive(&ReceiveOptions::up_to(10)).await.unwrap();
    let [lease] = leases.as_slice() else { panic!("{leases:?}") };
    assert_eq!((lease.task.kind.as_str(), &lease.task.payload[..]), ("goodbye", &b"bye"[..]));
    assert_eq!(lease.task.headers["tenant"], "acme");
    assert_eq!(sent["MessageId"], lease.task.id.to_string());
}

async fn parameters_of_a_receive_are_checked(world: &World) {
    let url = world.queue("q").await;
    for (name, value, why) in [
        ("MaxNumberOfMessages", 0, "Must be between 1 and 10, if provided."),
        ("MaxNumberOfMessages", 11, "Must be between 1 and 10, if provided."),
        ("WaitTimeSeconds", 21, "Must be >= 0 and <= 20, if provided."),
        ("WaitTimeSeconds", -1, "Must be >= 0 and <= 20, if provided."),
        ("VisibilityTimeout", 43_201, "Must be between 0 and 43200, if provided."),
    ] {
        let why = format!("Value {value} for parameter {name} is invalid. Reason: {why}");
        let asked = json!({ "QueueUrl": url, name: value });
        world.refused("ReceiveMessage", asked, "InvalidParameterValue", &why).await;
    }
}
