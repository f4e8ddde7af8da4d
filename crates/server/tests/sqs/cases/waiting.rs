use std::time::Duration;

use serde_json::{Value, json};
use tidegate_server::sqs::Options;

use crate::client::Failed;
use crate::world::{PATIENCE, World, bodies, messages};
use crate::{Case, cases, cases_with};

pub(crate) fn all() -> Vec<Case> {
    let mut all = cases![
        a_long_poll_ends_at_the_first_message,
        a_long_poll_ends_when_a_delay_or_a_lease_does,
        a_long_poll_ends_when_its_time_is_over,
        a_long_poll_wants_no_more_than_there_is,
        a_long_poll_ends_when_its_queue_is_deleted,
        a_long_poll_is_answered_when_the_server_ends,
        the_wait_of_the_queue_counts_where_none_is_asked_for,
    ];
    all.extend(cases_with!(
        || Options { polls_per_key_max: 1, ..Options::default() },
        a_key_has_no_more_long_polls_than_it_may,
    ));
    all
}

/// A receive that waits, once the broker knows.
async fn waiting(world: &World, members: Value) -> tokio::task::JoinHandle<Result<Value, Failed>> {
    let client = world.client.another();
    let receive = tokio::spawn(async move { client.ask("ReceiveMessage", &members).await });
    let begins = async || world.clock.next_wake().is_some() || receive.is_finished();
    world.until("a receive waits", begins).await;
    receive
}

async fn a_long_poll_ends_at_the_first_message(world: &World) {
    let url = world.queue("q").await;
    let receive = waiting(world, json!({ "QueueUrl": url, "WaitTimeSeconds": 20 })).await;
    world.send(&url, "x").await;
    assert_eq!(bodies(&messages(&receive.await.unwrap().unwrap())), ["x"]);
}

async fn a_long_poll_ends_when_a_delay_or_a_lease_does(world: &World) {
    let url = world.queue("q").await;
    let delayed = json!({ "QueueUrl": url, "MessageBody": "x", "DelaySeconds": 5 });
    world.ok("SendMessage", delayed).await;
    let poll = json!({ "QueueUrl": url, "WaitTimeSeconds": 20, "VisibilityTimeout": 5 });
    for _ in 0..2 {
        let receive = waiting(world, poll.clone()).await;
        world.pass(5);
        assert_eq!(bodies(&messages(&receive.await.unwrap().unwrap())), ["x"]);
    }
}

async fn a_long_poll_ends_when_its_time_is_over(world: &World) {
    let url = world.queue("q").await;
    let receive = waiting(world, json!({ "QueueUrl": url, "WaitTimeSeconds": 20 })).await;
    world.pass(19);
    assert!(!receive.is_finished());
    world
        .until("the time passes", async || {
            world.clock.advance(Duration::from_millis(100));
            receive.is_finished()
        })
        .await;
    assert_eq!(receive.await.unwrap().unwrap(), json!({}));
}

async fn a_long_poll_wants_no_more_than_there_is(world: &World) {
    let url = world.queue("q").await;
    world.send(&url, "x").await;
    let poll = json!({ "QueueUrl": url, "WaitTimeSeconds": 20, "MaxNumberOfMessages": 10 });
    // The clock stands still: a wait for more would never end.
    let received = world.ok("ReceiveMessage", poll).await;
    assert_eq!(bodies(&messages(&received)), ["x"]);
}

async fn a_long_poll_ends_when_its_queue_is_deleted(world: &World) {
    let url = world.queue("q").await;
    let receive = waiting(world, json!({ "QueueUrl": url, "WaitTimeSeconds": 20 })).await;
    world.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    let failed = receive.await.unwrap().unwrap_err();
    assert_eq!(failed.code, "AWS.SimpleQueueService.NonExistentQueue");
}

async fn a_long_poll_is_answered_when_the_server_ends(world: &World) {
    let (server, other) = world.beside().await;
    let url = world.queue("q").await;
    let poll = json!({ "QueueUrl": url, "WaitTimeSeconds": 20 });
    let receive = tokio::spawn(async move { other.ask("ReceiveMessage", &poll).await });
    world.until("a receive waits", async || world.clock.next_wake().is_some()).await;
    assert!(server.stop(PATIENCE).await, "all was answered");
    assert_eq!(receive.await.unwrap().unwrap(), json!({}));
}

async fn the_wait_of_the_queue_counts_where_none_is_asked_for(world: &World) {
    let url = world.queue_with("q", json!({ "ReceiveMessageWaitTimeSeconds": "20" })).await;
    let at_once = json!({ "QueueUrl": url, "WaitTimeSeconds": 0 });
    assert_eq!(world.ok("ReceiveMessage", at_once).await, json!({}));
    let receive = waiting(world, json!({ "QueueUrl": url })).await;
    world.send(&url, "x").await;
    assert_eq!(bodies(&messages(&receive.await.unwrap().unwrap())), ["x"]);
}

async fn a_key_has_no_more_long_polls_than_it_may(world: &World) {
    let url = world.queue("q").await;
    let poll = json!({ "QueueUrl": url, "WaitTimeSeconds": 20 });
    let receive = waiting(world, poll.clone()).await;
    let failed = world.err("ReceiveMessage", poll.clone()).await;
    assert_eq!((failed.status, &*failed.code), (403, "RequestThrottled"));
    assert_eq!(
        world.receive(&url).await,
        Vec::<Value>::new(),
        "one that does not wait needs no place"
    );
    world.send(&url, "x").await;
    assert_eq!(bodies(&messages(&receive.await.unwrap().unwrap())), ["x"]);
    world.send(&url, "y").await;
    assert_eq!(bodies(&messages(&world.ok("ReceiveMessage", poll).await)), ["y"]);
}
