//! A producer and a worker on a durable queue in `./tidegate-data`.

use serde::{Deserialize, Serialize};
use tidegate::{Context, Producer, TypedTask, Worker, connect};

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome", queue = "mail")]
struct Welcome {
    user: u64,
}

async fn welcome(task: Welcome, context: Context) {
    println!("welcome, user {} (attempt {})", task.user, context.attempt());
}

#[tokio::main]
async fn main() -> tidegate::Result<()> {
    let broker = connect("embedded:./tidegate-data").await?;
    let producer = Producer::builder(&broker).declare_missing().build();
    producer.send(&Welcome { user: 42 }).await?;
    Worker::new(&broker).handle(welcome).run_until_empty().await?;
    broker.close().await
}
