//! What a frame holds: one record for each change of the state.
//!
//! A record says what happened, not what was asked for: a replay decides nothing. It names tasks by
//! slot and sequence, and tasks that are no longer known are passed over, because their end came
//! before the log's beginning.

use std::time::Duration;

use tidegate_core::{Bytes, DeadLetter, TaskId, Timestamp, Verdict};

use super::bytes::{Put, Take};
use crate::position::Position;
use crate::state::Phase;
use crate::state::timers::Hold;
use crate::token::Fence;

const ENQUEUED: u8 = 1;
const LEASED: u8 = 2;
const SETTLED: u8 = 3;
const EXTENDED: u8 = 4;
const QUEUE: u8 = 5;
const QUEUE_DELETED: u8 = 6;
const PURGED: u8 = 7;
const DEAD_PURGED: u8 = 8;
const REDRIVEN: u8 = 9;
const OPENED: u8 = 10;
const SNAPSHOT: u8 = 11;
const DEDUP: u8 = 12;
const CLEANED: u8 = 13;
const NUMBERS: u8 = 14;

const COMPLETE: u8 = 1;
const RETRY: u8 = 2;
const RETRY_WITH_ERROR: u8 = 3;
const RELEASE: u8 = 4;
const DEAD_LETTER: u8 = 5;

/// Bytes before each task body: sequence, slot, length and check sum.
pub(crate) const BODY_HEAD_BYTES: usize = 20;
/// Those of them that check it: its length and check sum.
pub(crate) const BODY_CHECK_BYTES: usize = 8;

/// A task by its slot and its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskRef {
    pub(crate) slot: u32,
    pub(crate) sequence: u64,
}

/// A record, taken apart.
#[derive(Clone, Debug)]
pub(crate) enum Record<'a> {
    Enqueued { queue: u32, tasks: WrittenList<'a> },
    Leased { hold: Hold, tasks: Vec<TaskRef> },
    Settled { task: TaskRef, verdict: Verdict },
    Extended { task: TaskRef, length: Duration },
    Queue { id: u32, paused: bool, spec: &'a [u8] },
    QueueDeleted { id: u32 },
    Purged { id: u32 },
    DeadPurged { task: TaskRef },
    Redriven { task: TaskRef },
    Opened { epoch: u32, relaxed: bool },
    Snapshot(Box<Snapshot<'a>>),
    Dedup { queue: u32, key: &'a str, id: TaskId, sequence: u64, until: Timestamp },
    Cleaned { floor: u32 },
    Numbers(Numbers),
}

/// The bodies of a record, taken apart one by one.
#[derive(Clone, Debug)]
pub(crate) struct WrittenList<'a> {
    left: u32,
    take: Take<'a>,
    /// Bytes of the frame's body, which lies at `at`.
    whole: usize,
    at: Position,
}

impl<'a> Iterator for WrittenList<'a> {
    type Item = Written<'a>;

    fn next(&mut self) -> Option<Written<'a>> {
        self.left = self.left.checked_sub(1)?;
        take_body(&mut self.take, self.whole, self.at)
    }
}

/// A task's body in a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    pub(crate) task: TaskRef,
    pub(crate) at: Position,
    pub(crate) body: &'a [u8],
}

/// Everything about a task, as it is copied to the tail when its segment is cleaned.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) queue: u32,
    pub(crate) phase: Phase,
    pub(crate) entered_at: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) fence: Fence,
    pub(crate) deliveries: u32,
    pub(crate) uncounted: u32,
    pub(crate) settled: bool,
    /// When it is due or its lease ends, with who holds it.
    pub(crate) timer: Option<(Timestamp, Hold)>,
    /// Where its key stands among the available ones, if it is the first of an available key.
    pub(crate) turn: Option<(Timestamp, u64)>,
    /// Whether it holds its `UntilDone` dedup key.
    pub(crate) holds_key: bool,
    pub(crate) last_error: Option<String>,
    /// Why it died, if it is dead.
    pub(crate) dead: Option<DeadLetter>,
    /// Why it was moved here, if it was.
    pub(crate) moved: Option<DeadLetter>,
    pub(crate) written: Written<'a>,
}

/// The counters that must go on where they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) next_sequence: u64,
    pub(crate) next_queue: u32,
    pub(crate) epoch: u32,
    /// The first segment that is still needed.
    pub(crate) floor: u32,
    /// Whether the log is never synced: after a power cut anything may be missing.
    pub(crate) relaxed: bool,
}

/// A frame's body while it is written. It knows where in the log it will lie.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
    at: Position,
    lsn: u64,
}

impl Put for Frame<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
}

impl<'a> Frame<'a> {
    /// A frame whose body begins at the end of `buffer`, which will lie at `at`.
    pub(crate) fn new(buffer: &'a mut Vec<u8>, at: Position, lsn: u64) -> Self {
        let start = buffer.len();
        Self { buffer, start, at, lsn }
    }

    /// The number the frame will have.
    pub(crate) fn lsn(&self) -> u64 {
        self.lsn
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }

    /// Where the next byte will lie.
    pub(crate) fn position(&self) -> Position {
        self.at.plus(self.buffer.len() - self.start)
    }

    /// Begins a list of enqueued tasks; `count` is written by [`Frame::end_list`].
    pub(crate) fn begin_enqueued(&mut self, queue: u32) -> ListStart {
        let record_at = self.buffer.len();
        self.put_u8(ENQUEUED);
        self.put_u32(queue);
        self.begin_list(record_at)
    }

    pub(crate) fn begin_leased(&mut self, queue: u32, hold: Hold) -> ListStart {
        let record_at = self.buffer.len();
        self.put_u8(LEASED);
        self.put_u32(queue);
        put_hold(hold, self);
        self.begin_list(record_at)
    }

    fn begin_list(&mut self, record_at: usize) -> ListStart {
        let count_at = self.buffer.len();
        self.put_u32(0);
        ListStart { record_at, count_at }
    }

    /// Writes how many entries a list has. A record with an empty list is taken back.
    pub(crate) fn end_list(&mut self, start: &ListStart, count: u32) {
        if count == 0 {
            return self.buffer.truncate(start.record_at);
        }
        if let Some(place) = self.buffer.get_mut(start.count_at..start.count_at + 4) {
            place.copy_from_slice(&count.to_le_bytes());
        }
    }

    pub(crate) fn put_task_ref(&mut self, task: TaskRef) {
        self.put_u32(task.slot);
        self.put_u64(task.sequence);
    }

    /// Writes an enqueued task's body by `write` and tells where it lies and its length.
    pub(crate) fn put_body(
        &mut self,
        task: TaskRef,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (Position, u32) {
        self.put_u64(task.sequence);
        self.put_u32(task.slot);
        self.put_u32(0);
        self.put_u32(0);
        let at = self.position();
        let start = self.buffer.len();
        write(self.buffer);
        let len = (self.buffer.len() - start) as u32;
        let (head, body) = self.buffer.split_at_mut(start);
        let crc = body_crc(task.sequence, body);
        if let Some(place) = head.last_chunk_mut::<8>() {
            let (len_place, crc_place) = place.split_at_mut(4);
            len_place.copy_from_slice(&len.to_le_bytes());
            crc_place.copy_from_slice(&crc.to_le_bytes());
        }
        (at, len)
    }

    pub(crate) fn put_settled(&mut self, task: TaskRef, verdict: &Verdict) {
        self.put_u8(SETTLED);
        self.put_task_ref(task);
        match verdict {
            Verdict::Complete => self.put_u8(COMPLETE),
            Verdict::Retry { after, error: None } => {
                self.put_u8(RETRY);
                put_duration(*after, self);
            }
            Verdict::Retry { after, error: Some(error) } => {
                self.put_u8(RETRY_WITH_ERROR);
                put_duration(*after, self);
                self.put_text(error);
            }
            Verdict::Release { after } => {
                self.put_u8(RELEASE);
                put_duration(*after, self);
            }
            Verdict::DeadLetter { reason } => {
                self.put_u8(DEAD_LETTER);
                self.put_text(reason);
            }
        }
    }

    pub(crate) fn put_extended(&mut self, task: TaskRef, length: Duration) {
        self.put_u8(EXTENDED);
        self.put_task_ref(task);
        put_duration(length, self);
    }

    pub(crate) fn put_queue(&mut self, id: u32, paused: bool, spec: &[u8]) {
        self.put_u8(QUEUE);
        self.put_u32(id);
        self.put_u8(u8::from(paused));
        self.put_long(spec);
    }

    pub(crate) fn put_queue_deleted(&mut self, id: u32) {
        self.put_u8(QUEUE_DELETED);
        self.put_u32(id);
    }

    pub(crate) fn put_purged(&mut self, id: u32) {
        self.put_u8(PURGED);
        self.put_u32(id);
    }

    pub(crate) fn put_dead_purged(&mut self, task: TaskRef) {
        self.put_u8(DEAD_PURGED);
        self.put_task_ref(task);
    }

    pub(crate) fn put_redriven(&mut self, task: TaskRef) {
        self.put_u8(REDRIVEN);
        self.put_task_ref(task);
    }

    pub(crate) fn put_opened(&mut self, epoch: u32, relaxed: bool) {
        self.put_u8(OPENED);
        self.put_u32(epoch);
        self.put_u8(u8::from(relaxed));
    }

    pub(crate) fn put_cleaned(&mut self, floor: u32) {
        self.put_u8(CLEANED);
        self.put_u32(floor);
    }

    pub(crate) fn put_numbers(&mut self, numbers: Numbers) {
        let Numbers { next_sequence, next_queue, epoch, floor, relaxed } = numbers;
        self.put_u8(NUMBERS);
        self.put_u64(next_sequence);
        self.put_u32(next_queue);
        self.put_u32(epoch);
        self.put_u32(floor);
        self.put_u8(u8::from(relaxed));
    }

    pub(crate) fn put_dedup(
        &mut self,
        queue: u32,
        key: &str,
        id: TaskId,
        sequence: u64,
        until: Timestamp,
    ) {
        self.put_u8(DEDUP);
        self.put_u32(queue);
        self.put_text(key);
        self.put(id.as_bytes());
        self.put_u64(sequence);
        self.put_u64(until.as_millis());
    }

    /// Writes a task whole and tells where its body lies now.
    pub(crate) fn put_snapshot(&mut self, snapshot: &Snapshot<'_>) -> Position {
        let Snapshot {
            queue,
            phase,
            entered_at,
            since,
            fence,
            deliveries,
            uncounted,
            settled,
            timer,
            turn,
            holds_key,
            last_error,
            dead,
            moved,
            written: Written { task, at: _, body },
        } = snapshot;
        self.put_u8(SNAPSHOT);
        self.put_u32(*queue);
        self.put_u8(*phase as u8);
        self.put_u64(entered_at.as_millis());
        self.put_u64(since.as_millis());
        self.put_u64(fence.as_u64());
        self.put_u32(*deliveries);
        self.put_u32(*uncounted);
        self.put_u8(u8::from(*settled));
        put_option(timer.as_ref(), self, |(at, hold), to| {
            to.put_u64(at.as_millis());
            put_hold(*hold, to);
        });
        put_option(turn.as_ref(), self, |(since, sequence), to| {
            to.put_u64(since.as_millis());
            to.put_u64(*sequence);
        });
        self.put_u8(u8::from(*holds_key));
        put_option(last_error.as_deref(), self, |text, to| to.put_text(text));
        put_option(dead.as_ref(), self, put_dead_letter);
        put_option(moved.as_ref(), self, put_dead_letter);
        self.put_body(*task, |to| to.put(body)).0
    }
}

/// Where a record with a list begins, and where the list's length goes.
#[derive(Debug)]
pub(crate) struct ListStart {
    record_at: usize,
    count_at: usize,
}

/// The check sum of a body, which also covers whose body it is.
pub(crate) fn body_crc(sequence: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(sequence as u32 ^ (sequence >> 32) as u32, body)
}

fn put_duration(duration: Duration, to: &mut impl Put) {
    to.put_u64(Timestamp::default().plus(duration).as_millis());
}

fn put_hold(hold: Hold, to: &mut impl Put) {
    let Hold { session, client, length_ms } = hold;
    to.put_u64(session);
    to.put_u8(u8::from(client));
    to.put_u32(length_ms);
}

fn put_option<'a, T: ?Sized, P: Put>(
    value: Option<&'a T>,
    to: &mut P,
    put: impl FnOnce(&'a T, &mut P),
) {
    to.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, to);
    }
}

fn put_dead_letter(dead: &DeadLetter, to: &mut impl Put) {
    let DeadLetter { source, reason, error, attempts, died_at } = dead;
    to.put_text(source.as_str());
    to.put_text(reason);
    put_option(error.as_deref(), to, |text, to| to.put_text(text));
    to.put_u32(*attempts);
    to.put_u64(died_at.as_millis());
}

/// Reads the records of a frame's body that lies at `at`. `None` in the place of a record that
/// cannot be read, after which there are no more.
pub(crate) fn read(body: &[u8], at: Position) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut take = Take::new(body);
    std::iter::from_fn(move || {
        if take.is_empty() {
            return None;
        }
        let record = take_record(&mut take, body.len(), at);
        if record.is_none() {
            take.rest();
        }
        Some(record)
    })
}

fn take_record<'a>(take: &mut Take<'a>, whole: usize, at: Position) -> Option<Record<'a>> {
    Some(match take.u8()? {
        ENQUEUED => {
            let (queue, count) = (take.u32()?, take.u32()?);
            let tasks = WrittenList { left: count, take: take.clone(), whole, at };
            for _ in 0..count {
                take_body(take, whole, at)?;
            }
            Record::Enqueued { queue, tasks }
        }
        LEASED => {
            let (_queue, hold, count) = (take.u32()?, take_hold(take)?, take.u32()?);
            let tasks = (0..count).map(|_| take_ref(take)).collect::<Option<_>>()?;
            Record::Leased { hold, tasks }
        }
        SETTLED => Record::Settled { task: take_ref(take)?, verdict: take_verdict(take)? },
        EXTENDED => Record::Extended { task: take_ref(take)?, length: take_duration(take)? },
        QUEUE => Record::Queue { id: take.u32()?, paused: take.u8()? != 0, spec: take.long()? },
        QUEUE_DELETED => Record::QueueDeleted { id: take.u32()? },
        PURGED => Record::Purged { id: take.u32()? },
        DEAD_PURGED => Record::DeadPurged { task: take_ref(take)? },
        REDRIVEN => Record::Redriven { task: take_ref(take)? },
        OPENED => Record::Opened { epoch: take.u32()?, relaxed: take.u8()? != 0 },
        SNAPSHOT => Record::Snapshot(Box::new(take_snapshot(take, whole, at)?)),
        DEDUP => Record::Dedup {
            queue: take.u32()?,
            key: take.text()?,
            id: TaskId::from_bytes(take.id()?),
            sequence: take.u64()?,
            until: take_time(take)?,
        },
        CLEANED => Record::Cleaned { floor: take.u32()? },
        NUMBERS => Record::Numbers(Numbers {
            next_sequence: take.u64()?,
            next_queue: take.u32()?,
            epoch: take.u32()?,
            floor: take.u32()?,
            relaxed: take.u8()? != 0,
        }),
        _ => return None,
    })
}

fn take_ref(take: &mut Take<'_>) -> Option<TaskRef> {
    Some(TaskRef { slot: take.u32()?, sequence: take.u64()? })
}

/// The body's own check sum is not looked at here: the frame's covers it.
fn take_body<'a>(take: &mut Take<'a>, whole: usize, at: Position) -> Option<Written<'a>> {
    let sequence = take.u64()?;
    let slot = take.u32()?;
    let len = take.u32()?;
    let _crc = take.u32()?;
    let at = at.plus(whole - take.len());
    Some(Written { task: TaskRef { slot, sequence }, at, body: take.bytes(len as usize)? })
}

fn take_time(take: &mut Take<'_>) -> Option<Timestamp> {
    take.u64().map(Timestamp::from_millis)
}

fn take_duration(take: &mut Take<'_>) -> Option<Duration> {
    take.u64().map(Duration::from_millis)
}

fn take_hold(take: &mut Take<'_>) -> Option<Hold> {
    Some(Hold { session: take.u64()?, client: take.u8()? != 0, length_ms: take.u32()? })
}

fn take_verdict(take: &mut Take<'_>) -> Option<Verdict> {
    Some(match take.u8()? {
        COMPLETE => Verdict::Complete,
        RETRY => Verdict::Retry { after: take_duration(take)?, error: None },
        RETRY_WITH_ERROR => {
            Verdict::Retry { after: take_duration(take)?, error: Some(take.text()?.into()) }
        }
        RELEASE => Verdict::Release { after: take_duration(take)? },
        DEAD_LETTER => Verdict::DeadLetter { reason: take.text()?.into() },
        _ => return None,
    })
}

fn take_option<'a, T>(
    take: &mut Take<'a>,
    value: impl FnOnce(&mut Take<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match take.u8()? {
        0 => Some(None),
        _ => value(take).map(Some),
    }
}

fn take_string(take: &mut Take<'_>) -> Option<String> {
    take.text().map(Into::into)
}

fn take_dead_letter(take: &mut Take<'_>) -> Option<DeadLetter> {
    Some(DeadLetter {
        source: take.text()?.try_into().ok()?,
        reason: take_string(take)?,
        error: take_option(take, take_string)?,
        attempts: take.u32()?,
        died_at: take_time(take)?,
    })
}

fn take_phase(take: &mut Take<'_>) -> Option<Phase> {
    let value = take.u8()?;
    let phases = [Phase::Scheduled, Phase::Ready, Phase::Leased, Phase::Dead];
    phases.into_iter().find(|phase| *phase as u8 == value)
}

fn take_snapshot<'a>(take: &mut Take<'a>, whole: usize, at: Position) -> Option<Snapshot<'a>> {
    Some(Snapshot {
        queue: take.u32()?,
        phase: take_phase(take)?,
        entered_at: take_time(take)?,
        since: take_time(take)?,
        fence: Fence::from_u64(take.u64()?),
        deliveries: take.u32()?,
        uncounted: take.u32()?,
        settled: take.u8()? != 0,
        timer: take_option(take, |take| Some((take_time(take)?, take_hold(take)?)))?,
        turn: take_option(take, |take| Some((take_time(take)?, take.u64()?)))?,
        holds_key: take.u8()? != 0,
        last_error: take_option(take, take_string)?,
        dead: take_option(take, take_dead_letter)?,
        moved: take_option(take, take_dead_letter)?,
        written: take_body(take, whole, at)?,
    })
}

/// Bytes of a body that were read from elsewhere than a frame, checked against its check sum.
/// `bytes` begin with the length and check sum that stand before every body.
pub(crate) fn checked_body(sequence: u64, len: u32, bytes: &Bytes) -> Option<Bytes> {
    let mut take = Take::new(bytes);
    if take.u32()? != len {
        return None;
    }
    let crc = take.u32()?;
    let body = bytes.get(BODY_CHECK_BYTES..)?.get(..len as usize)?;
    (body_crc(sequence, body) == crc)
        .then(|| bytes.slice(BODY_CHECK_BYTES..BODY_CHECK_BYTES + len as usize))
}
