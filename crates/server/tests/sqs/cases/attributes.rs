use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tidegate_core::{QueueName, QueueSpec};

use crate::world::World;
use crate::{Case, cases};

pub(crate) fn all() -> Vec<Case> {
    cases![
        all_of_a_standard_queue,
        all_of_a_fifo_queue,
        what_is_set_is_told_and_what_is_emptied_is_not,
        wrong_values_are_refused,
        counters_count,
        a_queue_of_ours_has_attributes_too,
        dead_letter_queues_are_checked,
    ]
}

async fn names(world: &World, url: &str) -> BTreeMap<String, String> {
    let told =
        world.ok("GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] })).await;
    serde_json::from_value(told["Attributes"].clone()).unwrap()
}

const OF_ALL: [(&str, &str); 12] = [
    ("ApproximateNumberOfMessages", "0"),
    ("ApproximateNumberOfMessagesDelayed", "0"),
    ("ApproximateNumberOfMessagesNotVisible", "0"),
    ("CreatedTimestamp", "1767225600"),
    ("DelaySeconds", "0"),
    ("LastModifiedTimestamp", "1767225600"),
    ("MaximumMessageSize", "1048576"),
    ("MessageRetentionPeriod", "345600"),
    ("QueueArn", "arn:aws:sqs:us-east-1:000000000000:"),
    ("ReceiveMessageWaitTimeSeconds", "0"),
    ("SqsManagedSseEnabled", "true"),
    ("VisibilityTimeout", "30"),
];

fn expected(name: &str) -> BTreeMap<String, String> {
    let mut expected: BTreeMap<String, String> =
        OF_ALL.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    expected.get_mut("QueueArn").unwrap().push_str(name);
    expected
}

async fn all_of_a_standard_queue(world: &World) {
    let url = world.queue("q").await;
    assert_eq!(names(world, &url).await, expected("q"));
    assert_eq!(world.ok("GetQueueAttributes", json!({ "QueueUrl": url })).await, json!({}));
}

async fn all_of_a_fifo_queue(world: &World) {
    let url = world.queue("q.fifo").await;
    let mut expected = expected("q.fifo");
    for (name, value) in [
        ("FifoQueue", "true"),
        ("ContentBasedDeduplication", "false"),
        ("DeduplicationScope", "queue"),
        ("FifoThroughputLimit", "perQueue"),
    ] {
        expected.insert(name.into(), value.into());
    }
    assert_eq!(names(world, &url).await, expected);
}

async fn what_is_set_is_told_and_what_is_emptied_is_not(world: &World) {
    let url = world.queue("q").await;
    world.pass(5);
    for (name, value) in [
        ("DelaySeconds", "900"),
        ("MaximumMessageSize", "1024"),
        ("MessageRetentionPeriod", "1209600"),
        ("ReceiveMessageWaitTimeSeconds", "20"),
        ("VisibilityTimeout", "43200"),
        ("Policy", "{\"Version\":\"2012-10-17\"}"),
        ("RedriveAllowPolicy", "{\"redrivePermission\":\"denyAll\"}"),
        ("KmsMasterKeyId", "alias/aws/sqs"),
        ("KmsDataKeyReusePeriodSeconds", "60"),
    ] {
        world.set(&url, name, value).await;
        assert_eq!(world.attribute(&url, name).await, value, "{name}");
    }
    assert_eq!(world.attribute(&url, "LastModifiedTimestamp").await, "1767225605");
    assert_eq!(world.attribute(&url, "CreatedTimestamp").await, "1767225600");
    for name in ["Policy", "RedriveAllowPolicy", "KmsMasterKeyId"] {
        world.set(&url, name, "").await;
        assert!(!names(world, &url).await.contains_key(name), "{name}");
    }
}

async fn wrong_values_are_refused(world: &World) {
    let url = world.queue("q").await;
    let set = |name: &str, value: &str| json!({ "QueueUrl": url, "Attributes": { name: value } });
    let why = "Invalid value for the parameter VisibilityTimeout.";
    let wrong = set("VisibilityTimeout", "43201");
    world.refused("SetQueueAttributes", wrong, "InvalidAttributeValue", why).await;
    let why = "Unknown Attribute Nothing.";
    world.refused("SetQueueAttributes", set("Nothing", "1"), "InvalidAttributeName", why).await;
    let asked = json!({ "QueueUrl": url, "AttributeNames": ["Nothing"] });
    world.refused("GetQueueAttributes", asked, "InvalidAttributeName", why).await;
    let why = "Unknown Attribute FifoQueue.";
    world
        .refused("SetQueueAttributes", set("FifoQueue", "true"), "InvalidAttributeName", why)
        .await;
    let why = "You can specify the DeduplicationScope only when FifoQueue is set to true.";
    let scope = set("DeduplicationScope", "queue");
    world.refused("SetQueueAttributes", scope, "InvalidAttributeValue", why).await;
    assert_eq!(names(world, &url).await, expected("q"), "nothing was set");
}

async fn counters_count(world: &World) {
    let url = world.queue("q").await;
    for body in ["a", "b", "c"] {
        world.send(&url, body).await;
    }
    world
        .ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "d", "DelaySeconds": 9 }))
        .await;
    world.receive_with(&url, json!({ "MaxNumberOfMessages": 1 })).await;
    let all = names(world, &url).await;
    assert_eq!(all["ApproximateNumberOfMessages"], "2");
    assert_eq!(all["ApproximateNumberOfMessagesNotVisible"], "1");
    assert_eq!(all["ApproximateNumberOfMessagesDelayed"], "1");
}

async fn a_queue_of_ours_has_attributes_too(world: &World) {
    let name = QueueName::new("ours").unwrap();
    let mut spec = QueueSpec::new(name.clone());
    spec.dead_letters.queue = QueueName::new("dead").ok();
    world.broker.declare(&spec).await.unwrap();
    let url = world.queue("ours").await;
    let all = names(world, &url).await;
    assert_eq!(all["VisibilityTimeout"], "30");
    assert_eq!(all["MaximumMessageSize"], (262_144 - 256).to_string());
    let redrive = "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\",\"maxReceiveCount\":5}";
    assert_eq!(all["RedrivePolicy"], redrive);
    world.set(&url, "DelaySeconds", "1").await;
    let spec = world.broker.inspect().unwrap().spec(&name).await.unwrap();
    assert_eq!((spec.retry.max_attempts, spec.lease), (5, Duration::from_secs(30)));
    let changed = QueueSpec { lease: Duration::from_secs(7), ..spec };
    world.broker.update(&changed).await.unwrap();
    assert_eq!(world.attribute(&url, "VisibilityTimeout").await, "7");
}

async fn dead_letter_queues_are_checked(world: &World) {
    let url = world.queue("q").await;
    world.queue("dead.fifo").await;
    let dead = world.queue("dead").await;
    let arn = "arn:aws:sqs:us-east-1:000000000000:";
    let policy =
        |name: &str| format!("{{\"deadLetterTargetArn\":\"{arn}{name}\",\"maxReceiveCount\":3}}");
    let set = |policy: &str| json!({ "QueueUrl": url, "Attributes": { "RedrivePolicy": policy } });
    for (name, reason) in [
        ("nowhere", "Dead letter target does not exist."),
        ("dead.fifo", "Dead-letter queue must be same type of queue as the source."),
        ("q", "A queue cannot be its own dead-letter queue."),
    ] {
        let policy = policy(name);
        let why =
            format!("Value {policy} for parameter RedrivePolicy is invalid. Reason: {reason}");
        world.refused("SetQueueAttributes", set(&policy), "InvalidParameterValue", &why).await;
    }
    world.set(&dead, "RedriveAllowPolicy", "{\"redrivePermission\":\"denyAll\"}").await;
    assert!(
        world
            .err("SetQueueAttributes", set(&policy("dead")))
            .await
            .message
            .contains("allow policy")
    );
    world.set(&dead, "RedriveAllowPolicy", "").await;
    world.set(&url, "RedrivePolicy", &policy("dead")).await;
    assert_eq!(world.attribute(&url, "RedrivePolicy").await, policy("dead"));
    let sources = world.ok("ListDeadLetterSourceQueues", json!({ "QueueUrl": dead })).await;
    assert_eq!(sources["queueUrls"], json!([url]));
}
