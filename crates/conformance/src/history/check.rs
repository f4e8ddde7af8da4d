//! The rules. Each judges only what is certain: an operation without an answer may have been
//! carried out, or not, or later; and what happened within one operation happened at any time
//! between its start and its end.

use std::collections::HashMap;

use super::event::{Decided, Event, Outcome};
use super::findings::{Findings, Judgement};
use super::life::{Delivery, Life, Lives, Send};

/// Judges a history. It takes time in proportion to its length.
///
/// What is lost can only be told for queues with a `Final` event; the others are listed as
/// undecided. Brokers whose completions are kept as a watermark hand completed tasks out again by
/// declaration; their histories are judged as if that were wrong.
pub fn check(events: &[Event]) -> Findings {
    let lives = Lives::of(events);
    let mut findings =
        Findings { events: events.len(), tasks: lives.tasks.len(), ..Findings::default() };
    let mut ids: Vec<&str> = lives.tasks.keys().copied().collect();
    ids.sort_unstable();
    for (id, life) in ids.iter().filter_map(|id| Some((*id, lives.tasks.get(id)?))) {
        presence(&lives, id, life, &mut findings);
        leases(&lives, id, life, &mut findings);
        resurrection(id, life, &mut findings);
        earliness(&lives, id, life, &mut findings);
        repetition(&lives, id, life, &mut findings);
    }
    order(&lives, &mut findings);
    dedup(&lives, &mut findings);
    counts(&lives, &mut findings);
    findings
}

/// A send with the id and the life of its task.
type Sent<'a> = (&'a Send<'a>, &'a str, &'a Life<'a>);

/// `lost`, `dlq-lost`, `unexpected` and `recovered`.
fn presence(lives: &Lives<'_>, id: &str, life: &Life<'_>, findings: &mut Findings) {
    let made = |send: &&Send<'_>| {
        send.outcome != Outcome::Fail && send.dedup.is_none_or(|dedup| dedup.stands_for.is_none())
    };
    let seen = !life.deliveries.is_empty() || lives.left.contains(id);
    let Some(send) = life.sends.iter().find(made) else {
        if seen {
            findings.add(Judgement::Unexpected, id, "it came out and nobody made it");
        }
        return;
    };
    let acknowledged = life.sends.iter().find(|s| s.outcome == Outcome::Ok && made(s));
    let Some(acknowledged) = acknowledged else {
        if seen {
            let why = format!("its send at {} µs had no answer and was carried out", send.start);
            findings.add(Judgement::Recovered, id, why);
        }
        return;
    };
    let has_final = lives.finals.contains_key(acknowledged.queue);
    let purged = lives.purged_after(acknowledged.queue, acknowledged.start);
    if !has_final || purged || lives.left.contains(id) {
        return;
    }
    match life.settles.iter().filter(|settle| settle.may_be_the_end()).max_by_key(|s| s.start) {
        None => {
            let times = life.deliveries.len();
            let end = acknowledged.end;
            let why = format!("acknowledged at {end} µs, handed out {times} times, and not there");
            findings.add(Judgement::Lost, id, why);
        }
        Some(last) if last.is_death() => {
            let later = life.deliveries.iter().any(|d| d.token != last.token && d.end > last.start);
            if !later && !lives.purged_after(last.queue, last.start) {
                let why = format!("it died at {} µs and is not among the dead", last.end);
                findings.add(Judgement::DlqLost, id, why);
            }
        }
        Some(_) => {}
    }
}

/// `lease-overlap` and `stale-accept`.
fn leases(lives: &Lives<'_>, id: &str, life: &Life<'_>, findings: &mut Findings) {
    if !life.is_one_task() {
        return;
    }
    for pair in life.deliveries.windows(2) {
        if let [a, b] = pair
            && overlap(lives, life, a, b)
        {
            let why = format!(
                "held by {} from {} µs and handed to {} by {} µs",
                a.client, a.end, b.client, b.end
            );
            findings.add(Judgement::LeaseOverlap, id, why);
        }
    }
    let settles = life.settles.iter().filter(|s| s.is_done()).map(|s| (s.start, s.token));
    let extends = life.extends.iter().filter(|e| e.is_done()).map(|e| (e.start, e.token));
    for (start, token) in settles.chain(extends) {
        let Some(own) = life.deliveries.iter().find(|d| d.token == token) else {
            continue;
        };
        let newer = |d: &&Delivery<'_>| d.token != token && own.end <= d.start && d.end <= start;
        if let Some(newer) = life.deliveries.iter().find(newer) {
            let why = format!(
                "a token of {} µs was taken at {start} µs, after a newer one of {} µs",
                own.end, newer.end
            );
            findings.add(Judgement::StaleAccept, id, why);
        }
    }
}

/// Whether two leases of one task certainly held at one time, whichever was first.
fn overlap(lives: &Lives<'_>, life: &Life<'_>, a: &Delivery<'_>, b: &Delivery<'_>) -> bool {
    let b_into_a = b.end < lives.held_until(life, a);
    let a_into_b = a.end < lives.held_until(life, b);
    if a.end <= b.start {
        b_into_a
    } else if b.end <= a.start {
        a_into_b
    } else {
        b_into_a && a_into_b
    }
}

/// `resurrected`.
fn resurrection(id: &str, life: &Life<'_>, findings: &mut Findings) {
    let completed = life.settles.iter().filter(|s| s.is_done() && s.verdict == Decided::Complete);
    let Some(end) = completed.map(|settle| settle.end).min().filter(|_| life.is_one_task()) else {
        return;
    };
    if let Some(again) = life.deliveries.iter().find(|delivery| delivery.start > end) {
        let why = format!("completed at {end} µs and handed out after {} µs", again.start);
        findings.add(Judgement::Resurrected, id, why);
    }
}

/// `early`.
fn earliness(lives: &Lives<'_>, id: &str, life: &Life<'_>, findings: &mut Findings) {
    let sends = life.sends.iter().filter(|send| send.outcome != Outcome::Fail);
    let due = sends.map(|send| send.start.saturating_add(send.delay)).min().unwrap_or(0);
    if let Some(early) = life.deliveries.iter().find(|delivery| delivery.end < due) {
        let why = format!("handed out by {} µs, due at {due} µs or later", early.end);
        findings.add(Judgement::Early, id, why);
    }
    for settle in life.settles.iter().filter(|settle| settle.is_done() && !settle.is_death()) {
        let (Decided::Retry { after_us } | Decided::Release { after_us }) = settle.verdict else {
            continue;
        };
        let due = settle.start.saturating_add(after_us);
        let early = |d: &&Delivery<'_>| d.start >= settle.end && d.end < due;
        let found = life.deliveries.iter().find(early);
        if let Some(early) = found.filter(|early| !lives.redriven_before(early.end)) {
            let why = format!("handed out by {} µs, put off until {due} µs or later", early.end);
            findings.add(Judgement::Early, id, why);
        }
    }
}

/// `duplicated-delivery`, with the reason for each.
fn repetition(lives: &Lives<'_>, id: &str, life: &Life<'_>, findings: &mut Findings) {
    for pair in life.deliveries.windows(2) {
        if let [before, again] = pair {
            let why = format!("again at {} µs: {}", again.end, reason(lives, life, before, again));
            findings.add(Judgement::DuplicatedDelivery, id, why);
        }
    }
}

fn reason(
    lives: &Lives<'_>,
    life: &Life<'_>,
    before: &Delivery<'_>,
    again: &Delivery<'_>,
) -> &'static str {
    let settled = |s: &super::life::Settle<'_>| {
        s.token == before.token && s.may_be_done() && s.start <= again.end
    };
    if life.settles.iter().any(settled) {
        "it was given back"
    } else if lives.gave_back_between(before, again.end) {
        "its session was closed"
    } else if lives.restarted_between(before.start, again.end) {
        "the broker was restarted"
    } else if lives.held_until(life, before) <= again.end {
        "its lease ended"
    } else if lives.redriven_before(again.end) {
        "the dead were redriven"
    } else {
        "no reason is known"
    }
}

/// `fifo-inversion`: within one producer and key, each task is over before the next is handed out,
/// unless one receive took both.
fn order(lives: &Lives<'_>, findings: &mut Findings) {
    let mut lines: HashMap<(&str, &str, &str), Vec<Sent<'_>>> = HashMap::new();
    for (id, life) in lives.tasks.iter().filter(|(_, life)| life.is_one_task()) {
        let sent = life.sends.iter().filter(|send| send.outcome == Outcome::Ok);
        for send in sent {
            if let Some(key) = send.key {
                let line = lines.entry((send.queue, key, send.producer)).or_default();
                line.push((send, id, life));
            }
        }
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|(line, _)| *line);
    for (_, mut line) in lines {
        line.sort_by_key(|(send, _, _)| send.seq);
        for pair in line.windows(2) {
            if let [(first, id, earlier), (second, later_id, later)] = pair
                && first.end <= second.start
                && let Some(why) = inverted(lives, first.queue, earlier, later)
            {
                findings.add(Judgement::FifoInversion, *later_id, format!("before {id}: {why}"));
            }
        }
    }
}

/// How the later task was handed out while the earlier one was not over, if it was.
fn inverted(
    lives: &Lives<'_>,
    queue: &str,
    earlier: &Life<'_>,
    later: &Life<'_>,
) -> Option<String> {
    let here = |d: &&Delivery<'_>| d.queue == queue;
    let first = later.deliveries.iter().find(here)?;
    let together =
        |d: &Delivery<'_>| (d.client, d.start, d.end) == (first.client, first.start, first.end);
    if earlier.deliveries.iter().any(together) {
        return None;
    }
    let after = earlier.deliveries.iter().filter(here).find(|d| d.start >= first.end);
    if let Some(after) = after.filter(|after| !lives.redriven_before(after.end)) {
        return Some(format!(
            "handed out by {} µs, the earlier one not until {} µs",
            first.end, after.start
        ));
    }
    let holding =
        |d: &&Delivery<'_>| d.end <= first.start && first.end < lives.held_until(earlier, d);
    let holding = earlier.deliveries.iter().filter(here).find(holding)?;
    if lives.purged_after(queue, holding.start) {
        return None;
    }
    Some(format!("handed out by {} µs, the earlier one held since {} µs", first.end, holding.end))
}

/// `dedup-escape`: of two sends beside each other either may have been first, so it must be one
/// either way.
fn dedup(lives: &Lives<'_>, findings: &mut Findings) {
    let mut held: HashMap<(&str, &str), Vec<Sent<'_>>> = HashMap::new();
    for (id, life) in &lives.tasks {
        for send in life.sends.iter().filter(|send| send.outcome == Outcome::Ok) {
            if let Some(dedup) = send.dedup.filter(|dedup| dedup.stands_for.is_none()) {
                held.entry((send.queue, &dedup.key)).or_default().push((send, id, life));
            }
        }
    }
    let mut held: Vec<_> = held.into_iter().collect();
    held.sort_by_key(|(key, _)| *key);
    for ((queue, key), mut sends) in held {
        sends.sort_by_key(|(send, _, _)| (send.start, send.end));
        for pair in sends.windows(2) {
            if let [(first, id, life), (second, second_id, second_life)] = pair
                && !lives.purged_after(queue, first.start)
                && second.end < holds_until(lives, first, life)
                && (first.end <= second.start
                    || first.end < holds_until(lives, second, second_life))
            {
                let why = format!("made at {} µs while {id} held the key {key:?}", second.end);
                findings.add(Judgement::DedupEscape, *second_id, why);
            }
        }
    }
}

/// Until when a task certainly holds its dedup key.
fn holds_until(lives: &Lives<'_>, send: &Send<'_>, life: &Life<'_>) -> u64 {
    match send.dedup.and_then(|dedup| dedup.window_us) {
        Some(window) => send.start.saturating_add(window),
        None => {
            let ended = life.settles.iter().filter(|s| s.may_be_the_end()).map(|s| s.start);
            // WHY: once handed out, it may die of its lease's end without anybody settling it.
            let died = life.deliveries.iter().map(|d| lives.held_until(life, d));
            ended.chain(died).min().unwrap_or(u64::MAX)
        }
    }
}

/// `count-drift`, and the queues of which nothing final is known.
fn counts(lives: &Lives<'_>, findings: &mut Findings) {
    let mut finals: Vec<_> = lives.finals.iter().collect();
    finals.sort_by_key(|(queue, _)| **queue);
    for (queue, last) in finals {
        let held = (last.live.len() as u64, last.dead.len() as u64);
        let counted = (last.live_count, last.dead_count);
        if held != counted {
            let why = format!("it holds {held:?} live and dead tasks and counts {counted:?}");
            findings.add(Judgement::CountDrift, *queue, why);
        }
    }
    let sends = lives.tasks.values().flat_map(|life| &life.sends);
    let mut open: Vec<&str> =
        sends.map(|send| send.queue).filter(|queue| !lives.finals.contains_key(queue)).collect();
    open.sort_unstable();
    open.dedup();
    let missing = |queue: &str| format!("what is lost of {queue:?}: there is no final list of it");
    findings.undecided.extend(open.into_iter().map(missing));
}
