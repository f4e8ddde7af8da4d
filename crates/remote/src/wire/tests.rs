//! What goes out comes back as it was: word, message, bytes, message, word.

use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};
use prost::Message;
use tidegate_core::capabilities::{
    AtomicScope, Capabilities, CapacitySupport, Completion, DeadLetterSupport, Delay,
    DeliveryCount, Fencing, LeaseSupport, OrderingSupport, ReleaseCost,
};
use tidegate_core::task::{Dedup, Headers};
use tidegate_core::{
    Capacity, DeadLetter, DeadLetterPolicy, Error, ErrorKind, Jitter, Kind, Lease, LeaseToken,
    Lost, NewTask, Operation, Ordering, Partitions, QueueName, QueueSpec, RetryPolicy, Router,
    Settled, State, Task, TaskId, Timestamp, Unique, Verdict,
};

use super::capabilities::{capabilities_from, capabilities_to};
use super::error::{error_from, error_to, status_from, status_to};
use super::lease::{lease_from, lease_to, settled_from, settled_to, verdict_from, verdict_to};
use super::newer;
use super::spec::{spec_from, spec_to};
use super::task::{enqueued_from, new_task_from, new_task_to, task_from, task_to};
use super::views::{state_from, view_from};
use crate::proto;

const KINDS: [ErrorKind; 14] = [
    ErrorKind::Unsupported,
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::QueueFull,
    ErrorKind::DiskFull,
    ErrorKind::Locked,
    ErrorKind::Unavailable,
    ErrorKind::Closed,
    ErrorKind::Corrupt,
    ErrorKind::Poisoned,
    ErrorKind::Format,
    ErrorKind::Denied,
    ErrorKind::Unexpected,
];

const OPERATIONS: [Operation; 10] = [
    Operation::Open,
    Operation::Declare,
    Operation::Enqueue,
    Operation::OpenSession,
    Operation::Receive,
    Operation::Settle,
    Operation::Extend,
    Operation::Close,
    Operation::Inspect,
    Operation::Administer,
];

/// The message, after it was bytes.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(&*message.encode_to_vec()).unwrap()
}

fn mail() -> QueueName {
    QueueName::new("mail").unwrap()
}

fn durations() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_micros)
}

fn moments() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn payloads() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn names() -> impl Strategy<Value = QueueName> {
    "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,30}".prop_map(|name| QueueName::new(name).unwrap())
}

fn headers() -> impl Strategy<Value = Headers> {
    btree_map(any::<String>(), any::<String>(), 0..4)
}

fn ids() -> impl Strategy<Value = TaskId> {
    any::<[u8; 16]>().prop_map(TaskId::from_bytes)
}

fn kinds() -> impl Strategy<Value = Kind> {
    any::<String>().prop_map(Kind::from)
}

fn dedups() -> impl Strategy<Value = Dedup> {
    let unique = prop_oneof![durations().prop_map(Unique::Window), Just(Unique::UntilDone)];
    (any::<String>(), unique).prop_map(|(key, unique)| Dedup { key, unique })
}

fn new_tasks() -> impl Strategy<Value = NewTask> {
    let what = (ids(), kinds(), payloads(), headers());
    let how = (durations(), any::<u8>(), option::of(dedups()), option::of(any::<String>()));
    (what, how).prop_map(|((id, kind, payload, headers), how)| {
        let (delay, priority, dedup, ordering_key) = how;
        NewTask { id, kind, payload, headers, delay, priority, dedup, ordering_key }
    })
}

fn dead_letters() -> impl Strategy<Value = DeadLetter> {
    let fields = (names(), any::<String>(), option::of(any::<String>()), any::<u32>(), moments());
    fields.prop_map(|(source, reason, error, attempts, died_at)| DeadLetter {
        source,
        reason,
        error,
        attempts,
        died_at,
    })
}

fn tasks() -> impl Strategy<Value = Task> {
    let what = (ids(), names(), kinds(), payloads(), headers());
    let place = (any::<u8>(), option::of(any::<String>()), any::<u32>(), any::<u64>());
    let past = (any::<u32>(), any::<u32>(), moments(), option::of(any::<String>()));
    (what, place, past, option::of(dead_letters())).prop_map(|(what, place, past, dead_letter)| {
        let (id, queue, kind, payload, headers) = what;
        let (priority, ordering_key, partition, sequence) = place;
        let (deliveries, attempt, enqueued_at, last_error) = past;
        Task {
            id,
            queue,
            kind,
            payload,
            headers,
            priority,
            ordering_key,
            partition,
            sequence,
            deliveries,
            attempt,
            enqueued_at,
            last_error,
            dead_letter,
        }
    })
}

fn leases() -> impl Strategy<Value = Lease> {
    let token = vec(any::<u8>(), 0..512).prop_map(LeaseToken::from_bytes);
    let fields = (tasks(), token, moments(), durations());
    fields.prop_map(|(task, token, until, duration)| Lease { task, token, until, duration })
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Complete),
        (durations(), option::of(any::<String>()))
            .prop_map(|(after, error)| Verdict::Retry { after, error }),
        durations().prop_map(|after| Verdict::Release { after }),
        any::<String>().prop_map(|reason| Verdict::DeadLetter { reason }),
    ]
}

fn retries() -> impl Strategy<Value = RetryPolicy> {
    let jitter = select(vec![Jitter::Full, Jitter::Equal, Jitter::None, Jitter::Decorrelated]);
    let fields = (any::<u32>(), durations(), any::<f64>(), durations(), jitter);
    fields.prop_map(|(max_attempts, initial_delay, multiplier, max_delay, jitter)| RetryPolicy {
        max_attempts,
        initial_delay,
        multiplier,
        max_delay,
        jitter,
    })
}

fn specs() -> impl Strategy<Value = QueueSpec> {
    let ordering = select(vec![Ordering::None, Ordering::Key]);
    let router = select(vec![Router::Hash, Router::Consistent, Router::RoundRobin]);
    let partitions = (1..=1_024u32).prop_map(|count| Partitions::new(count).unwrap());
    let capacity = prop_oneof![any::<u64>().prop_map(Capacity::Bounded), Just(Capacity::Unbounded)];
    let dead = (option::of(names()), durations(), any::<u64>()).prop_map(
        |(queue, retention, alert_threshold)| DeadLetterPolicy {
            queue,
            retention,
            alert_threshold,
        },
    );
    let fixed = (names(), ordering, router, partitions, capacity);
    let policies = (durations(), retries(), dead, durations(), option::of(durations()));
    (fixed, policies, any::<usize>(), headers(), any::<u64>()).prop_map(
        |(fixed, policies, payload_bytes_max, labels, revision)| {
            let (name, ordering, router, partitions, capacity) = fixed;
            let (lease, retry, dead_letters, dedup_window, retention) = policies;
            QueueSpec {
                name,
                ordering,
                router,
                partitions,
                capacity,
                lease,
                retry,
                dead_letters,
                dedup_window,
                retention,
                payload_bytes_max,
                labels,
                revision,
            }
        },
    )
}

fn delays() -> impl Strategy<Value = Delay> {
    prop_oneof![Just(Delay::No), durations().prop_map(Delay::UpTo)]
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let times = (delays(), delays(), option::of(any::<u8>()), option::of(durations()));
    let lease = prop_oneof![
        durations().prop_map(LeaseSupport::Timed),
        durations().prop_map(LeaseSupport::WhileConnected),
    ];
    let ordering =
        select(vec![OrderingSupport::No, OrderingSupport::PerKey, OrderingSupport::PerPartition]);
    let capacity = select(vec![CapacitySupport::No, CapacitySupport::Soft, CapacitySupport::Exact]);
    let atomic = select(vec![AtomicScope::No, AtomicScope::SameQueue, AtomicScope::SameBroker]);
    let choices = (lease, ordering, capacity, atomic, any::<[bool; 10]>(), option::of(durations()));
    let sizes = (1..=u32::MAX as usize, 1..=usize::MAX);
    (times, choices, sizes).prop_map(|(times, choices, (batch_max, payload_max))| {
        let (delay, retry_delay, priority_max, dedup_window_max) = times;
        let (lease, ordering, capacity, atomic, is, attempt_memory) = choices;
        let release = [ReleaseCost::BurnsAttempt, ReleaseCost::KeepsAttempt];
        let deliveries = [DeliveryCount::AtLeast, DeliveryCount::Counted];
        let dead_letters = [DeadLetterSupport::Queue, DeadLetterSupport::StateOrQueue];
        Capabilities {
            delay,
            retry_delay,
            priority_max,
            dedup_window_max,
            dedup_until_done: is[0],
            ordering,
            lease,
            lease_per_receive: is[1],
            attempt_memory,
            fencing: [Fencing::Advisory, Fencing::Enforced][usize::from(is[2])],
            release: release[usize::from(is[3])],
            deliveries: deliveries[usize::from(is[4])],
            completion: [Completion::Watermark, Completion::Final][usize::from(is[5])],
            dead_letters: dead_letters[usize::from(is[6])],
            capacity,
            atomic,
            membership: is[7],
            durable: is[8],
            retention: is[9],
            batch_max,
            payload_max,
        }
    })
}

fn errors() -> impl Strategy<Value = Error> {
    let (kind, doing) = (select(KINDS.to_vec()), select(OPERATIONS.to_vec()));
    let fields = (kind, doing, option::of(any::<String>()), any::<String>());
    (fields, option::of(any::<String>())).prop_map(|((kind, doing, subject, message), cause)| {
        let mut error = Error::new(kind, doing, message);
        if let Some(subject) = subject {
            error = error.about(subject);
        }
        match cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    })
}

/// All that an error says.
fn told(error: &Error) -> (ErrorKind, Operation, Option<&str>, &str, bool, Vec<String>) {
    let (kind, doing) = (error.kind(), error.operation());
    let subject = error.subject();
    (kind, doing, subject, error.message(), error.is_retryable(), causes(error))
}

fn causes(error: &Error) -> Vec<String> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source()).map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_new_task_comes_back(task in new_tasks()) {
        let back = new_task_from(sent(&new_task_to(&task)), Operation::Enqueue).unwrap();
        prop_assert_eq!(back, task);
    }

    #[test]
    fn a_lease_comes_back(lease in leases()) {
        let back = lease_from(sent(&lease_to(lease.clone())), &lease.task.queue).unwrap();
        prop_assert_eq!(back, lease);
    }

    #[test]
    fn a_task_outside_a_session_names_its_queue(task in tasks()) {
        let elsewhere = QueueName::new("some-other-queue-than-its-own-and-longer").unwrap();
        let back = task_from(sent(&task_to(task.clone(), false)), &elsewhere, Operation::Inspect);
        prop_assert_eq!(back.unwrap(), task);
    }

    #[test]
    fn a_spec_comes_back(spec in specs()) {
        let back = spec_from(Some(sent(&spec_to(&spec))), Operation::Declare).unwrap();
        prop_assert_eq!(back, spec);
    }

    #[test]
    fn a_verdict_comes_back(verdict in verdicts()) {
        let back = verdict_from(Some(sent(&verdict_to(&verdict)))).unwrap();
        prop_assert_eq!(back, verdict);
    }

    #[test]
    fn capabilities_come_back(can in capabilities()) {
        let back = capabilities_from(&sent(&capabilities_to(&can))).unwrap();
        prop_assert_eq!(back, can);
    }

    #[test]
    fn an_error_comes_back_in_an_answer_and_in_a_status(error in errors()) {
        let back = error_from(sent(&error_to(&error)));
        prop_assert_eq!(told(&back), told(&error));
        let back = status_from(status_to(&error), Operation::Close);
        prop_assert_eq!(told(&back), told(&error));
    }

    #[test]
    fn a_time_is_never_cut_short(nanos in any::<u64>()) {
        let after = Duration::from_nanos(nanos);
        let verdict = verdict_from(Some(sent(&verdict_to(&Verdict::Release { after })))).unwrap();
        let Verdict::Release { after: back } = verdict else { panic!("{verdict:?}") };
        prop_assert!(back >= after && back - after < Duration::from_micros(1), "{:?}", back);
    }
}

#[test]
fn every_settled_comes_back() {
    const STATES: [State; 5] =
        [State::Scheduled, State::Ready, State::Leased, State::Done, State::Dead];
    let done = STATES.map(|state| Settled::Done { state });
    let lost = [Lost::Expired, Lost::Superseded, Lost::NotFound].map(Settled::Lost);
    let all: Vec<_> = done.into_iter().chain(lost).chain([Settled::AlreadyDone]).collect();
    for settled in all {
        let outcomes = proto::Outcomes { outcomes: vec![settled_to(settled).into()] };
        assert_eq!(settled_from(sent(&outcomes).outcomes[0]).unwrap(), settled);
    }
}

#[test]
fn every_kind_and_every_operation_has_a_number_of_its_own() {
    for kind in KINDS {
        for doing in OPERATIONS {
            let back = error_from(sent(&error_to(&Error::new(kind, doing, "no"))));
            assert_eq!((back.kind(), back.operation()), (kind, doing));
        }
    }
}

#[test]
fn what_is_left_out_of_a_spec_has_its_default() {
    let least = proto::QueueSpec { name: "mail".into(), ..Default::default() };
    let mut spec = QueueSpec::new(mail());
    spec.revision = 0;
    assert_eq!(spec_from(Some(least.clone()), Operation::Declare).unwrap(), spec);
    let (retry, dead_letters) = (Some(Default::default()), Some(Default::default()));
    let capacity = Some(proto::Capacity { bound: None });
    let empty = proto::QueueSpec { retry, dead_letters, capacity, ..least };
    assert_eq!(spec_from(Some(empty), Operation::Declare).unwrap(), spec);
}

#[test]
fn what_a_client_cannot_have_meant_is_invalid_and_names_the_field() {
    let new_task = |change: fn(&mut proto::NewTask)| {
        let mut task = new_task_to(&NewTask::new("mail", "x"));
        change(&mut task);
        new_task_from(task, Operation::Enqueue).unwrap_err()
    };
    let spec = |change: fn(&mut proto::QueueSpec)| {
        let mut spec = spec_to(&QueueSpec::new(mail()));
        change(&mut spec);
        spec_from(Some(spec), Operation::Declare).unwrap_err()
    };
    let jitter = proto::RetryPolicy { jitter: 9, ..Default::default() };
    let spec_jitter = proto::QueueSpec { retry: Some(jitter), ..spec_to(&QueueSpec::new(mail())) };
    for (error, field) in [
        (new_task(|task| task.id = Bytes::from_static(b"short")), "id has 5 bytes"),
        (new_task(|task| task.priority = 256), "priority is 256"),
        (new_task(|task| task.dedup = Some(proto::Dedup::default())), "`window_us`"),
        (spec(|spec| spec.ordering = 9), "ordering 9"),
        (spec(|spec| spec.router = 9), "router 9"),
        (spec(|spec| spec.partitions = 1_025), "1025 partitions"),
        (spec(|spec| spec.name = "a/b".into()), "a/b"),
        (spec_from(Some(spec_jitter), Operation::Declare).unwrap_err(), "jitter 9"),
        (spec_from(None, Operation::Declare).unwrap_err(), "no spec"),
        (verdict_from(None).unwrap_err(), "no verdict"),
        (verdict_from(Some(proto::Verdict { kind: None })).unwrap_err(), "no verdict"),
        (state_from(9).unwrap_err(), "state 9"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().contains(field), "{error}");
    }
}

#[test]
fn what_only_a_newer_server_says_is_unexpected() {
    let view = proto::TaskView { task: Some(Default::default()), state: 9, ..Default::default() };
    let can = |change: fn(&mut proto::Capabilities)| {
        let known = proto::Capabilities { batch_max: 1, payload_max: 1, ..Default::default() };
        let mut can = known;
        assert!(capabilities_from(&known).is_ok());
        change(&mut can);
        capabilities_from(&can).unwrap_err()
    };
    let spec = proto::QueueSpec { name: "mail".into(), router: 9, ..Default::default() };
    let spec =
        spec_from(Some(spec), Operation::Inspect).map_err(|error| newer(&error)).unwrap_err();
    assert_eq!(spec.subject(), Some("\"mail\""));
    for (error, field) in [
        (settled_from(99).unwrap_err(), "outcome 99"),
        (settled_from(0).unwrap_err(), "outcome 0"),
        (view_from(view, &mail()).unwrap_err(), "state 9"),
        (can(|can| can.lease = 9), "lease support 9"),
        (can(|can| can.ordering = 9), "ordering support 9"),
        (can(|can| can.capacity = 9), "capacity support 9"),
        (can(|can| can.atomic = 9), "atomic scope 9"),
        (spec, "router 9"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error}");
        assert!(error.message().contains(field) && error.message().contains("newer"), "{error}");
    }
}

#[test]
fn an_outcome_without_an_id_is_not_taken_for_an_enqueued_task() {
    let outcome = proto::Enqueued { sequence: 7, ..Default::default() };
    assert!(enqueued_from(outcome, Operation::Enqueue).is_err());
    let refused = Error::new(ErrorKind::QueueFull, Operation::Enqueue, "it is full");
    let outcome = proto::Enqueued { error: Some(error_to(&refused)), ..Default::default() };
    let outcome = enqueued_from(sent(&outcome), Operation::Enqueue).unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::QueueFull);
}

#[test]
fn of_many_causes_the_nearest_are_told() {
    let causes: Vec<String> = (0..20).map(|n| format!("cause {n}")).collect();
    let error = proto::Error { message: "no".into(), causes: causes.clone(), ..Default::default() };
    let error = error_from(sent(&error));
    assert_eq!(self::causes(&error), causes[..8]);
    assert_eq!(error_to(&error).causes, causes[..8]);
}

#[test]
fn a_status_of_somebody_else_is_read_as_well_as_can_be() {
    use tonic::{Code, Status};
    for (code, kind) in [
        (Code::Unavailable, ErrorKind::Unavailable),
        (Code::Cancelled, ErrorKind::Unavailable),
        (Code::DeadlineExceeded, ErrorKind::Unavailable),
        (Code::Unauthenticated, ErrorKind::Denied),
        (Code::PermissionDenied, ErrorKind::Denied),
        (Code::Unimplemented, ErrorKind::Unsupported),
        (Code::ResourceExhausted, ErrorKind::Invalid),
        (Code::OutOfRange, ErrorKind::Invalid),
        (Code::InvalidArgument, ErrorKind::Invalid),
        (Code::NotFound, ErrorKind::Unexpected),
        (Code::Unknown, ErrorKind::Unexpected),
        (Code::Internal, ErrorKind::Unexpected),
    ] {
        let error = status_from(Status::new(code, "said the proxy"), Operation::Settle);
        assert_eq!((error.kind(), error.operation()), (kind, Operation::Settle), "{code:?}");
        assert_eq!(error.message(), "said the proxy");
        assert!(causes(&error)[0].contains("said the proxy"));
    }
    let broken = Status::from_error(Box::new(std::io::Error::other("pipe")));
    assert_eq!(status_from(broken, Operation::Settle).kind(), ErrorKind::Unavailable);
    let garbage = Bytes::from_static(b"\xff\xff garbage");
    let garbage = Status::with_details(Code::Unavailable, "gone", garbage);
    assert_eq!(status_from(garbage, Operation::Settle).kind(), ErrorKind::Unavailable);
}
