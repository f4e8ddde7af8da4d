//! Leases as `lua/receive.lua` writes them.

use bytes::Bytes;
use redis::Value;
use tidegate_core::{Operation, Result};

use crate::reply::{self, Parts, strange};

const RECEIVE: Operation = Operation::Receive;

/// A lease, with the fields of its task.
pub(crate) struct Leased {
    pub(crate) number: u64,
    pub(crate) fence: u64,
    pub(crate) priority: u32,
    pub(crate) deliveries: u32,
    pub(crate) attempt: u32,
    pub(crate) moved: Option<Bytes>,
    pub(crate) last_error: Option<String>,
    pub(crate) enqueued_us: u64,
    pub(crate) fields: Parts,
}

impl Leased {
    pub(crate) fn read(mut lease: Parts, fence: u64) -> Result<Self> {
        let mut told = match lease.next()? {
            Value::Int(number) => Self {
                number: u64::try_from(number).map_err(|_| strange(RECEIVE))?,
                fence: lease.number()?,
                priority: lease.count()?,
                deliveries: lease.count()?,
                attempt: lease.count()?,
                moved: lease.maybe_bytes()?,
                last_error: lease.maybe_text()?,
                enqueued_us: lease.number()?,
                fields: Parts::none(RECEIVE),
            },
            id => {
                let id = reply::text(id, RECEIVE)?;
                let number = id.strip_suffix("-0").and_then(|number| number.parse().ok());
                let number = number.ok_or_else(|| strange(RECEIVE))?;
                Self {
                    number,
                    fence,
                    priority: lease.count()?,
                    deliveries: 1,
                    attempt: 1,
                    moved: None,
                    last_error: None,
                    enqueued_us: number,
                    fields: Parts::none(RECEIVE),
                }
            }
        };
        lease.count()?;
        told.fields = lease;
        Ok(told)
    }
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

/// The parts of a lease before its fields, the last of which says how many those are; and of one of a task of which
/// nothing was known but what was sent, which begins with a text.
const HEAD: usize = 9;
const HEAD_OF_NEW: usize = 3;

/// An answer of `lua/receive.lua`, each lease in it for itself.
pub(crate) fn with_leases_apart(answer: Value, doing: Operation) -> Result<Value> {
    let Value::Array(mut answer) = answer else { return Err(strange(doing)) };
    let Some(Value::Array(joined)) = answer.first_mut().map(std::mem::take) else {
        return Err(strange(doing));
    };
    let (mut joined, mut leases) = (joined.into_iter(), Vec::new());
    while let Some(first) = joined.next() {
        let head = if matches!(first, Value::Int(_)) { HEAD } else { HEAD_OF_NEW };
        let mut lease = vec![first];
        lease.extend(joined.by_ref().take(head - 1));
        let fields = match lease.last() {
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
