use serde_json::json;

use crate::world::{World, bodies, text};
use crate::{Case, cases};

pub(crate) fn all() -> Vec<Case> {
    cases![
        order_is_kept_and_a_receive_takes_several_of_one_group,
        a_message_in_flight_holds_its_group,
        a_part_that_is_deleted_leaves_the_group_held,
        what_is_given_back_is_the_first_again,
        a_longer_hold_of_the_first_holds_the_rest,
        sequence_numbers_grow,
        a_batch_keeps_its_order,
        duplicates_are_accepted_and_not_delivered,
        content_is_a_deduplication_id,
        deduplication_can_be_per_group,
        a_purge_forgets_duplicates,
        parameters_are_checked,
        the_delay_of_the_queue_is_kept,
        an_expired_handle_is_refused,
        attempt_ids_are_checked,
        a_receive_that_is_made_again_has_the_same_messages,
        a_receive_whose_message_was_deleted_is_not_made_again,
    ]
}

async fn order_is_kept_and_a_receive_takes_several_of_one_group(world: &World) {
    let url = world.queue("q.fifo").await;
    for n in 0..4 {
        world.send_to(&url, "g", &format!("d{n}"), &format!("b{n}")).await;
    }
    let received = world.receive_with(&url, json!({ "MaxNumberOfMessages": 3 })).await;
    assert_eq!(bodies(&received), ["b0", "b1", "b2"]);
    assert!(world.receive(&url).await.is_empty());
    for message in &received {
        world.delete(&url, message).await;
    }
    let last = world.one(&url).await;
    assert_eq!(last["Body"], "b3");
    assert_eq!(last["Attributes"]["MessageGroupId"], "g");
    assert_eq!(last["Attributes"]["MessageDeduplicationId"], "d3");
}

async fn a_message_in_flight_holds_its_group(world: &World) {
    let url = world.queue("q.fifo").await;
    world.send_to(&url, "g", "1", "first").await;
    assert_eq!(bodies(&world.receive(&url).await), ["first"]);
    world.send_to(&url, "g", "2", "second").await;
    assert!(world.receive(&url).await.is_empty(), "a send lets nothing go");
    world.send_to(&url, "h", "3", "other").await;
    assert_eq!(bodies(&world.receive(&url).await), ["other"]);
    world.pass(30);
    assert_eq!(bodies(&world.receive_with(&url, json!({})).await), ["first"]);
}

async fn a_part_that_is_deleted_leaves_the_group_held(world: &World) {
    let url = world.queue("q.fifo").await;
    for n in 0..3 {
        world.send_to(&url, "g", &format!("d{n}"), &format!("b{n}")).await;
    }
    let received = world.receive_with(&url, json!({ "MaxNumberOfMessages": 2 })).await;
    world.delete(&url, &received[0]).await;
    assert!(world.receive(&url).await.is_empty());
    world.delete(&url, &received[1]).await;
    assert_eq!(bodies(&world.receive(&url).await), ["b2"]);
}

async fn what_is_given_back_is_the_first_again(world: &World) {
    let url = world.queue("q.fifo").await;
    for n in 0..3 {
        world.send_to(&url, "g", &format!("d{n}"), &format!("b{n}")).await;
    }
    let first = world.receive_with(&url, json!({})).await.remove(0);
    world.change(&url, &first, 0).await.unwrap();
    assert_eq!(bodies(&world.receive(&url).await), ["b0", "b1", "b2"]);
}

async fn a_longer_hold_of_the_first_holds_the_rest(world: &World) {
    let url = world.queue("q.fifo").await;
    for n in 0..3 {
        world.send_to(&url, "g", &format!("d{n}"), &format!("b{n}")).await;
    }
    let received = world.receive(&url).await;
    world.change(&url, &received[0], 100).await.unwrap();
    world.pass(31);
    assert!(world.receive(&url).await.is_empty());
    world.delete(&url, &received[0]).await;
    assert_eq!(bodies(&world.receive(&url).await), ["b1", "b2"]);
}

async fn sequence_numbers_grow(world: &World) {
    let url = world.queue("q.fifo").await;
    let first = text(&world.send_to(&url, "g", "1", "a").await["SequenceNumber"]);
    let second = text(&world.send_to(&url, "h", "2", "b").await["SequenceNumber"]);
    assert_eq!((first.len(), second.len()), (20, 20));
    assert!(first < second);
    let received = world.receive(&url).await;
    assert_eq!(received[0]["Attributes"]["SequenceNumber"], first.as_str());
}

async fn a_batch_keeps_its_order(world: &World) {
    let url = world.queue_with("q.fifo", json!({ "ContentBasedDeduplication": "true" })).await;
    let entries: Vec<_> = (0..10)
        .map(|n| json!({ "Id": format!("id{n}"), "MessageBody": format!("b{n}"), "MessageGroupId": "g" }))
        .collect();
    let sent = world.ok("SendMessageBatch", json!({ "QueueUrl": url, "Entries": entries })).await;
    let numbers: Vec<String> = sent["Successful"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| text(&it["SequenceNumber"]))
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let expected: Vec<String> = (0..10).map(|n| format!("b{n}")).collect();
    assert_eq!(bodies(&world.receive(&url).await), expected);
}

async fn duplicates_are_accepted_and_not_delivered(world: &World) {
    let url = world.queue("q.fifo").await;
    let first = world.send_to(&url, "g", "d", "a").await;
    let received = world.one(&url).await;
    world.delete(&url, &received).await;
    world.pass(299);
    let second = world.send_to(&url, "g", "d", "b").await;
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_eq!(second["SequenceNumber"], first["SequenceNumber"]);
    assert!(world.receive(&url).await.is_empty());
    world.pass(1);
    world.send_to(&url, "g", "d", "c").await;
    assert_eq!(bodies(&world.receive(&url).await), ["c"]);
}

async fn content_is_a_deduplication_id(world: &World) {
    let url = world.queue_with("q.fifo", json!({ "ContentBasedDeduplication": "true" })).await;
    let sent = json!({ "QueueUrl": url, "MessageBody": "hello", "MessageGroupId": "g" });
    let mut with_attributes = sent.clone();
    with_attributes["MessageAttributes"] =
        json!({ "a": { "DataType": "String", "StringValue": "x" } });
    world.ok("SendMessage", sent).await;
    world.ok("SendMessage", with_attributes).await;
    let one = world.one(&url).await;
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(one["Attributes"]["MessageDeduplicationId"], digest);
}

async fn deduplication_can_be_per_group(world: &World) {
    let per_group =
        json!({ "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId" });
    let url = world.queue_with("q.fifo", per_group).await;
    world.send_to(&url, "g", "d", "a").await;
    world.send_to(&url, "g", "d", "b").await;
    world.send_to(&url, "h", "d", "c").await;
    let received = world.receive(&url).await;
    assert_eq!(bodies(&received), ["a", "c"]);
    assert_eq!(received[1]["Attributes"]["MessageDeduplicationId"], "d");
}

async fn a_purge_forgets_duplicates(world: &World) {
    let url = world.queue("q.fifo").await;
    world.send_to(&url, "g", "d", "a").await;
    world.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    world.send_to(&url, "g", "d", "b").await;
    assert_eq!(bodies(&world.receive(&url).await), ["b"]);
}

async fn parameters_are_checked(world: &World) {
    let url = world.queue("q.fifo").await;
    let why = "The request must contain the parameter MessageGroupId.";
    let ungrouped = json!({ "QueueUrl": url, "MessageBody": "x", "MessageDeduplicationId": "d" });
    world.refused("SendMessage", ungrouped, "MissingParameter", why).await;
    let entry = json!({ "Id": "a", "MessageBody": "x", "MessageDeduplicationId": "d" });
    let sent = world.ok("SendMessageBatch", json!({ "QueueUrl": url, "Entries": [entry] })).await;
    let failed = &sent["Failed"][0];
    assert_eq!(
        (&failed["Code"], &failed["Message"]),
        (&"InvalidParameterValue".into(), &why.into())
    );
    let sent = |group: &str, id: &str, delay: u64| {
        let mut sent = json!({ "QueueUrl": url, "MessageBody": "x", "MessageGroupId": group, "DelaySeconds": delay });
        if !id.is_empty() {
            sent["MessageDeduplicationId"] = id.into();
        }
        sent
    };
    let why = "Value a b for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include \
               alphanumeric and punctuation characters. 1 to 128 in length.";
    world.refused("SendMessage", sent("a b", "d", 0), "InvalidParameterValue", why).await;
    let why = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId \
               provided explicitly";
    world.refused("SendMessage", sent("g", "", 0), "InvalidParameterValue", why).await;
    let why = "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is \
               not valid for this queue type.";
    world.refused("SendMessage", sent("g", "d", 2), "InvalidParameterValue", why).await;
    world.ok("SendMessage", sent("g", "d", 0)).await;
}

async fn the_delay_of_the_queue_is_kept(world: &World) {
    let url = world.queue_with("q.fifo", json!({ "DelaySeconds": "5" })).await;
    world.send_to(&url, "g", "1", "a").await;
    world.pass(2);
    world.send_to(&url, "g", "2", "b").await;
    assert!(world.receive(&url).await.is_empty());
    world.pass(2);
    assert!(world.receive(&url).await.is_empty());
    world.pass(1);
    let first = world.one(&url).await;
    assert_eq!(
        (&first["Body"], &first["Attributes"]["ApproximateReceiveCount"]),
        (&"a".into(), &"1".into())
    );
    world.delete(&url, &first).await;
    world.pass(2);
    assert_eq!(world.one(&url).await["Body"], "b");
}

async fn an_expired_handle_is_refused(world: &World) {
    let url = world.queue("q.fifo").await;
    world.send_to(&url, "g", "1", "a").await;
    let first = world.one(&url).await;
    world.change(&url, &first, 60).await.unwrap();
    world.pass(31);
    let second = world.receive(&url).await;
    assert!(second.is_empty());
    world.pass(29);
    let handle = &first["ReceiptHandle"];
    let why = format!(
        "Value {} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
        handle.as_str().unwrap()
    );
    let deleted = json!({ "QueueUrl": url, "ReceiptHandle": handle });
    world.refused("DeleteMessage", deleted, "InvalidParameterValue", &why).await;
    let again = world.one(&url).await;
    world.change(&url, &again, 60).await.unwrap();
    world.pass(31);
    world.delete(&url, &again).await;
    world.pass(60);
    assert!(
        world.receive(&url).await.is_empty(),
        "a handle that was given more time is good for longer"
    );
}

async fn attempt_ids_are_checked(world: &World) {
    let url = world.queue("q.fifo").await;
    world.ok("ReceiveMessage", json!({ "QueueUrl": url, "ReceiveRequestAttemptId": "a-1" })).await;
    let why = "Value a b for parameter ReceiveRequestAttemptId is invalid. Reason: ReceiveRequestAttemptId \
               can only include alphanumeric and punctuation characters. 1 to 128 in length.";
    let wrong = json!({ "QueueUrl": url, "ReceiveRequestAttemptId": "a b" });
    world.refused("ReceiveMessage", wrong, "InvalidParameterValue", why).await;
}

async fn a_receive_that_is_made_again_has_the_same_messages(world: &World) {
    let url = world.queue("q.fifo").await;
    for n in 0..3 {
        world.send_to(&url, "g", &format!("d{n}"), &format!("b{n}")).await;
    }
    let named = || {
        json!({
            "MaxNumberOfMessages": 2,
            "ReceiveRequestAttemptId": "lost-answer",
            "AttributeNames": ["All"],
        })
    };
    let lost = world.receive_with(&url, named()).await;
    assert_eq!(bodies(&lost), ["b0", "b1"]);
    world.pass(20);
    let again = world.receive_with(&url, named()).await;
    assert_eq!(bodies(&again), ["b0", "b1"]);
    assert_eq!(again[0]["Attributes"]["ApproximateReceiveCount"], "1", "it is the same receive");
    world.pass(20);
    assert!(world.receive(&url).await.is_empty(), "the visibility timeout began anew");
    for message in &again {
        world.delete(&url, message).await;
    }
    assert_eq!(world.one(&url).await["Body"], "b2");
}

async fn a_receive_whose_message_was_deleted_is_not_made_again(world: &World) {
    let url = world.queue("q.fifo").await;
    world.send_to(&url, "g", "d0", "b0").await;
    world.send_to(&url, "g", "d1", "b1").await;
    let named = || json!({ "ReceiveRequestAttemptId": "same" });
    let first = world.receive_with(&url, named()).await;
    world.delete(&url, &first[0]).await;
    assert_eq!(bodies(&world.receive_with(&url, named()).await), ["b1"]);
}
