use serde_json::json;
use tidegate_server::sqs::Options;

use crate::world::{World, bodies};
use crate::{Case, cases, cases_with};

pub(crate) fn all() -> Vec<Case> {
    let mut all = cases![
        a_message_comes_back_when_its_time_is_over,
        a_receive_can_ask_for_its_own_time,
        a_change_counts_from_the_call_and_is_for_one_receive,
        zero_gives_a_message_back_at_once,
        twelve_hours_are_counted_from_the_receive,
        a_message_that_is_in_nobodys_hands_cannot_be_changed,
        an_old_handle_deletes_what_nobody_else_has,
        a_queue_without_a_timeout_hides_nothing,
    ];
    all.extend(cases_with!(
        || Options { in_flight_max: 20, ..Options::default() },
        no_more_messages_are_in_flight_than_may_be,
    ));
    all
}

async fn a_message_comes_back_when_its_time_is_over(world: &World) {
    let url = world.queue_with("q", json!({ "VisibilityTimeout": "5" })).await;
    world.send(&url, "x").await;
    world.one(&url).await;
    world.pass(4);
    assert!(world.receive(&url).await.is_empty());
    world.pass(1);
    let again = world.one(&url).await;
    assert_eq!(again["Attributes"]["ApproximateReceiveCount"], "2");
}

async fn a_receive_can_ask_for_its_own_time(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    let own = json!({ "VisibilityTimeout": 2 });
    assert_eq!(world.receive_with(&url, own).await.len(), 1);
    world.pass(2);
    assert_eq!(world.receive(&url).await.len(), 1);
    world.pass(2);
    assert!(world.receive(&url).await.is_empty(), "the queue's own time again");
}

async fn a_change_counts_from_the_call_and_is_for_one_receive(world: &World) {
    let url = world.queue_with("q", json!({ "VisibilityTimeout": "10" })).await;
    world.send(&url, "x").await;
    let message = world.one(&url).await;
    world.pass(9);
    world.change(&url, &message, 5).await.unwrap();
    world.pass(4);
    assert!(world.receive(&url).await.is_empty());
    world.pass(1);
    world.one(&url).await;
    world.pass(9);
    assert!(world.receive(&url).await.is_empty());
}

async fn zero_gives_a_message_back_at_once(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    let first = world.one(&url).await;
    world.change(&url, &first, 0).await.unwrap();
    let again = world.change(&url, &first, 0).await.unwrap_err();
    assert_eq!(again.code, "AWS.SimpleQueueService.MessageNotInflight");
    let second = world.one(&url).await;
    assert_eq!(second["Attributes"]["ApproximateReceiveCount"], "2");
    world.delete(&url, &second).await;
}

async fn twelve_hours_are_counted_from_the_receive(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    let message = world.receive_with(&url, json!({ "VisibilityTimeout": 43_200 })).await.remove(0);
    world.pass(100);
    world.change(&url, &message, 43_100).await.unwrap();
    let failed = world.change(&url, &message, 43_101).await.unwrap_err();
    assert_eq!(failed.code, "InvalidParameterValue");
    let why = "Value 43101 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for \
               the message is beyond the limit [43200 seconds]";
    assert_eq!(failed.message, why);
    let failed = world.change(&url, &message, 43_201).await.unwrap_err();
    assert!(failed.message.contains("Must be between 0 and 43200."), "{failed:?}");
}

async fn a_message_that_is_in_nobodys_hands_cannot_be_changed(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    let first = world.one(&url).await;
    world.pass(30);
    for seconds in [0, 10] {
        let failed = world.change(&url, &first, seconds).await.unwrap_err();
        assert_eq!(failed.code, "AWS.SimpleQueueService.MessageNotInflight", "{seconds}");
        assert_eq!(failed.status, 400);
    }
    let second = world.one(&url).await;
    world.delete(&url, &second).await;
    for message in [first, second] {
        let failed = world.change(&url, &message, 10).await.unwrap_err();
        assert_eq!(failed.code, "InvalidParameterValue");
        let why =
            "Reason: Message does not exist or is not available for visibility timeout change.";
        assert!(failed.message.ends_with(why), "{failed:?}");
    }
}

async fn an_old_handle_deletes_what_nobody_else_has(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    let first = world.one(&url).await;
    world.pass(30);
    let second = world.one(&url).await;
    world.delete(&url, &first).await;
    world.pass(30);
    assert_eq!(bodies(&world.receive(&url).await), ["x"], "another had it");
    world.pass(30);
    world.delete(&url, &second).await;
    world.pass(30);
    let third = world.receive(&url).await;
    assert_eq!(bodies(&third), ["x"], "another had had it");
    world.pass(30);
    world.delete(&url, &third[0]).await;
    assert!(world.receive(&url).await.is_empty(), "nobody had it");
}

async fn a_queue_without_a_timeout_hides_nothing(world: &World) {
    let url = world.queue_with("q", json!({ "VisibilityTimeout": "0" })).await;
    world.send(&url, "x").await;
    for count in 1..4 {
        let message = world.one(&url).await;
        assert_eq!(message["Attributes"]["ApproximateReceiveCount"], count.to_string());
        world.clock.advance(std::time::Duration::from_millis(1));
    }
}

async fn no_more_messages_are_in_flight_than_may_be(world: &World) {
    let (url, fifo) = (world.queue("q").await, world.queue("q.fifo").await);
    for n in 0..30 {
        world.send(&url, "x").await;
        world.send_to(&fifo, &format!("g{n}"), &format!("d{n}"), "x").await;
    }
    for _ in 0..2 {
        assert_eq!(world.receive(&url).await.len(), 10);
        assert_eq!(world.receive(&fifo).await.len(), 10);
    }
    let failed = world.err("ReceiveMessage", json!({ "QueueUrl": url })).await;
    assert_eq!((failed.status, failed.code.as_str()), (403, "OverLimit"));
    assert!(world.receive(&fifo).await.is_empty());
    world.pass(30);
    assert_eq!(world.receive(&url).await.len(), 10);
    assert_eq!(world.receive(&fifo).await.len(), 10);
}
