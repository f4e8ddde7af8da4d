//! Hello, capabilities and errors.

use tidegate_remote::proto::{
    Capabilities, Draining, Error, HelloRequest, HelloResponse, Welcome, hello_response,
};

use super::{Sample, sample};

pub(super) fn all() -> Vec<Sample> {
    let response = |event| HelloResponse { event: Some(event) };
    let welcome = hello_response::Event::Welcome(welcome());
    let draining = hello_response::Event::Draining(Draining {});
    let mut samples = vec![
        sample("HelloRequest", HelloRequest { client: "python/1.0".into() }),
        sample("HelloResponse.welcome", response(welcome)),
        sample("HelloResponse.draining", response(draining)),
        sample("Welcome", self::welcome()),
        sample("Draining", Draining {}),
        sample("Capabilities.none", Capabilities::default()),
        sample("Error.empty", Error::default()),
    ];
    samples.extend((0..3).map(|n| sample(format!("Capabilities.{n}"), capabilities(n))));
    let remembers = Capabilities { attempt_memory_us: Some(109), ..capabilities(1) };
    samples.push(sample("Capabilities.remembers-attempts", remembers));
    samples.extend((0..14).map(|kind| sample(format!("Error.kind-{kind}"), error(kind, 1))));
    samples
        .extend((0..10).map(|doing| sample(format!("Error.operation-{doing}"), error(1, doing))));
    samples
}

fn welcome() -> Welcome {
    Welcome {
        broker: "embedded:./data".into(),
        capabilities: Some(capabilities(1)),
        inspects: true,
        administers: true,
        is_atomic: true,
        request_bytes_max: 4_194_304,
    }
}

/// With the choices numbered `choice`, or the last of those that have fewer.
fn capabilities(choice: i32) -> Capabilities {
    Capabilities {
        delay_max_us: Some(101),
        retry_delay_max_us: Some(102),
        priority_max: Some(255),
        dedup_window_max_us: Some(104),
        dedup_until_done: true,
        ordering: choice,
        lease: choice.min(1),
        lease_max_us: 108,
        lease_per_receive: true,
        attempt_memory_us: None,
        fencing_enforced: true,
        release_keeps_attempt: true,
        deliveries_counted: true,
        completion_final: true,
        dead_letters_in_place: true,
        capacity: choice,
        atomic: choice,
        membership: true,
        durable: true,
        retention: true,
        batch_max: 1_000,
        payload_max: 16_777_216,
    }
}

pub(super) fn error(kind: i32, operation: i32) -> Error {
    Error {
        kind,
        operation,
        subject: Some("\"mail\"".into()),
        message: "it is full".into(),
        retryable: true,
        causes: vec!["first".into(), "second".into()],
    }
}
