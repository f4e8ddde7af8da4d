use serde::{Deserialize, Serialize};
use tidegate::{Broker, Context, TypedTask, Worker};

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome")]
struct Welcome {
    user: u64,
}

async fn welcome(task: Welcome) {
    drop(task);
}

fn work(broker: &Broker) {
    Worker::new(broker).handle::<Welcome>(welcome);
}

fn main() {
    let _ = (work, std::any::type_name::<Context>());
}
