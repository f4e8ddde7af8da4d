//! Leases as `lua/receive.lua` writes them.

use bytes::Bytes;
use redis::Value;
use tidegate_core::{Operation, Result};

use crate::envelope::Fields;
use crate::reply::{self, Parts, strange};

const RECEIVE: Operation = Operation::Receive;

/// A lease, with what its task's fields say.
pub(crate) struct Leased {
    pub(crate) number: u64,
    pub(crate) fence: u64,
    pub(crate) priority: u32,
    pub(crate) deliveries: u32,
    pub(crate) attempt: u32,
    pub(crate) moved: Option<Bytes>,
    pub(crate) last_error: Option<String>,
    pub(crate) enqueued_us: u64,
    pub(crate) fields: Fields,
}

impl Leased {
    pub(crate) fn read(mut lease: Parts, fence: u64) -> Result<Self> {
        let first = lease.next()?;
        if let Value::Int(number) = first {
            return Ok(Self {
                number: u64::try_from(number).map_err(|_| strange(RECEIVE))?,
                fence: lease.number()?,
                priority: lease.count()?,
                deliveries: lease.count()?,
                attempt: lease.count()?,
                moved: lease.maybe_bytes()?,
                last_error: lease.maybe_text()?,
                enqueued_us: lease.number()?,
                fields: fields(lease)?,
            });
        }
        let id = reply::text(first, RECEIVE)?;
        let number = id.strip_suffix("-0").and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| strange(RECEIVE))?;
        let is_short = lease.len() == SHORT - 1;
        let (priority, fields) = if is_short {
            (0, Fields::of(&lease.text()?, lease.text()?, lease.bytes()?, RECEIVE)?)
        } else {
            (lease.count()?, fields(lease)?)
        };
        Ok(Self {
            number,
            fence,
            priority,
            deliveries: 1,
            attempt: 1,
            moved: None,
            last_error: None,
            enqueued_us: number,
            fields,
        })
    }
}

/// What is left of a lease: the number of its task's fields, and those.
fn fields(mut lease: Parts) -> Result<Fields> {
    lease.count()?;
    Fields::read(lease, RECEIVE)
}

/// An answer of `lua/receive.lua` for each of those who wanted so many leases: theirs in the order in which they came,
/// and nothing for one who got none though others did. There may be more, for what they got was not too little.
pub(crate) fn shared_out(answer: Value, limits: &[usize], doing: Operation) -> Result<Vec<Value>> {
    let Value::Array(mut answer) = with_leases_apart(answer, doing)? else {
        return Err(strange(doing));
    };
    let Some(Value::Array(leases)) = answer.first_mut().map(std::mem::take) else {
        return Err(strange(doing));
    };
    let (is_empty, mut leases) = (leases.is_empty(), leases.into_iter());
    let share = |limit: &usize| {
        let own: Vec<Value> = leases.by_ref().take(*limit).collect();
        if own.is_empty() && !is_empty {
            return Value::Nil;
        }
        let rest = answer.iter().skip(1).cloned();
        Value::Array([Value::Array(own)].into_iter().chain(rest).collect())
    };
    Ok(limits.iter().map(share).collect())
}

/// The parts of a lease before its fields, the last of which says how many those are; of one of a task of which nothing
/// was known but what was sent, which begins with a text; and all parts of such a one with nothing but its values.
const HEAD: usize = 9;
const HEAD_OF_NEW: usize = 3;
const SHORT: usize = 4;

/// An answer of `lua/receive.lua`, each lease in it for itself.
pub(crate) fn with_leases_apart(answer: Value, doing: Operation) -> Result<Value> {
    let Value::Array(mut answer) = answer else { return Err(strange(doing)) };
    let Some(Value::Array(joined)) = answer.first_mut().map(std::mem::take) else {
        return Err(strange(doing));
    };
    let (mut joined, mut leases) = (joined.into_iter().peekable(), Vec::new());
    while let Some(first) = joined.next() {
        let (is_new, has_head) =
            (!matches!(first, Value::Int(_)), matches!(joined.peek(), Some(Value::Int(_))));
        let head = match (is_new, has_head) {
            (true, false) => SHORT,
            (true, true) => HEAD_OF_NEW,
            (false, _) => HEAD,
        };
        let mut lease = Vec::with_capacity(head);
        lease.push(first);
        lease.extend(joined.by_ref().take(head - 1));
        let fields = match lease.last() {
            _ if head == SHORT => 0,
            Some(Value::Int(count)) => usize::try_from(*count).map_err(|_| strange(doing))?,
            _ => return Err(strange(doing)),
        };
        lease.extend(joined.by_ref().take(fields));
        if lease.len() != head + fields {
            return Err(strange(doing));
        }
        leases.push(Value::Array(lease));
    }
    if let Some(place) = answer.first_mut() {
        *place = Value::Array(leases);
    }
    Ok(Value::Array(answer))
}
