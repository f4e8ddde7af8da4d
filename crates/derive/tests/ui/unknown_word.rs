use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome", queu = "mail")]
struct Welcome {
    user: u64,
    name: String,
}

fn main() {}
