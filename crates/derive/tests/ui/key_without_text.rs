use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize)]
struct Opaque;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome", key = user)]
struct Welcome {
    user: Opaque,
}

fn main() {}
