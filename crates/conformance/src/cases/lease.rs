//! Leases: exclusive for a time, proven by a token, and lost to whoever is handed the task next.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::capabilities::{DeliveryCount, Fencing};
use tidegate_core::limits::TOKEN_BYTES_MAX;
use tidegate_core::{
    ErrorKind, Held, LeaseToken, Lost, ReceiveOptions, Settled, State, Verdict,
};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, longest_lease, now_in,
    refused, retry_at_once, timed,
};

pub(super) async fn a_leased_task_is_hidden(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    t.take_one(&rx).await?;
    t.nothing(&rx).await?;
    t.nothing(&t.open(&spec.name).await?).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_lease_tells_its_length_and_its_end(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 500)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let clock = t.broker().clock().clone();
    let before = clock.now();
    let lease = t.take_one(&rx).await?;
    ensure_eq!(lease.duration, spec.lease, "the length of a lease");
    // WHY: two clocks that run by themselves agree to a tick at best.
    let slack = if t.time_stands_still() { Duration::ZERO } else { t.ticks(1) };
    let (earliest, latest) = (before.plus(spec.lease), clock.now().plus(spec.lease + slack));
    let ends_in_time = earliest <= lease.until.plus(slack) && lease.until <= latest;
    ensure!(ends_in_time, "a lease ends at {}, not {earliest} to {latest}", lease.until);
    Ok(Shown::Honoured)
}

pub(super) async fn an_ended_lease_is_handed_out_again(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 10)?;
    let rx = t.start(&spec).await?;
    let sent = t.send(&spec.name, &["a"]).await?;
    let first = t.take_one(&rx).await?;
    t.pass(11).await;
    let again = t.take_one(&rx).await?;
    ensure_eq!(vec![again.task.id], vec![first.task.id], "the task handed out again");
    ensure_eq!(Some(again.task.sequence), sent.first().map(|s| s.sequence), "its sequence");
    if t.can().deliveries == DeliveryCount::Counted {
        ensure_eq!((again.task.deliveries, again.task.attempt), (2, 2), "deliveries and attempt");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_can_ask_for_its_own_lease(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 100)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let options = ReceiveOptions::up_to(1).leased_for(t.ticks(10));
    if !t.can().lease_per_receive {
        return refused(rx.receive(&options).await);
    }
    let leases = t.take_with(&rx, &options).await?;
    ensure!(leases.iter().all(|l| l.duration == t.ticks(10)), "not the length asked for");
    t.nothing(&rx).await?;
    t.pass(11).await;
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn extending_keeps_the_lease(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 20)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    t.pass(10).await;
    let extended = rx.extend_one(&lease.token, t.ticks(30)).await?;
    ensure_eq!(extended, now_in(State::Leased), "an extend");
    t.pass(15).await;
    t.nothing(&rx).await?;
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete within the extension");
    Ok(Shown::Honoured)
}

pub(super) async fn an_extension_counts_from_now(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 200)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(
        rx.extend_one(&lease.token, t.ticks(10)).await?,
        now_in(State::Leased),
        "an extend to less than what was left"
    );
    t.pass(11).await;
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_stale_token_neither_settles_nor_extends(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 50)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let stale = t.take_one(&rx).await?.token;
    t.pass(51).await;
    let current = t.take_one(&rx).await?;
    ensure!(stale != current.token, "two deliveries have one token");
    if t.can().fencing == Fencing::Advisory {
        let _ = rx.settle_one(&stale, Verdict::Complete).await?;
        return Ok(Shown::Refused);
    }
    const LOST: Settled = Settled::Lost(Lost::Superseded);
    ensure_eq!(rx.extend_one(&stale, t.ticks(900)).await?, LOST, "an extend with a stale token");
    let verdicts = [Verdict::Complete, retry_at_once(), Verdict::DeadLetter { reason: "no".into() }];
    for verdict in verdicts {
        ensure_eq!(rx.settle_one(&stale, verdict.clone()).await?, LOST, "a stale {verdict:?}");
    }
    t.nothing(&rx).await?;
    ensure_eq!(rx.complete(&current).await?, DONE, "a complete with the newest token");
    Ok(Shown::Honoured)
}

pub(super) async fn an_ended_lease_still_settles_until_it_is_handed_out_again(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 10)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    t.pass(11).await;
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete after the lease ended");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn an_ended_lease_cannot_be_extended(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 10)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    t.pass(11).await;
    let extended = rx.extend_one(&lease.token, t.ticks(100)).await?;
    ensure_eq!(extended, Settled::Lost(Lost::Expired), "an extend of an ended lease");
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_token_is_good_in_any_session_or_bound_to_its_own(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let other = t.open(&spec.name).await?;
    t.send(&spec.name, &["a", "b"]).await?;
    let [a, b] = <[_; 2]>::try_from(t.take(&rx, 2).await?).map_err(|_| Failure::new("not two"))?;
    if timed(&t.can()) {
        ensure_eq!(other.complete(&a).await?, DONE, "a complete in another session");
        rx.close(Held::Keep).await?;
        ensure_eq!(other.complete(&b).await?, DONE, "a complete after its session was closed");
        return Ok(Shown::Honoured);
    }
    match other.complete(&a).await {
        Ok(Settled::Lost(_)) => {}
        Err(error) if error.kind() == ErrorKind::Invalid => {}
        answer => return Err(Failure::new(format!("a bound token was taken: {answer:?}"))),
    }
    ensure_eq!(rx.complete(&a).await?, DONE, "a complete in the token's own session");
    Ok(Shown::Refused)
}

pub(super) async fn a_token_of_another_queue_carries_nothing_out(t: Trial) -> Proof {
    let (mail, sms) = (t.spec("mail")?, t.spec("sms")?);
    let (rx, other) = (t.start(&mail).await?, t.start(&sms).await?);
    t.send(&mail.name, &["a"]).await?;
    t.send(&sms.name, &["b"]).await?;
    let (own, foreign) = (t.take_one(&rx).await?, t.take_one(&other).await?);
    let batch = [
        (own.token.clone(), Verdict::Complete),
        (foreign.token.clone(), Verdict::Complete),
    ];
    fails_with(rx.settle(&batch).await, ErrorKind::Invalid)?;
    let extends = [(own.token.clone(), t.ticks(50)), (foreign.token.clone(), t.ticks(50))];
    fails_with(rx.extend(&extends).await, ErrorKind::Invalid)?;
    ensure_eq!(rx.complete(&own).await?, DONE, "a complete after the refused batch");
    ensure_eq!(other.complete(&foreign).await?, DONE, "a complete on the other queue");
    Ok(Shown::Honoured)
}

pub(super) async fn garbage_is_not_a_token(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let size = lease.token.as_bytes().len();
    ensure!((1..=TOKEN_BYTES_MAX).contains(&size), "a token has {size} bytes");
    for garbage in [&b""[..], b"garbage", &[0; 29], &[b'x'; TOKEN_BYTES_MAX + 1]] {
        let garbage = LeaseToken::from_bytes(garbage.to_vec());
        let batch =
            [(lease.token.clone(), Verdict::Complete), (garbage.clone(), Verdict::Complete)];
        fails_with(rx.settle(&batch).await, ErrorKind::Invalid)?;
        fails_with(rx.extend_one(&garbage, t.ticks(5)).await, ErrorKind::Invalid)?;
    }
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete after refused batches");
    Ok(Shown::Honoured)
}

pub(super) async fn a_lease_has_a_length_within_the_limits(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let too_long = longest_lease(&t.can()) + Duration::from_secs(1);
    fails_with(rx.extend_one(&lease.token, Duration::ZERO).await, ErrorKind::Invalid)?;
    fails_with(rx.extend_one(&lease.token, too_long).await, ErrorKind::Unsupported)?;
    if t.can().lease_per_receive {
        let options = ReceiveOptions::up_to(1);
        let zero = options.clone().leased_for(Duration::ZERO);
        fails_with(rx.receive(&zero).await, ErrorKind::Invalid)?;
        fails_with(rx.receive(&options.leased_for(too_long)).await, ErrorKind::Unsupported)?;
    }
    Ok(Shown::Honoured)
}

pub(super) async fn every_delivery_has_a_token_of_its_own(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c"]).await?;
    let mut tokens = BTreeSet::new();
    for _ in 0..3 {
        for lease in t.take(&rx, 3).await? {
            tokens.insert(lease.token.clone());
            let release = Verdict::Release { after: Duration::ZERO };
            let _ = rx.settle_one(&lease.token, release).await?;
        }
    }
    ensure_eq!(tokens.len(), 9, "tokens of nine deliveries");
    Ok(Shown::Honoured)
}
