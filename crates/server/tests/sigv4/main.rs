//! Signed requests, changed on their way in every way: none is let in unless it means the same.
//!
//! `--mutations N` (default 20,000) changes fields at random so often, beside every bit of every request;
//! `cargo xtask sigv4` does more, and `--cost` tells what verifying one takes. It ends with tables of
//! what was changed and what became of it, and fails if a request was let in that means something else.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod mutate;
mod request;
mod same;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use tidegate_core::{Action, Pattern, Right, Timestamp};
use tidegate_server::auth::{Gate, Identity, Keys, Secret};
use tidegate_server::sqs::Failure;

use mutate::{Field, bits, mutate};
use request::{Wire, of_botocore};
use same::harmless;

const MUTATIONS: usize = 20_000;
const SEED: u64 = 4;
/// Findings that are printed at most.
const SHOWN_MAX: usize = 20;
/// 2026-11-28 14:00:00 UTC, when all requests were signed.
const NOW: Timestamp = Timestamp::from_millis(1_795_874_400_000);

fn main() -> ExitCode {
    let (keys, requests) = of_botocore();
    let gate = gate(&keys);
    let mut book = Book {
        gate,
        requests: requests.clone(),
        by_field: BTreeMap::new(),
        let_in: BTreeMap::new(),
        wrong: Vec::new(),
    };
    for wire in &requests {
        book.gate.ask(wire).unwrap().unwrap_or_else(|why| panic!("{}: {why:?}", wire.name));
        bits(wire).for_each(|changed| book.judge("every bit", wire, &changed));
    }
    let (count, mut rng) = (number("--mutations").unwrap_or(MUTATIONS), Rng::with_seed(SEED));
    for n in 0..count {
        let wire = &requests[rng.usize(..requests.len())];
        let field = Field::ALL[n % Field::ALL.len()];
        let mut changed = mutate(wire, &requests, field, &mut rng);
        // WHY: what one change breaks another could mend.
        if rng.u8(..4) == 0 {
            let second = Field::ALL[rng.usize(..Field::ALL.len())];
            changed = mutate(&changed, &requests, second, &mut rng);
        }
        book.judge(&format!("{field:?}"), wire, &changed);
    }
    book.print(requests.len());
    if std::env::args().any(|argument| argument == "--cost") {
        cost(&book.gate, &requests);
    }
    let passed = book.wrong.is_empty();
    let (verdict, counts) = if passed { ("ok", "1 passed; 0") } else { ("FAILED", "0 passed; 1") };
    println!("\ntest result: {verdict}. {counts} failed; 0 ignored");
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(name: &str) -> Option<usize> {
    std::env::args().skip_while(|argument| argument != name).nth(1)?.parse().ok()
}

struct Guard(Keys);

fn gate(keys: &[(String, String)]) -> Guard {
    let mut known = Keys::new();
    for (id, secret) in keys {
        let right = Right { queues: Pattern::new("*").unwrap(), actions: Action::ALL.to_vec() };
        known.add(id, Secret::new(secret).unwrap(), vec![right]).unwrap();
    }
    Guard(known)
}

impl Guard {
    /// Nothing if it is no request of HTTP.
    fn ask(&self, wire: &Wire) -> Option<Result<Identity, Failure>> {
        let (parts, body) = wire.read()?;
        Some(self.0.identify(&parts, &body, NOW))
    }
}

/// What became of the changed requests of a field.
#[derive(Default)]
struct Tally {
    unchanged: usize,
    no_http: usize,
    refused: BTreeMap<&'static str, usize>,
    let_in: usize,
}

struct Book {
    gate: Guard,
    requests: Vec<Wire>,
    by_field: BTreeMap<String, Tally>,
    /// By the harmless ways in which they differ.
    let_in: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Book {
    fn judge(&mut self, field: &str, wire: &Wire, changed: &Wire) {
        let tally = self.by_field.entry(field.to_owned()).or_default();
        if wire == changed {
            tally.unchanged += 1;
            return;
        }
        match self.gate.ask(changed) {
            None => tally.no_http += 1,
            Some(Err(failure)) => *tally.refused.entry(failure.code.query_code()).or_default() += 1,
            Some(Ok(identity)) => {
                tally.let_in += 1;
                match self.meant(wire, changed, &identity) {
                    Some(ways) => *self.let_in.entry(ways).or_default() += 1,
                    None => {
                        self.wrong.push(format!("{field} of {}: {}", wire.name, shown(changed)))
                    }
                }
            }
        }
    }

    /// In which harmless ways it differs from what was signed; nothing if it means something else.
    fn meant(&self, wire: &Wire, changed: &Wire, identity: &Identity) -> Option<String> {
        let ways = |signed: &Wire| {
            let is_same = self.gate.ask(signed).is_some_and(|it| it.as_ref() == Ok(identity));
            harmless(signed, changed).filter(|_| is_same)
        };
        match ways(wire).filter(|ways| !ways.is_empty()) {
            Some(ways) => Some(ways.join(" + ")),
            None => {
                self.requests.iter().find_map(ways).map(|_| "it is another signed request".into())
            }
        }
    }

    fn print(&self, requests: usize) {
        let sum = |of: fn(&Tally) -> usize| self.by_field.values().map(of).sum::<usize>();
        println!(
            "{:<14} {:>8} {:>9} {:>8} {:>8}  refused as",
            "field", "changed", "unchanged", "no HTTP", "let in"
        );
        for (field, tally) in &self.by_field {
            let Tally { unchanged, no_http, refused, let_in } = tally;
            let codes: Vec<_> =
                refused.iter().map(|(code, count)| format!("{code} {count}")).collect();
            let changed = no_http + let_in + refused.values().sum::<usize>();
            println!(
                "{field:<14} {changed:>8} {unchanged:>9} {no_http:>8} {let_in:>8}  {}",
                codes.join(", ")
            );
        }
        println!("\nlet in, and the same by the rules but for:");
        for (ways, count) in &self.let_in {
            println!("{count:>8}  {ways}");
        }
        let refused = sum(|tally| tally.refused.values().sum());
        let (no_http, let_in) = (sum(|tally| tally.no_http), sum(|tally| tally.let_in));
        let all = refused + no_http + let_in;
        println!(
            "\n{requests} requests, {all} changed: {refused} refused, {no_http} were no HTTP, {let_in} let in, {} \
             of them with another meaning",
            self.wrong.len()
        );
        self.wrong.iter().take(SHOWN_MAX).for_each(|wrong| println!("LET IN: {wrong}"));
    }
}

fn shown(wire: &Wire) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let headers: Vec<_> = wire
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {}", text(name), text(value)))
        .collect();
    format!(
        "{} {} [{}] {}",
        text(&wire.method),
        text(&wire.place),
        headers.join(" | "),
        text(&wire.body)
    )
}

/// What it takes to verify one, by this machine.
fn cost(gate: &Guard, requests: &[Wire]) {
    const TIMES: u32 = 20_000;
    println!("\nverifying one request, the mean of {TIMES}:");
    let names = ["json send", "query get", "presigned get"];
    for wire in requests.iter().filter(|wire| names.contains(&wire.name.as_str())) {
        let (parts, body) = wire.read().unwrap();
        let begun = Instant::now();
        for _ in 0..TIMES {
            assert!(std::hint::black_box(gate.0.identify(&parts, &body, NOW)).is_ok());
        }
        let micros = begun.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
        println!("{micros:>8.2} µs  {}, {} bytes of body", wire.name, body.len());
    }
    // Refused at the very end, so its cost is that of one that is let in.
    let (parts, _) = requests[1].read().unwrap();
    let body = Bytes::from(vec![b'x'; 256 << 10]);
    let begun = Instant::now();
    for _ in 0..TIMES / 100 {
        assert!(std::hint::black_box(gate.0.identify(&parts, &body, NOW)).is_err());
    }
    let micros = begun.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES / 100);
    println!("{micros:>8.2} µs  json send, {} bytes of body", body.len());
}
