use serde_json::json;
use tidegate_core::QueueName;
use tidegate_server::sqs::Options;

use crate::world::{World, text};
use crate::{Case, cases, cases_with};

pub(crate) fn all() -> Vec<Case> {
    let mut all = cases![
        a_queue_is_made_found_listed_and_deleted,
        making_a_queue_again_compares_what_is_given,
        names_at_their_edges,
        lists_have_pages,
        accounts_and_regions_stand_apart,
        a_queue_that_is_gone_is_refused_by_every_action,
        tags_are_set_listed_and_taken_away,
        permissions_edit_the_policy,
        a_purge_drops_everything,
        two_servers_over_one_broker_say_the_same,
        without_the_rules_a_queue_can_be_made_and_purged_again_at_once,
    ];
    all.extend(cases_with!(
        || Options { sixty_second_rules: true, ..Options::default() },
        with_the_rules_a_minute_must_pass,
    ));
    all
}

async fn a_queue_is_made_found_listed_and_deleted(world: &World) {
    let url = world.queue("mail").await;
    assert_eq!(url, format!("http://{}/000000000000/mail", world.client.address));
    let found = world.ok("GetQueueUrl", json!({ "QueueName": "mail" })).await;
    assert_eq!(found["QueueUrl"], url.as_str());
    let listed = world.ok("ListQueues", json!({})).await;
    assert_eq!(listed, json!({ "QueueUrls": [url] }));
    assert_eq!(world.ok("ListQueues", json!({ "QueueNamePrefix": "x" })).await, json!({}));
    world.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(world.ok("ListQueues", json!({})).await, json!({}));
}

async fn making_a_queue_again_compares_what_is_given(world: &World) {
    let url = world.queue_with("q", json!({ "DelaySeconds": "1" })).await;
    assert_eq!(world.queue_with("q", json!({ "DelaySeconds": "1" })).await, url);
    assert_eq!(world.queue("q").await, url);
    let other = json!({ "QueueName": "q", "Attributes": { "DelaySeconds": "2" } });
    let why = "A queue already exists with the same name and a different value for attribute DelaySeconds";
    world.refused("CreateQueue", other, "QueueAlreadyExists", why).await;
    world.set(&url, "DelaySeconds", "2").await;
    assert_eq!(world.queue_with("q", json!({ "DelaySeconds": "2" })).await, url);
}

async fn names_at_their_edges(world: &World) {
    for name in ["a", "A-b_1", &"x".repeat(80)] {
        world.queue(name).await;
    }
    let why =
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
    for name in ["a.b", "a b", "é", "q.fifo", &"x".repeat(81)] {
        world
            .refused("CreateQueue", json!({ "QueueName": name }), "InvalidParameterValue", why)
            .await;
    }
    let fifo = json!({ "QueueName": "q", "Attributes": { "FifoQueue": "true" } });
    let why = "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, \
               must end with .fifo suffix and be 1 to 80 in length.";
    world.refused("CreateQueue", fifo, "InvalidParameterValue", why).await;
    let why = "The request must contain the parameter QueueName.";
    world.refused("CreateQueue", json!({}), "MissingParameter", why).await;
}

async fn lists_have_pages(world: &World) {
    for n in 0..5 {
        world.queue(&format!("q{n}")).await;
    }
    let first = world.ok("ListQueues", json!({ "MaxResults": 3 })).await;
    assert_eq!(first["QueueUrls"].as_array().unwrap().len(), 3);
    let next = json!({ "MaxResults": 3, "NextToken": first["NextToken"] });
    let second = world.ok("ListQueues", next).await;
    assert_eq!(second["QueueUrls"].as_array().unwrap().len(), 2);
    assert!(second.get("NextToken").is_none());
    let why = "Value 0 for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 \
               and 1000.";
    world.refused("ListQueues", json!({ "MaxResults": 0 }), "InvalidParameterValue", why).await;
}

async fn accounts_and_regions_stand_apart(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "ours").await;
    let other = world.client.another().whose("111122223333", "eu-west-1");
    assert_eq!(other.ask("ListQueues", &json!({})).await.unwrap(), json!({}));
    let made = other.ask("CreateQueue", &json!({ "QueueName": "q" })).await.unwrap();
    let theirs = text(&made["QueueUrl"]);
    assert!(theirs.ends_with("/111122223333/q"), "{theirs}");
    let received = other.ask("ReceiveMessage", &json!({ "QueueUrl": theirs })).await.unwrap();
    assert_eq!(received, json!({}));
    let names = world.broker.inspect().unwrap().queues().await.unwrap();
    let names: Vec<&str> = names.iter().map(QueueName::as_str).collect();
    assert_eq!(names, ["aws.111122223333.eu-west-1.q", "q"]);
    let asked = json!({ "QueueUrl": theirs, "AttributeNames": ["QueueArn"] });
    let arn = other.ask("GetQueueAttributes", &asked).await.unwrap();
    assert_eq!(arn["Attributes"]["QueueArn"], "arn:aws:sqs:eu-west-1:111122223333:q");
    // The address says the account, whoever asks.
    let region = world.client.another().whose("test", "eu-west-1");
    region.ask("SendMessage", &json!({ "QueueUrl": theirs, "MessageBody": "x" })).await.unwrap();
    assert_eq!(world.one(&url).await["Body"], "ours");
}

async fn a_queue_that_is_gone_is_refused_by_every_action(world: &World) {
    let url = world.queue("gone").await;
    world.send(&url, "x").await;
    let handle = world.one(&url).await["ReceiptHandle"].clone();
    world.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    let entry = |members: serde_json::Value| {
        let mut entry = members;
        entry["Id"] = "a".into();
        json!({ "QueueUrl": url, "Entries": [entry] })
    };
    let visible = json!({ "ReceiptHandle": handle, "VisibilityTimeout": 1 });
    for (action, members) in [
        ("SendMessage", json!({ "QueueUrl": url, "MessageBody": "x" })),
        ("SendMessageBatch", entry(json!({ "MessageBody": "x" }))),
        ("ReceiveMessage", json!({ "QueueUrl": url })),
        ("DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": handle })),
        ("DeleteMessageBatch", entry(json!({ "ReceiptHandle": handle }))),
        ("ChangeMessageVisibilityBatch", entry(visible)),
        ("GetQueueUrl", json!({ "QueueName": "gone" })),
        ("GetQueueAttributes", json!({ "QueueUrl": url })),
        ("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { "DelaySeconds": "1" } })),
        ("PurgeQueue", json!({ "QueueUrl": url })),
        ("DeleteQueue", json!({ "QueueUrl": url })),
        ("TagQueue", json!({ "QueueUrl": url, "Tags": { "a": "b" } })),
        ("UntagQueue", json!({ "QueueUrl": url, "TagKeys": ["a"] })),
        ("ListQueueTags", json!({ "QueueUrl": url })),
        ("ListDeadLetterSourceQueues", json!({ "QueueUrl": url })),
        ("RemovePermission", json!({ "QueueUrl": url, "Label": "a" })),
    ] {
        let failed = world.err(action, members).await;
        assert_eq!(failed.code, "AWS.SimpleQueueService.NonExistentQueue", "{action}");
        let why = match world.client.form {
            crate::client::Form::Json => "The specified queue does not exist.",
            crate::client::Form::Query => {
                "The specified queue does not exist for this wsdl version."
            }
        };
        assert_eq!((failed.status, failed.message.as_str()), (400, why), "{action}");
    }
}

async fn tags_are_set_listed_and_taken_away(world: &World) {
    let made = json!({ "QueueName": "q", "tags": { "a": "1" } });
    let url = text(&world.ok("CreateQueue", made).await["QueueUrl"]);
    world.ok("TagQueue", json!({ "QueueUrl": url, "Tags": { "b": "", "a": "2" } })).await;
    let listed = world.ok("ListQueueTags", json!({ "QueueUrl": url })).await;
    assert_eq!(listed["Tags"], json!({ "a": "2", "b": "" }));
    world.ok("UntagQueue", json!({ "QueueUrl": url, "TagKeys": ["a", "x"] })).await;
    let listed = world.ok("ListQueueTags", json!({ "QueueUrl": url })).await;
    assert_eq!(listed["Tags"], json!({ "b": "" }));
    let many: serde_json::Map<_, _> = (0..50).map(|n| (format!("t{n}"), "x".into())).collect();
    let failed = world.err("TagQueue", json!({ "QueueUrl": url, "Tags": many })).await;
    assert_eq!(failed.code, "InvalidParameterValue");
}

async fn permissions_edit_the_policy(world: &World) {
    let url = world.queue("q").await;
    let add = |label: &str, actions: serde_json::Value| json!({ "QueueUrl": url, "Label": label, "AWSAccountIds": ["111122223333"], "Actions": actions });
    world.ok("AddPermission", add("a", json!(["SendMessage"]))).await;
    world.ok("AddPermission", add("b", json!(["SendMessage", "ReceiveMessage"]))).await;
    let policy = world.attribute(&url, "Policy").await;
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    let arn = "arn:aws:sqs:us-east-1:000000000000:q";
    let statement = json!({
        "Sid": "a", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
        "Action": "SQS:SendMessage", "Resource": arn,
    });
    assert_eq!(policy["Statement"][0], statement);
    assert_eq!(policy["Statement"][1]["Action"], json!(["SQS:SendMessage", "SQS:ReceiveMessage"]));
    let why = "Value a for parameter Label is invalid. Reason: Already exists.";
    world.refused("AddPermission", add("a", json!(["*"])), "InvalidParameterValue", why).await;
    let failed =
        world.err("AddPermission", add("c", json!(["*", "*", "*", "*", "*", "*", "*", "*"]))).await;
    assert_eq!((failed.status, failed.code.as_str()), (403, "OverLimit"));
    for label in ["a", "b"] {
        world.ok("RemovePermission", json!({ "QueueUrl": url, "Label": label })).await;
    }
    let all =
        world.ok("GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] })).await;
    assert!(all["Attributes"].get("Policy").is_none());
    let why =
        "Value a for parameter Label is invalid. Reason: can't find label on existing policy.";
    let gone = json!({ "QueueUrl": url, "Label": "a" });
    world.refused("RemovePermission", gone, "InvalidParameterValue", why).await;
}

async fn a_purge_drops_everything(world: &World) {
    let url = world.queue("q").await;
    for body in ["a", "b"] {
        world.send(&url, body).await;
    }
    let held = world.receive_with(&url, json!({ "MaxNumberOfMessages": 1 })).await;
    world
        .ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "c", "DelaySeconds": 9 }))
        .await;
    world.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    world.pass(60);
    assert!(world.receive(&url).await.is_empty());
    world.delete(&url, &held[0]).await;
}

async fn two_servers_over_one_broker_say_the_same(world: &World) {
    let (server, other) = world.beside().await;
    let url = world.queue_with("q", json!({ "DelaySeconds": "0" })).await;
    let at_other = url.replace(&world.client.address.to_string(), &other.address.to_string());
    other.ask("TagQueue", &json!({ "QueueUrl": at_other, "Tags": { "a": "b" } })).await.unwrap();
    let tags = world.ok("ListQueueTags", json!({ "QueueUrl": url })).await;
    assert_eq!(tags["Tags"], json!({ "a": "b" }));
    // A handle of one is good at the other.
    world.send(&url, "x").await;
    let received = world.one(&url).await;
    let members = json!({ "QueueUrl": at_other, "ReceiptHandle": received["ReceiptHandle"] });
    other.ask("DeleteMessage", &members).await.unwrap();
    world.pass(60);
    assert!(world.receive(&url).await.is_empty());
    // What one sets the other goes by within a second.
    let set = json!({ "QueueUrl": at_other, "Attributes": { "DelaySeconds": "5" } });
    other.ask("SetQueueAttributes", &set).await.unwrap();
    world.pass(1);
    world.send(&url, "late").await;
    assert!(world.receive(&url).await.is_empty());
    assert!(server.stop(crate::world::PATIENCE).await);
}

async fn without_the_rules_a_queue_can_be_made_and_purged_again_at_once(world: &World) {
    let url = world.queue("q").await;
    for _ in 0..2 {
        world.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    }
    world.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    world.queue("q").await;
    world.send(&url, "x").await;
    assert_eq!(world.one(&url).await["Body"], "x");
}

async fn with_the_rules_a_minute_must_pass(world: &World) {
    let url = world.queue("q").await;
    world.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    let failed = world.err("PurgeQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(failed.status, 403);
    assert_eq!(failed.code, "AWS.SimpleQueueService.PurgeQueueInProgress");
    assert_eq!(failed.message, "Only one PurgeQueue operation on q is allowed every 60 seconds.");
    world.pass(60);
    world.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    world.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    let why = "You must wait 60 seconds after deleting a queue before you can create another with the same \
               name.";
    let code = "AWS.SimpleQueueService.QueueDeletedRecently";
    world.refused("CreateQueue", json!({ "QueueName": "q" }), code, why).await;
    world.pass(60);
    world.queue("q").await;
}
