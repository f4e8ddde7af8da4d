use serde_json::json;

use crate::world::{World, bodies};
use crate::{Case, cases};

pub(crate) fn all() -> Vec<Case> {
    cases![
        a_message_that_is_received_too_often_moves,
        a_message_that_is_given_back_too_often_moves,
        a_fifo_message_moves_with_its_group,
        without_a_policy_a_message_comes_back_for_ever,
        a_dead_letter_queue_can_be_deleted_and_made_again,
    ]
}

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";

fn policy(name: &str, count: u32) -> serde_json::Value {
    let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}{name}\",\"maxReceiveCount\":{count}}}");
    json!({ "RedrivePolicy": policy })
}

async fn a_message_that_is_received_too_often_moves(world: &World) {
    let dead = world.queue("dead").await;
    let url = world.queue_with("q", policy("dead", 2)).await;
    let attributes = json!({ "a": { "DataType": "String", "StringValue": "x" } });
    let sent = json!({ "QueueUrl": url, "MessageBody": "x", "MessageAttributes": attributes });
    let sent = world.ok("SendMessage", sent).await;
    for _ in 0..2 {
        world.one(&url).await;
        assert!(world.receive(&dead).await.is_empty());
        world.pass(30);
    }
    assert!(world.receive(&url).await.is_empty());
    let asked = json!({ "AttributeNames": ["All"], "MessageAttributeNames": ["All"] });
    let moved = world.receive_with(&dead, asked).await.remove(0);
    assert_eq!((&moved["MessageId"], &moved["Body"]), (&sent["MessageId"], &"x".into()));
    assert_eq!(moved["MessageAttributes"], attributes);
    assert_eq!(moved["Attributes"]["DeadLetterQueueSourceArn"], format!("{ARN}q"));
    assert_eq!(moved["Attributes"]["ApproximateReceiveCount"], "1");
}

async fn a_message_that_is_given_back_too_often_moves(world: &World) {
    let dead = world.queue("dead").await;
    let url = world.queue_with("q", policy("dead", 2)).await;
    world.send(&url, "x").await;
    for _ in 0..2 {
        let message = world.one(&url).await;
        world.change(&url, &message, 0).await.unwrap();
    }
    assert!(world.receive(&url).await.is_empty());
    assert_eq!(bodies(&world.receive(&dead).await), ["x"]);
}

async fn a_fifo_message_moves_with_its_group(world: &World) {
    let dead = world.queue("dead.fifo").await;
    let url = world.queue_with("q.fifo", policy("dead.fifo", 1)).await;
    for n in 0..3 {
        world.send_to(&url, "g", &format!("d{n}"), &format!("b{n}")).await;
    }
    world.receive_with(&url, json!({ "MaxNumberOfMessages": 2 })).await;
    world.pass(30);
    assert_eq!(bodies(&world.receive(&url).await), ["b2"]);
    let moved = world.receive(&dead).await;
    assert_eq!(bodies(&moved), ["b0", "b1"]);
    assert_eq!(moved[0]["Attributes"]["MessageGroupId"], "g");
    assert_eq!(moved[0]["Attributes"]["MessageDeduplicationId"], "d0");
}

async fn without_a_policy_a_message_comes_back_for_ever(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    for count in 1..30 {
        let message = world.one(&url).await;
        assert_eq!(message["Attributes"]["ApproximateReceiveCount"], count.to_string());
        world.pass(30);
    }
}

async fn a_dead_letter_queue_can_be_deleted_and_made_again(world: &World) {
    let dead = world.queue("dead").await;
    let url = world.queue_with("q", policy("dead", 1)).await;
    let told = world.attribute(&url, "RedrivePolicy").await;
    world.ok("DeleteQueue", json!({ "QueueUrl": dead })).await;
    assert_eq!(world.attribute(&url, "RedrivePolicy").await, told);
    world.send(&url, "x").await;
    world.one(&url).await;
    world.pass(30);
    let back = world.one(&url).await;
    assert_eq!(back["Body"], "x", "there is nowhere else");
    let dead = world.queue("dead").await;
    world.pass(30);
    assert!(world.receive(&url).await.is_empty());
    assert_eq!(bodies(&world.receive(&dead).await), ["x"]);
}
