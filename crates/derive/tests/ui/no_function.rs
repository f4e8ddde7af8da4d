use serde::{Deserialize, Serialize};
use tidegate::{Broker, TypedTask, Worker};

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome")]
struct Welcome {
    user: u64,
}

fn work(broker: &Broker) {
    Worker::new(broker).handle::<Welcome>("welcome");
}

fn main() {
    let _ = work;
}
