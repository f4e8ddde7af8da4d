use serde::{Deserialize, Serialize};
use tidegate::{Broker, Context, TypedTask, Worker};

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome")]
struct Welcome {
    user: u64,
}

async fn welcome(task: Welcome, _: Context) -> u64 {
    task.user
}

fn work(broker: &Broker) {
    Worker::new(broker).handle(welcome);
}

fn main() {
    let _ = work;
}
