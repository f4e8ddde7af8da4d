use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "mail.welcome", key = user)]
struct Welcome(u64);

fn main() {}
