use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(queue = "mail")]
struct Welcome {
    user: u64,
    name: String,
}

fn main() {}
