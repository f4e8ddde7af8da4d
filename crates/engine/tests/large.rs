//! Large payloads.

use tidegate_core::{
    NewTask, Ordering, QueueName, QueueSpec, ReceiveOptions, SessionOptions, Verdict,
};
use tidegate_engine::Options;

const MIB: usize = 1 << 20;

/// What a receive hands out is in memory all at once, so it ends after 16 MiB, and the rest comes with the
/// next one.
#[tokio::test]
async fn a_receive_hands_out_large_tasks_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let broker = tidegate_engine::open(Options::new(dir.path())).await.unwrap();
    for (name, ordering) in [("plain", Ordering::None), ("keyed", Ordering::Key)] {
        let name = QueueName::new(name).unwrap();
        let spec = QueueSpec { ordering, payload_bytes_max: 16 * MIB, ..QueueSpec::new(name) };
        broker.declare(&spec).await.unwrap();
        for size in [9, 9, 6, 16, 1] {
            let task = NewTask::new("k", vec![7; size * MIB - 1_000]).ordering_key("key");
            broker.enqueue_one(&spec.name, task).await.unwrap();
        }
        let receiver = broker.open(&spec.name, &SessionOptions::default()).await.unwrap();
        let mut parts = Vec::new();
        loop {
            let leases = receiver.receive(&ReceiveOptions::up_to(10).per_key(10)).await.unwrap();
            if leases.is_empty() {
                break;
            }
            parts.push(leases.len());
            let done: Vec<_> =
                leases.into_iter().map(|lease| (lease.token, Verdict::Complete)).collect();
            receiver.settle(&done).await.unwrap();
        }
        assert_eq!(parts, [2, 2, 1], "{}", spec.name);
    }
}
