//! What the derive makes.

use serde::{Deserialize, Serialize};
use tidegate::TypedTask;

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "full", version = 7, queue = "q.1", key = id)]
struct Full {
    id: u64,
}

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "least")]
enum Least {
    One,
}

#[derive(Serialize, Deserialize, TypedTask)]
#[task(kind = "generic")]
#[serde(bound = "")]
struct Generic<T: Serialize + serde::de::DeserializeOwned + Send + 'static> {
    inner: T,
}

#[test]
fn the_attribute_becomes_the_constants() {
    assert_eq!((Full::KIND, Full::VERSION, Full::QUEUE), ("full", 7, Some("q.1")));
    assert_eq!(Full { id: 9 }.key().as_deref(), Some("9"));
    assert_eq!((Least::KIND, Least::VERSION, Least::QUEUE), ("least", 1, None));
    assert_eq!(Least::One.key(), None);
    assert_eq!(Generic::<u8>::KIND, "generic");
    assert_eq!(Generic { inner: 1 }.inner, 1);
}
