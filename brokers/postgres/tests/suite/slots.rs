//! Tasks are handed out and completed wherever they lie.

use tidegate_core::{Lease, NewTask, ReceiveOptions, SessionOptions, Settled, State, Verdict};

use super::stage::{queue, spec, stage};

const DONE: Settled = Settled::Done { state: State::Done };

fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|n| NewTask::new("k", format!("{n}"))).collect()
}

fn payloads(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(|lease| std::str::from_utf8(&lease.task.payload).unwrap()).collect()
}

#[tokio::test]
async fn each_slot_is_written_handed_out_and_emptied() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let client = stage.client().await;
    for slot in 0..3 {
        client.batch_execute(&format!("UPDATE rotation SET slot = {slot}")).await.unwrap();
        broker.enqueue(&queue("mail"), &tasks(4)).await.unwrap();
        let there = format!("SELECT FROM tasks_{slot}");
        assert_eq!(client.query(&there, &[]).await.unwrap().len(), 4);
        let one = rx.receive(&ReceiveOptions::up_to(1)).await.unwrap();
        let more = rx.receive(&ReceiveOptions::up_to(9)).await.unwrap();
        assert_eq!((payloads(&one), payloads(&more)), (vec!["0"], vec!["1", "2", "3"]));
        assert_eq!(rx.complete(&one[0]).await.unwrap(), DONE);
        let all = more.iter().map(|lease| (lease.token.clone(), Verdict::Complete));
        assert_eq!(rx.settle(&all.collect::<Vec<_>>()).await.unwrap(), [DONE; 3]);
        assert_eq!(client.query("SELECT FROM tasks", &[]).await.unwrap().len(), 0);
    }
}

/// What one receive hands out and one settle completes may lie in all of them.
#[tokio::test]
async fn a_batch_lies_in_several_slots() {
    let Some(stage) = stage() else { return };
    let broker = stage.open("").await.broker();
    broker.declare(&spec("mail")).await.unwrap();
    broker.enqueue(&queue("mail"), &tasks(8)).await.unwrap();
    let client = stage.client().await;
    client.batch_execute("UPDATE tasks SET slot = 3 - seq % 4").await.unwrap();
    let rx = broker.open(&queue("mail"), &SessionOptions::default()).await.unwrap();
    let leases = rx.receive(&ReceiveOptions::up_to(8)).await.unwrap();
    assert_eq!(payloads(&leases), ["0", "1", "2", "3", "4", "5", "6", "7"]);
    let all = leases.iter().map(|lease| (lease.token.clone(), Verdict::Complete));
    assert_eq!(rx.settle(&all.collect::<Vec<_>>()).await.unwrap(), [DONE; 8]);
    assert_eq!(client.query("SELECT FROM tasks", &[]).await.unwrap().len(), 0);
}
