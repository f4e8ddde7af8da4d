//! The account as people and programs read it.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::audit::Account;
use super::flaky;
use crate::units::{grouped, show};

/// Where the data lies.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) kept: bool,
}

impl Account {
    pub(super) fn json(&self, place: &Place) -> Value {
        json!({
            "balances": self.balances(),
            "account": self.numbers,
            "checks": self.checks,
            "dir": place.path,
            "kept": place.kept,
        })
    }

    pub(super) fn text(&self, place: &Place) -> String {
        let mut text = String::from("\n");
        for (name, number, note) in self.rows() {
            let row = format!("  {name:<28}{:>7}   {note}", grouped(number));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", row.trim_end());
        }
        text.push('\n');
        for check in &self.checks {
            let mark = if check.holds { "ok    " } else { "BROKEN" };
            let _ = writeln!(text, "  {mark}  {}", check.check);
        }
        let verdict =
            if self.balances() { "The account balances." } else { "The account does not balance." };
        let _ = write!(text, "\n{verdict} {}", place.text());
        text
    }

    fn rows(&self) -> Vec<(&'static str, u64, String)> {
        let n = &self.numbers;
        let ms = Duration::from_millis;
        let mut rows = vec![
            ("flights in the input", n.input, format!("of {} aircraft", grouped(n.aircraft))),
            (
                "sent",
                n.sent,
                match (n.killed_after_ms, n.unanswered) {
                    (None, _) => "in memory".into(),
                    (Some(_), 0) => "durably".into(),
                    (Some(_), lost) => format!(
                        "durably; {} of them again, as the answer was lost at the kill; {} had arrived",
                        grouped(lost),
                        grouped(n.deduplicated)
                    ),
                },
            ),
            (
                "waited for room",
                n.waited_for_room,
                format!("times: the queue holds {} tasks at most", grouped(n.capacity)),
            ),
            ("completed", n.completed, String::new()),
            ("  with their delay", n.with_delay, String::new()),
            ("  as \"unknown\"", n.unknown, "they flew, but no arrival was recorded".into()),
            ("dead letters", n.dead, "cancelled flights, each with its reason".into()),
            ("lost", n.lost, String::new()),
            ("attempts tried again", n.retried, format!("\"{}\"", flaky::ERROR)),
            ("aircraft out of order", n.aircraft_out_of_order, String::new()),
            (
                "tasks/s",
                n.tasks_per_second,
                match n.killed_after_ms {
                    Some(_) => format!(
                        "in {}, the kill included; every task is synced to disk twice and calls a \
                         service of {}",
                        show(ms(n.elapsed_ms)),
                        show(flaky::CALL)
                    ),
                    None => format!(
                        "in {}; every task calls a service of {}",
                        show(ms(n.elapsed_ms)),
                        show(flaky::CALL)
                    ),
                },
            ),
        ];
        if let Some(killed) = n.killed_after_ms {
            let before_the_sum = rows.len() - 2;
            rows.splice(before_the_sum..before_the_sum, self.rows_of_the_kill(ms(killed)));
        }
        rows
    }

    fn rows_of_the_kill(&self, killed: Duration) -> Vec<(&'static str, u64, String)> {
        let n = &self.numbers;
        vec![
            (
                "in hand at the kill",
                n.in_hand_at_the_kill,
                format!("after {}; 3 of them with a consumer that hung", show(killed)),
            ),
            (
                "  of them handed out again",
                n.redelivered_after_the_kill,
                if n.redelivered_after_the_kill < n.in_hand_at_the_kill {
                    "the others had been settled, but the process died before it could say so"
                } else {
                    ""
                }
                .to_owned(),
            ),
            (
                "  worked out twice",
                n.effects_repeated,
                "delivery is at-least-once: make effects repeatable".into(),
            ),
            (
                "old acknowledgements",
                n.stale_presented,
                format!(
                    "presented, {} of them while the task was in other hands",
                    grouped(n.stale_in_other_hands)
                ),
            ),
            ("  of them accepted", n.stale_accepted, String::new()),
        ]
    }
}

impl Place {
    fn text(&self) -> String {
        let path = self.path.display();
        if self.kept {
            return format!(
                "The queue, the journal and the logs are in {path}; look around with\n  tidegate dlq \
                 list flights --broker embedded:{path}/queue"
            );
        }
        format!("The data was in {path} and is gone; --keep keeps it.")
    }
}
