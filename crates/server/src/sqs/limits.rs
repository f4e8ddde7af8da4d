//! The protocol's limits, from its reference, "Amazon SQS quotas" and the actions' pages.

use std::time::Duration;

/// Longest message: body and attributes together.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// Bytes of answers that may be made or wait to be taken: of small ones, and of larger ones, each.
pub(crate) const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// What counts as a small one, with all that making it takes.
pub(crate) const SMALL_ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long an answer waits for room, which is as long as a receive may wait for messages.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(WAIT_SECONDS_MAX as u64);
/// Most entries of a batch.
pub(crate) const BATCH_MAX: usize = 10;
/// Longest id of an entry, label of a permission.
pub(crate) const ID_CHARS_MAX: usize = 80;
/// Most message attributes.
pub(crate) const ATTRIBUTES_MAX: usize = 10;
/// Longest name and type of an attribute.
pub(crate) const ATTRIBUTE_CHARS_MAX: usize = 256;
/// Longest group id, deduplication id and attempt id.
pub(crate) const GROUP_CHARS_MAX: usize = 128;
/// Longest wait of a receive, in seconds.
pub(crate) const WAIT_SECONDS_MAX: i64 = 20;
/// Longest delay, in seconds.
pub(crate) const DELAY_SECONDS_MAX: i64 = 900;
/// Longest visibility timeout, in seconds, counted from the receive.
pub(crate) const VISIBILITY_SECONDS_MAX: i64 = 43_200;
/// Most messages in receivers' hands.
pub(crate) const IN_FLIGHT_MAX: u64 = 120_000;
/// Most receives of one access key that wait at the same time: three quarters of the connections of a server,
/// so that others find some.
pub const POLLS_PER_KEY_MAX: usize = 12_288;
/// Most tags of a queue, and characters of their names and values.
pub(crate) const TAGS_MAX: usize = 50;
pub(crate) const TAG_NAME_CHARS_MAX: usize = 128;
pub(crate) const TAG_VALUE_CHARS_MAX: usize = 256;
/// Most queues on a page.
pub(crate) const PAGE_MAX: i64 = 1_000;
/// Most actions of a permission.
pub(crate) const PERMISSION_ACTIONS_MAX: usize = 7;
/// Fastest move, in messages a second.
pub(crate) const MOVE_RATE_MAX: i64 = 500;
/// Most moves that are listed.
pub(crate) const MOVES_LISTED_MAX: i64 = 10;
/// Seconds between two purges, and between a deletion and a creation, where the rules hold.
pub(crate) const RULE_SECONDS: u64 = 60;
/// Most fields of a form, and elements of a list: ten entries with ten attributes of four fields each, and
/// room.
pub(crate) const FIELDS_MAX: usize = 1_024;
