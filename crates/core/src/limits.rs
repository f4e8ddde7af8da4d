//! Every limit of the contract in one place, each with its reason.

use std::time::Duration;

/// Longest queue name in bytes. SQS allows 80 (with `.fifo`); AMQP and Kafka allow about 250. 128
/// leaves room for prefixes and still fits every broker but SQS, whose adapter checks its own.
pub const QUEUE_NAME_BYTES_MAX: usize = 128;

/// Longest kind in bytes. It travels as CloudEvents `type` in headers of brokers that cap one
/// header line at a few kilobytes.
pub const KIND_BYTES_MAX: usize = 256;

/// Longest ordering key or dedup key in bytes. SQS caps both ids at 128 characters; 256 fits a URL
/// or a composed key and keeps an index entry small.
pub const KEY_BYTES_MAX: usize = 256;

/// Most headers on one task, and the bytes of all their names and values. NATS and AMQP carry
/// headers in frames of their own; 16 KiB stays below every broker's default frame.
pub const HEADERS_MAX: usize = 64;
/// Bytes of all header names and values of one task together.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// Longest payload in bytes that memory and engine take at all. Queues are held to
/// [`PAYLOAD_BYTES_DEFAULT`] by configuration; beyond this a payload belongs in object storage.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The message limit a queue has unless configured: 262,144 bytes, SQS's limit until 2025 and the
/// `serialization.max_message_bytes` of the documented configuration.
pub const PAYLOAD_BYTES_DEFAULT: usize = 262_144;

/// Most tasks in one driver call of memory and engine. One call is one frame of the log, so this
/// bounds a frame.
pub const BATCH_TASKS_MAX: usize = 1_000;

/// Bytes of tasks after which one receive hands out no more; one task at least always comes. They are all in memory until
/// they are handed over, and a receive may ask for [`BATCH_TASKS_MAX`].
pub const RECEIVE_BYTES_MAX: usize = 16 << 20;

/// Longest opaque lease token in bytes.
pub const TOKEN_BYTES_MAX: usize = 512;

/// Longest lease of memory and engine: SQS's visibility timeout ends at 12 hours.
pub const LEASE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// Longest delay of memory and engine: ten years. Anything longer is a mistake in units.
pub const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Longest dedup window: a year, for the same reason.
pub const DEDUP_WINDOW_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a settled lease is remembered, so that a repeated settle answers `AlreadyDone`. SQS
/// and most clients give up on a retry within minutes.
pub const SETTLED_MEMORY: Duration = Duration::from_secs(5 * 60);

/// Most settled leases remembered per queue; the oldest are forgotten first and then answer
/// `Lost(NotFound)`.
pub const SETTLED_MEMORY_MAX: usize = 100_000;

/// Longest attempt id in bytes: SQS's limit for its ReceiveRequestAttemptId.
pub const ATTEMPT_ID_BYTES_MAX: usize = 128;

/// How long a receive is known by its attempt id: SQS's five minutes.
pub const ATTEMPT_MEMORY: Duration = Duration::from_secs(5 * 60);

/// Most receives of a queue that are known by their attempt ids; the oldest are forgotten first.
pub const ATTEMPT_MEMORY_MAX: usize = 100_000;

/// Longest error or reason text kept with a task, in bytes; longer texts are cut.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Most partitions of a queue. Kafka clusters are sized in thousands of partitions in all; a queue
/// with more is misused.
pub const PARTITIONS_MAX: u32 = 1_024;

/// Longest wait of one receive call. Pollers call again; a longer one hides a dead connection.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(PAYLOAD_BYTES_DEFAULT <= PAYLOAD_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_DEFAULT <= RECEIVE_BYTES_MAX);
const _: () = assert!(TEXT_BYTES_MAX < HEADERS_BYTES_MAX);
