use tidegate::{DeadLetter, State, Task, TaskId, Timestamp};

use super::*;

/// Two flights of one aircraft, of which the second was cancelled, and one of another.
fn expected() -> Expected {
    let flight = |aircraft: &str, fate| (Some(aircraft.to_owned()), fate);
    let flights = [
        (1, flight("A", Fate::Delay(5))),
        (2, flight("A", Fate::Cancelled)),
        (3, flight("B", Fate::Unknown)),
    ];
    Expected { flights: flights.into() }
}

fn started(line: u32) -> Event {
    Event::Started { line, attempt: 1, deliveries: 1 }
}

fn settled(line: u32, verdict: Verdict) -> Event {
    Event::Settled { line, verdict, accepted: true }
}

fn sent(line: u32, deduplicated: bool) -> Event {
    Event::Sent { line, deduplicated }
}

/// A story that balances, by process: 1 is killed, 2 sends, 3 works.
fn story() -> Vec<(u32, Event)> {
    let (killed, producer, worker) = (KILLED, KILLED + 1, KILLED + 2);
    vec![
        (producer, sent(1, false)),
        (producer, Event::Full { tasks: 2 }),
        (producer, sent(2, false)),
        (worker, started(3)),
        (worker, settled(3, Verdict::Retry)),
        (killed, started(1)),
        (killed, Event::Found { line: 1, fate: Fate::Delay(5) }),
        (killed, settled(1, Verdict::Complete)),
        (killed, Event::Hung { line: 3, token: "00".into() }),
        (producer, Event::Unanswered { tasks: 1 }),
        (producer, sent(3, true)),
        (worker, started(2)),
        (worker, Event::Found { line: 2, fate: Fate::Cancelled }),
        (worker, settled(2, Verdict::DeadLetter)),
        (worker, started(3)),
        (
            worker,
            Event::Stale {
                line: 3,
                in_other_hands: true,
                accepted: false,
                answer: "the task was handed out again".into(),
            },
        ),
        (worker, Event::Found { line: 3, fate: Fate::Unknown }),
        (worker, settled(3, Verdict::Complete)),
    ]
}

fn dead(line: u32, reason: &str) -> TaskView {
    let queue: tidegate::QueueName = "flights".parse().unwrap();
    let died_at = Timestamp::from_millis(1);
    let task = Task {
        id: TaskId::new(),
        queue: queue.clone(),
        kind: "k".into(),
        payload: "".into(),
        headers: [("line".to_owned(), line.to_string())].into(),
        priority: 0,
        ordering_key: None,
        partition: 0,
        sequence: u64::from(line),
        deliveries: 1,
        attempt: 1,
        enqueued_at: died_at,
        last_error: None,
        dead_letter: None,
    };
    let dead_letter =
        DeadLetter { source: queue, reason: reason.into(), error: None, attempts: 1, died_at };
    TaskView { task, state: State::Dead, until: None, dead_letter: Some(dead_letter) }
}

fn evidence(story: Vec<(u32, Event)>) -> Evidence {
    let remains = Remains {
        stats: QueueStats { dead: 1, ..QueueStats::default() },
        dead: vec![dead(2, "cancelled: the flight never left")],
        capacity: Capacity::Bounded(200),
    };
    Evidence {
        entries: story.into_iter().map(|(process, event)| Entry { process, event }).collect(),
        remains,
        killed: Some(Duration::from_secs(1)),
        elapsed: Duration::from_secs(2),
    }
}

/// The checks that do not hold.
fn broken(evidence: &Evidence) -> Vec<&'static str> {
    let account = audit(&expected(), evidence);
    let broken = account.checks.iter().filter(|check| !check.holds).map(|check| check.check);
    broken.collect()
}

fn without(unwanted: fn(&Event) -> bool) -> Evidence {
    evidence(story().into_iter().filter(|(_, event)| !unwanted(event)).collect())
}

#[test]
fn a_story_without_a_fault_balances() {
    let account = audit(&expected(), &evidence(story()));
    assert!(account.balances(), "{account:?}");
    let n = account.numbers;
    assert_eq!((n.sent, n.completed, n.dead, n.lost, n.unknown), (3, 2, 1, 0, 1));
    assert_eq!((n.retried, n.unanswered, n.deduplicated, n.waited_for_room), (1, 1, 1, 1));
    assert_eq!((n.in_hand_at_the_kill, n.redelivered_after_the_kill), (1, 1));
}

#[test]
fn what_was_in_other_hands_before_the_kill_did_not_come_again() {
    let ended = |(_, event): &(u32, Event)| !matches!(event, Event::Unanswered { .. });
    let until_the_kill = story().into_iter().take_while(ended).collect();
    let numbers = audit(&expected(), &evidence(until_the_kill)).numbers;
    assert_eq!((numbers.in_hand_at_the_kill, numbers.redelivered_after_the_kill), (1, 0));
}

#[test]
fn a_task_that_nobody_finished_is_lost() {
    let lost = without(|event| matches!(event, Event::Found { line: 3, .. }));
    let broken = broken(&lost);
    assert!(broken.contains(&"nothing was lost"), "{broken:?}");
    assert!(broken.contains(&"sent = completed + dead"), "{broken:?}");
}

#[test]
fn a_flight_that_was_never_sent_is_missed() {
    let unsent = without(|event| matches!(event, Event::Sent { line: 3, .. }));
    assert!(broken(&unsent).contains(&"every flight was sent"));
}

#[test]
fn an_old_acknowledgement_that_is_accepted_or_never_tried_is_a_fault() {
    let mut accepted = story();
    accepted.push((
        2,
        Event::Stale { line: 3, in_other_hands: false, accepted: true, answer: "done".into() },
    ));
    assert_eq!(broken(&evidence(accepted)), ["none of them was accepted"]);
    let untried = without(|event| matches!(event, Event::Stale { .. }));
    assert_eq!(
        broken(&untried),
        ["old acknowledgements were presented, while others had the task too"]
    );
}

#[test]
fn what_is_left_in_the_queue_and_what_died_for_another_reason_are_faults() {
    let mut left = evidence(story());
    left.remains.stats.ready = 1;
    assert_eq!(broken(&left), ["nothing is left in the queue"]);
    let mut other = evidence(story());
    other.remains.dead = vec![dead(2, "attempts exhausted")];
    assert_eq!(broken(&other), ["each with its reason"]);
    let mut unwanted = evidence(story());
    unwanted.remains.dead.push(dead(3, "cancelled"));
    assert!(broken(&unwanted).contains(&"the dead are the cancelled flights"));
}

#[test]
fn a_wrong_result_is_a_fault() {
    let mut wrong = story();
    wrong.push((2, Event::Found { line: 1, fate: Fate::Delay(6) }));
    assert_eq!(broken(&evidence(wrong)), ["every result is that of the input"]);
}
