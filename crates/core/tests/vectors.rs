//! What the helpers of `examples/` in other languages must equal: the vectors that they read are those that
//! the functions here make.
//!
//! `TIDEGATE_WRITE_VECTORS=1 cargo test -p tidegate-core --test vectors` writes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tidegate_core::{Jitter, Partitions, RetryPolicy, Router};

const PATH: &str = "../../examples/vectors.json";
const COUNTS: [u32; 12] = [1, 2, 3, 4, 7, 8, 10, 16, 100, 255, 256, 1_024];
/// The last one is the greatest below 1.
const RANDOM: [f64; 8] =
    [0.0, 5e-324, 0.25, 0.333_333, 0.5, 0.75, 0.999_999, 0.999_999_999_999_999_9];
const RETRIES: [u32; 14] = [0, 1, 2, 3, 4, 5, 10, 11, 20, 63, 64, 1_000, 1_100, u32::MAX];

#[derive(Serialize)]
struct Vectors {
    routing: Vec<Routed>,
    backoff: Vec<Backoff>,
}

/// The partition of a key, from 0, for each count of partitions.
#[derive(Serialize)]
struct Routed {
    key: String,
    partitions: Vec<(u32, u32)>,
}

/// Delays of one policy: the number of the retry, from 1; what was drawn; the delay.
#[derive(Serialize)]
struct Backoff {
    initial_ms: u64,
    multiplier: f64,
    max_ms: u64,
    delays_ms: Vec<(u32, f64, u64)>,
}

#[test]
fn the_vectors_of_the_examples_are_what_the_functions_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
    let made = written(&Vectors { routing: routing(), backoff: backoff() });
    if std::env::var_os("TIDEGATE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), made, "{PATH} is not fresh");
}

/// One vector a line.
fn written(vectors: &Vectors) -> String {
    fn lines<T: Serialize>(vectors: &[T]) -> String {
        let lines = vectors.iter().map(|vector| serde_json::to_string(vector).unwrap());
        lines.collect::<Vec<_>>().join(",\n    ")
    }
    let (routing, backoff) = (lines(&vectors.routing), lines(&vectors.backoff));
    format!("{{\n  \"routing\": [\n    {routing}\n  ],\n  \"backoff\": [\n    {backoff}\n  ]\n}}\n")
}

fn routing() -> Vec<Routed> {
    let partition = |key: &str, count| {
        (count, Router::Hash.route(Some(key), 0, Partitions::new(count).unwrap()))
    };
    let routed = |key: String| {
        let partitions = COUNTS.map(|count| partition(&key, count)).to_vec();
        Routed { key, partitions }
    };
    keys().into_iter().map(routed).collect()
}

/// Empty, long, beyond ASCII, composed and decomposed, beyond 16 bits, with control characters.
fn keys() -> Vec<String> {
    let short =
        ["", "a", "foobar", "N14228", "user-42", "order 7/8", " ", "\0", "\t\r\n", "\u{7f}"];
    let beyond =
        ["é", "e\u{301}", "Grüße", "ключ", "鍵", "مفتاح", "🛫", "👩‍🚀", "\u{10ffff}", "\u{feff}"];
    let long = ["x".repeat(255), "0123456789".repeat(100), "ключ🛫".repeat(300)];
    let numbered = (0..32).map(|number| format!("key-{number}"));
    short.iter().chain(&beyond).map(|key| (*key).to_owned()).chain(long).chain(numbered).collect()
}

fn backoff() -> Vec<Backoff> {
    let policies = [
        (1_000, 2.0, 900_000),
        (300, 2.0, 20_000),
        (1_001, 1.0, 1_001),
        (1, 10.0, 43_200_000),
        (250, 1.5, 60_000),
        (0, 2.0, 900_000),
        (0, 1.0, 0),
    ];
    policies.map(delays).into()
}

fn delays((initial_ms, multiplier, max_ms): (u64, f64, u64)) -> Backoff {
    let policy = RetryPolicy {
        max_attempts: 5,
        initial_delay: Duration::from_millis(initial_ms),
        multiplier,
        max_delay: Duration::from_millis(max_ms),
        jitter: Jitter::Full,
    };
    let delay = |retry, random| policy.delay(retry, random, None).as_millis() as u64;
    let delays = RETRIES
        .iter()
        .flat_map(|retry| RANDOM.map(|random| (*retry, random, delay(*retry, random))));
    Backoff { initial_ms, multiplier, max_ms, delays_ms: delays.collect() }
}
