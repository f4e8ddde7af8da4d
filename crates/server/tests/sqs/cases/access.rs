//! What rights allow, from the request to the answer. Signatures are `tests/sigv4`'s.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Value, json};
use tidegate_core::{Access, Action, Pattern, Right, Timestamp};
use tidegate_server::auth::{Anybody, Gate, Identity, SignedFor};
use tidegate_server::sqs::{Failure, Options};

use crate::client::{Client, FORM};
use crate::world::World;
use crate::{Case, cases_with};

pub(crate) fn all() -> Vec<Case> {
    cases_with![
        options,
        a_producer_sends_and_a_consumer_receives,
        only_what_there_is_a_right_on_is_listed,
        a_dead_letter_queue_needs_a_right_too,
        both_queues_of_a_move_need_a_right,
        another_accounts_queues_are_out_of_reach,
        what_is_signed_for_sts_is_good_for_its_question_alone,
    ]
}

/// Believes who asks, and gives the rights that go with the name. `test` may do all.
#[derive(Debug)]
struct ByName;

impl Gate for ByName {
    fn identify(&self, parts: &Parts, body: &Bytes, now: Timestamp) -> Result<Identity, Failure> {
        let identity = Anybody.identify(parts, body, now)?;
        let name = identity.access_key.clone().unwrap_or_default();
        let (queues, actions): (&str, &[Action]) = match name.as_str() {
            "producer" => ("mail*", &[Action::Send]),
            "consumer" => ("mail*", &[Action::Receive, Action::Inspect]),
            "owner" => ("mail*", &Action::ALL),
            _ => ("*", &Action::ALL),
        };
        let right = Right { queues: Pattern::new(queues).unwrap(), actions: actions.to_vec() };
        let service = (name == "sts").then_some(SignedFor::Sts);
        Ok(Identity { access: Access::of(name, [right]), service, ..identity })
    }
}

fn options() -> Options {
    Options { gate: Arc::new(ByName), ..Options::default() }
}

fn of(world: &World, name: &str) -> Client {
    world.client.another().whose(name, "us-east-1")
}

async fn denied(client: &Client, action: &str, members: Value, told: &str) {
    let failed = client.ask(action, &members).await.unwrap_err();
    assert_eq!((failed.status, failed.code.as_str()), (403, "AccessDenied"), "{action} {members}");
    assert!(failed.message.contains(told), "{}", failed.message);
}

async fn a_producer_sends_and_a_consumer_receives(world: &World) {
    let url = world.queue("mail").await;
    let (producer, consumer) = (of(world, "producer"), of(world, "consumer"));
    let sent = json!({ "QueueUrl": url, "MessageBody": "x" });
    producer.ask("SendMessage", &sent).await.unwrap();
    let told = "user/producer is not authorized to perform: sqs:receivemessage on resource: \
                arn:aws:sqs:us-east-1:000000000000:mail";
    denied(&producer, "ReceiveMessage", json!({ "QueueUrl": url }), told).await;
    let got = consumer.ask("ReceiveMessage", &json!({ "QueueUrl": url })).await.unwrap();
    assert_eq!(got["Messages"][0]["Body"], "x");
    denied(&consumer, "SendMessage", sent, "sqs:sendmessage").await;
    denied(&consumer, "PurgeQueue", json!({ "QueueUrl": url }), "sqs:purgequeue").await;
    // Nobody learns from a denial which queues there are.
    let missing = url.replace("mail", "none");
    denied(&consumer, "ReceiveMessage", json!({ "QueueUrl": missing }), "sqs:receivemessage").await;
}

async fn only_what_there_is_a_right_on_is_listed(world: &World) {
    let dead = world.queue("mail-dead").await;
    let arn = "arn:aws:sqs:us-east-1:000000000000:mail-dead";
    let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 1 }).to_string();
    let mut urls = vec![dead.clone()];
    for name in ["mail", "orders"] {
        urls.push(world.queue_with(name, json!({ "RedrivePolicy": policy })).await);
    }
    let consumer = of(world, "consumer");
    let listed = consumer.ask("ListQueues", &json!({})).await.unwrap();
    assert_eq!(listed["QueueUrls"], json!([urls[1], dead]));
    let asked = json!({ "QueueUrl": dead });
    let sources = consumer.ask("ListDeadLetterSourceQueues", &asked).await.unwrap();
    assert_eq!(sources["queueUrls"], json!([urls[1]]));
    let producer = of(world, "producer");
    let found = producer.ask("GetQueueUrl", &json!({ "QueueName": "mail" })).await.unwrap();
    assert_eq!(found["QueueUrl"], urls[1].as_str());
    denied(&producer, "GetQueueUrl", json!({ "QueueName": "orders" }), "sqs:getqueueurl").await;
}

async fn a_dead_letter_queue_needs_a_right_too(world: &World) {
    let (url, _) = (world.queue("mail").await, world.queue("orders").await);
    let policy = |name: &str| {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
        let policy = json!({ "deadLetterTargetArn": arn, "maxReceiveCount": 1 });
        json!({ "RedrivePolicy": policy.to_string() })
    };
    let owner = of(world, "owner");
    let set = |name| json!({ "QueueUrl": url, "Attributes": policy(name) });
    denied(&owner, "SetQueueAttributes", set("orders"), ":orders because").await;
    let made = json!({ "QueueName": "mail-more", "Attributes": policy("orders") });
    denied(&owner, "CreateQueue", made, ":orders because").await;
    owner.ask("CreateQueue", &json!({ "QueueName": "mail-dead" })).await.unwrap();
    owner.ask("SetQueueAttributes", &set("mail-dead")).await.unwrap();
}

async fn both_queues_of_a_move_need_a_right(world: &World) {
    for name in ["mail", "orders"] {
        world.queue(name).await;
    }
    let arn = |name: &str| format!("arn:aws:sqs:us-east-1:000000000000:{name}");
    let owner = of(world, "owner");
    for (from, to) in [("mail", "orders"), ("orders", "mail")] {
        let moved = json!({ "SourceArn": arn(from), "DestinationArn": arn(to) });
        denied(&owner, "StartMessageMoveTask", moved, ":orders because").await;
    }
    denied(&owner, "ListMessageMoveTasks", json!({ "SourceArn": arn("orders") }), ":orders").await;
}

async fn another_accounts_queues_are_out_of_reach(world: &World) {
    let url = world.queue("mail").await;
    let other = of(world, "111122223333");
    let made = other.ask("CreateQueue", &json!({ "QueueName": "mail" })).await.unwrap();
    let theirs = made["QueueUrl"].as_str().unwrap().to_owned();
    let sent = |url: &str| json!({ "QueueUrl": url, "MessageBody": "x" });
    other.ask("SendMessage", &sent(&theirs)).await.unwrap();
    denied(&other, "SendMessage", sent(&url), "000000000000:mail").await;
    denied(&of(world, "test"), "SendMessage", sent(&theirs), "111122223333:mail").await;
}

async fn what_is_signed_for_sts_is_good_for_its_question_alone(world: &World) {
    let sts = of(world, "sts");
    let failed = sts.ask("ListQueues", &json!({})).await.unwrap_err();
    assert_eq!((failed.status, failed.code.as_str()), (403, "SignatureDoesNotMatch"));
    assert_eq!(failed.message, "Credential should be scoped to correct service: 'sqs'.");
    let asked = sts.send("POST", "/", &[FORM], b"Action=GetCallerIdentity").await;
    assert!(asked.body.contains("<Account>000000000000</Account>"), "{}", asked.body);
}
