use serde_json::{Value, json};

use crate::world::{World, bodies, text};
use crate::{Case, cases};

pub(crate) fn all() -> Vec<Case> {
    cases![
        messages_go_back_where_they_came_from,
        messages_go_to_a_destination_in_order,
        what_came_from_nowhere_fails_the_move,
        a_slow_move_is_one_at_a_time_and_can_be_cancelled,
        another_server_goes_on_with_a_move_that_was_left,
        a_move_whose_server_was_killed_is_taken_over_after_its_silence,
        moves_are_checked,
    ]
}

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// A queue, its dead-letter queue, and so many messages in that.
async fn dead(world: &World, fifo: &str, count: usize) -> (String, String) {
    let dead = world.queue(&format!("dead{fifo}")).await;
    let policy = format!("{{\"deadLetterTargetArn\":\"{ARN}dead{fifo}\",\"maxReceiveCount\":1}}");
    let url = world.queue_with(&format!("q{fifo}"), json!({ "RedrivePolicy": policy })).await;
    for n in 0..count {
        let body = format!("b{n}");
        match fifo {
            "" => world.send(&url, &body).await,
            _ => world.send_to(&url, "g", &body, &body).await,
        };
    }
    let mut left = count;
    while left > 0 {
        left -= world.receive(&url).await.len();
        world.pass(30);
        assert!(left < count);
    }
    (url, dead)
}

async fn newest(world: &World) -> Value {
    let fifo = world.ok("ListQueues", json!({ "QueueNamePrefix": "dead.fifo" })).await;
    let name = if fifo.get("QueueUrls").is_some() { "dead.fifo" } else { "dead" };
    world.ok("ListMessageMoveTasks", json!({ "SourceArn": format!("{ARN}{name}") })).await["Results"][0].clone()
}

async fn ended(world: &World) -> Value {
    world.until("the move ends", async || newest(world).await["Status"] != "RUNNING").await;
    newest(world).await
}

async fn messages_go_back_where_they_came_from(world: &World) {
    let (url, dead) = dead(world, "", 12).await;
    let moved =
        world.ok("StartMessageMoveTask", json!({ "SourceArn": format!("{ARN}dead") })).await;
    assert!(!text(&moved["TaskHandle"]).is_empty());
    let ended = ended(world).await;
    assert_eq!(ended["Status"], "COMPLETED");
    assert_eq!(ended["ApproximateNumberOfMessagesMoved"], 12);
    assert_eq!(ended["ApproximateNumberOfMessagesToMove"], 12);
    assert!(ended.get("TaskHandle").is_none() && ended.get("DestinationArn").is_none(), "{ended}");
    assert!(world.receive(&dead).await.is_empty());
    let first = world.receive(&url).await;
    assert_eq!(first.len(), 10);
    assert_eq!(first[0]["Attributes"]["ApproximateReceiveCount"], "1");
    assert!(first[0]["Attributes"].get("DeadLetterQueueSourceArn").is_none());
}

async fn messages_go_to_a_destination_in_order(world: &World) {
    let (_, dead) = dead(world, ".fifo", 5).await;
    let other = world.queue("other.fifo").await;
    let destination = format!("{ARN}other.fifo");
    let start = json!({ "SourceArn": format!("{ARN}dead.fifo"), "DestinationArn": destination });
    world.ok("StartMessageMoveTask", start).await;
    let ended = ended(world).await;
    assert_eq!(
        (&ended["Status"], &ended["DestinationArn"]),
        (&"COMPLETED".into(), &destination.into())
    );
    assert_eq!(bodies(&world.receive(&other).await), ["b0", "b1", "b2", "b3", "b4"]);
    assert!(world.receive(&dead).await.is_empty());
}

async fn what_came_from_nowhere_fails_the_move(world: &World) {
    let (_, dead) = dead(world, "", 1).await;
    world.send(&dead, "from nowhere").await;
    world.ok("StartMessageMoveTask", json!({ "SourceArn": format!("{ARN}dead") })).await;
    let ended = ended(world).await;
    assert_eq!(ended["Status"], "FAILED");
    assert_eq!(ended["FailureReason"], "CouldNotDetermineMessageSource");
    assert_eq!(bodies(&world.receive(&dead).await), ["from nowhere"]);
}

async fn a_slow_move_is_one_at_a_time_and_can_be_cancelled(world: &World) {
    let (url, _) = dead(world, "", 3).await;
    let start = json!({ "SourceArn": format!("{ARN}dead"), "MaxNumberOfMessagesPerSecond": 1 });
    let handle = world.ok("StartMessageMoveTask", start.clone()).await["TaskHandle"].clone();
    let why = "There is already a task running. Only one active task is allowed for a source queue arn at a \
               given time.";
    let code = "AWS.SimpleQueueService.UnsupportedOperation";
    world.refused("StartMessageMoveTask", start, code, why).await;
    let running = newest(world).await;
    assert_eq!((&running["Status"], &running["TaskHandle"]), (&"RUNNING".into(), &handle));
    assert_eq!(running["MaxNumberOfMessagesPerSecond"], 1);
    // One message moves, and the clock stands still after it.
    world
        .until("one is moved", async || {
            world.attribute(&url, "ApproximateNumberOfMessages").await == "1"
        })
        .await;
    world.ok("CancelMessageMoveTask", json!({ "TaskHandle": handle })).await;
    assert!(["CANCELLING", "CANCELLED"].contains(&newest(world).await["Status"].as_str().unwrap()));
    world
        .until("it is cancelled", async || {
            world.clock.advance(std::time::Duration::from_millis(100));
            newest(world).await["Status"] == "CANCELLED"
        })
        .await;
    assert_eq!(newest(world).await["ApproximateNumberOfMessagesMoved"], 1);
    let failed = world.err("CancelMessageMoveTask", json!({ "TaskHandle": handle })).await;
    assert_eq!(failed.code, code);
}

async fn another_server_goes_on_with_a_move_that_was_left(world: &World) {
    let (url, _) = dead(world, "", 3).await;
    let (server, other) = world.beside().await;
    let start = json!({ "SourceArn": format!("{ARN}dead"), "MaxNumberOfMessagesPerSecond": 1 });
    other.ask("StartMessageMoveTask", &start).await.unwrap();
    world
        .until("one is moved", async || {
            world.attribute(&url, "ApproximateNumberOfMessages").await == "1"
        })
        .await;
    assert!(server.stop(crate::world::PATIENCE).await);
    // Sooner than one whose server was killed: time passes for the pace alone.
    world
        .until("it is taken over", async || {
            world.clock.advance(std::time::Duration::from_millis(1));
            newest(world).await["Status"] == "COMPLETED"
        })
        .await;
    assert_eq!(newest(world).await["ApproximateNumberOfMessagesMoved"], 3);
}

async fn a_move_whose_server_was_killed_is_taken_over_after_its_silence(world: &World) {
    let (url, dead) = dead(world, "", 2).await;
    // As a server leaves it that is killed while it moves.
    let name = tidegate_core::QueueName::new("dead").unwrap();
    let mut spec = world.broker.inspect().unwrap().spec(&name).await.unwrap();
    let now = tidegate_core::Clock::now(&world.clock).as_millis();
    let left = json!([{
        "id": "left", "destination": null, "rate": null, "status": "RUNNING", "moved": 1, "to_move": 3,
        "started": now, "beat": now, "failure": null,
    }]);
    spec.labels.insert("sqs.moves".into(), left.to_string());
    world.broker.update(&spec).await.unwrap();
    world.pass(29);
    assert_eq!(newest(world).await["ApproximateNumberOfMessagesMoved"], 1);
    assert_eq!(world.attribute(&dead, "ApproximateNumberOfMessages").await, "2");
    world.pass(1);
    let ended = ended(world).await;
    assert_eq!(ended["Status"], "COMPLETED");
    assert_eq!(ended["ApproximateNumberOfMessagesMoved"], 3);
    assert_eq!(world.receive(&url).await.len(), 2);
}

async fn moves_are_checked(world: &World) {
    world.queue("q").await;
    let why = "Source queue must be configured as a Dead Letter Queue.";
    let start = json!({ "SourceArn": format!("{ARN}q") });
    world.refused("StartMessageMoveTask", start, "InvalidParameterValue", why).await;
    let gone = json!({ "SourceArn": format!("{ARN}gone") });
    let failed = world.err("StartMessageMoveTask", gone).await;
    assert_eq!((failed.status, failed.code.as_str()), (404, "ResourceNotFoundException"));
    let why = "The resource that you specified for the SourceArn parameter doesn't exist.";
    assert_eq!(failed.message, why);
    let handle = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        json!({ "taskId": "x", "sourceArn": format!("{ARN}q") }).to_string(),
    );
    let failed = world.err("CancelMessageMoveTask", json!({ "TaskHandle": handle })).await;
    assert_eq!((failed.status, failed.message.as_str()), (404, "Task does not exist."));
    let list = json!({ "SourceArn": format!("{ARN}q"), "MaxResults": 11 });
    assert_eq!(world.err("ListMessageMoveTasks", list).await.code, "InvalidParameterValue");
}
