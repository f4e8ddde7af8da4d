use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome", version = 0)]
struct Welcome {
    user: u64,
    name: String,
}

fn main() {}
