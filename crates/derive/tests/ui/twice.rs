use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "a", kind = "b")]
struct Welcome {
    user: u64,
    name: String,
}

fn main() {}
