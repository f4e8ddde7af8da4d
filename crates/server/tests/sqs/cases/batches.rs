use serde_json::{Value, json};

use crate::world::{World, bodies};
use crate::{Case, cases};

pub(crate) fn all() -> Vec<Case> {
    cases![
        batches_do_what_single_actions_do,
        a_wrong_entry_fails_alone,
        batches_that_are_none_are_refused,
        a_batch_has_a_size_limit,
    ]
}

fn entries(count: usize, entry: impl Fn(usize) -> Value) -> Value {
    (0..count)
        .map(|n| {
            let mut entry = entry(n);
            if entry.get("Id").is_none() {
                entry["Id"] = format!("id{n}").into();
            }
            entry
        })
        .collect()
}

async fn batches_do_what_single_actions_do(world: &World) {
    let url = world.queue("q").await;
    let sent = entries(10, |n| json!({ "MessageBody": format!("b{n}") }));
    let sent = world.ok("SendMessageBatch", json!({ "QueueUrl": url, "Entries": sent })).await;
    assert_eq!(sent["Successful"].as_array().unwrap().len(), 10);
    assert!(sent.get("Failed").is_none());
    let received = world.receive(&url).await;
    assert_eq!(received.len(), 10);
    for entry in sent["Successful"].as_array().unwrap() {
        let message = received.iter().find(|it| it["MessageId"] == entry["MessageId"]).unwrap();
        assert_eq!(message["MD5OfBody"], entry["MD5OfMessageBody"]);
        assert_eq!(
            format!("b{}", &entry["Id"].as_str().unwrap()[2..]),
            message["Body"].as_str().unwrap()
        );
    }
    let handle = |n: usize| received[n]["ReceiptHandle"].clone();
    let back = entries(3, |n| json!({ "ReceiptHandle": handle(n), "VisibilityTimeout": 0 }));
    let back = json!({ "QueueUrl": url, "Entries": back });
    let changed = world.ok("ChangeMessageVisibilityBatch", back).await;
    assert_eq!(changed["Successful"], json!([{ "Id": "id0" }, { "Id": "id1" }, { "Id": "id2" }]));
    assert_eq!(world.receive(&url).await.len(), 3);
    let rest = entries(7, |n| json!({ "ReceiptHandle": handle(n + 3) }));
    let deleted = world.ok("DeleteMessageBatch", json!({ "QueueUrl": url, "Entries": rest })).await;
    assert_eq!(deleted["Successful"].as_array().unwrap().len(), 7);
    world.pass(60);
    assert_eq!(world.receive(&url).await.len(), 3);
}

async fn a_wrong_entry_fails_alone(world: &World) {
    let url = world.queue("q").await;
    let body = |n: usize| if n == 1 { "\0" } else { "x" };
    let sent = entries(3, |n| json!({ "MessageBody": body(n) }));
    let sent = world.ok("SendMessageBatch", json!({ "QueueUrl": url, "Entries": sent })).await;
    let ids: Vec<&Value> =
        sent["Successful"].as_array().unwrap().iter().map(|it| &it["Id"]).collect();
    assert_eq!(ids, ["id0", "id2"]);
    let failed = &sent["Failed"][0];
    assert_eq!((&failed["Id"], &failed["Code"]), (&"id1".into(), &"InvalidMessageContents".into()));
    assert_eq!(failed["SenderFault"], true);
    let received = world.receive(&url).await;
    let handle = |n: usize| match n {
        0 => json!("garbage"),
        n => received[n - 1]["ReceiptHandle"].clone(),
    };
    let deleted = entries(3, |n| json!({ "ReceiptHandle": handle(n) }));
    let deleted =
        world.ok("DeleteMessageBatch", json!({ "QueueUrl": url, "Entries": deleted })).await;
    assert_eq!(deleted["Successful"].as_array().unwrap().len(), 2);
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    world.set(&url, "MaximumMessageSize", "1024").await;
    let long = entries(2, |n| json!({ "MessageBody": "x".repeat(1_024 + n) }));
    let sent = world.ok("SendMessageBatch", json!({ "QueueUrl": url, "Entries": long })).await;
    let why = "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes.";
    assert_eq!(
        (&sent["Failed"][0]["Id"], &sent["Failed"][0]["Message"]),
        (&"id1".into(), &why.into())
    );
}

async fn batches_that_are_none_are_refused(world: &World) {
    let url = world.queue("q").await;
    let batch = |entries: Value| json!({ "QueueUrl": url, "Entries": entries });
    let code = |code: &str| format!("AWS.SimpleQueueService.{code}");
    let why = "There should be at least one SendMessageBatchRequestEntry in the request.";
    world.refused("SendMessageBatch", batch(json!([])), &code("EmptyBatchRequest"), why).await;
    let many = entries(11, |_| json!({ "MessageBody": "x" }));
    let why = "Maximum number of entries per request are 10. You have sent 11.";
    world
        .refused("SendMessageBatch", batch(many), &code("TooManyEntriesInBatchRequest"), why)
        .await;
    let twice = entries(2, |_| json!({ "MessageBody": "x", "Id": "a" }));
    let why = "Id a repeated.";
    world.refused("SendMessageBatch", batch(twice), &code("BatchEntryIdsNotDistinct"), why).await;
    let wrong = entries(1, |_| json!({ "MessageBody": "x", "Id": "a b" }));
    let why = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be \
               at most 80 letters long.";
    world.refused("SendMessageBatch", batch(wrong), &code("InvalidBatchEntryId"), why).await;
    assert!(bodies(&world.receive(&url).await).is_empty());
}

async fn a_batch_has_a_size_limit(world: &World) {
    let url = world.queue("q").await;
    let batch = |last: usize| {
        let bytes = |n: usize| if n == 3 { last } else { 1_048_576 / 4 };
        let entries = entries(4, |n| json!({ "MessageBody": "x".repeat(bytes(n)) }));
        json!({ "QueueUrl": url, "Entries": entries })
    };
    let why = "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.";
    let code = "AWS.SimpleQueueService.BatchRequestTooLong";
    world.refused("SendMessageBatch", batch(1_048_576 / 4 + 1), code, why).await;
    world.ok("SendMessageBatch", batch(1_048_576 / 4)).await;
    assert_eq!(world.receive(&url).await.len(), 4);
}
