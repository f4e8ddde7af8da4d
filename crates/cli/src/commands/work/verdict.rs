//! What the end of a program means for its task.

use std::time::Duration;

use tidegate::Outcome;

use super::child::{End, How};

/// EX_DATAERR of sysexits.h: the input is wrong, and will be the next time.
const EX_DATAERR: i32 = 65;

/// What the end of a program means. `cancelled` is whether it was told to stop.
pub(super) fn of(end: &End, cancelled: bool) -> Outcome {
    match end.how {
        How::Exited(0) => Outcome::done(),
        How::Exited(EX_DATAERR) => {
            Outcome::dead_letter(end.with_stderr("exit code 65 (EX_DATAERR)"))
        }
        // WHY: who is told to stop and stops has not failed; the task goes back unharmed.
        How::Exited(_) | How::Killed(_) if cancelled => Outcome::release(Duration::ZERO),
        How::Exited(75) => Outcome::retry(end.with_stderr("exit code 75 (EX_TEMPFAIL)")),
        How::Exited(code) => Outcome::retry(end.with_stderr(&format!("exit code {code}"))),
        How::Killed(signal) => {
            Outcome::retry(end.with_stderr(&format!("killed by signal {signal}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(how: How, stderr: &str) -> End {
        End { how, stderr: stderr.as_bytes().to_vec() }
    }

    #[test]
    fn every_end_has_its_verdict() {
        assert_eq!(of(&end(How::Exited(0), "noise"), false), Outcome::done());
        let dead = Outcome::dead_letter("exit code 65 (EX_DATAERR): no such user");
        assert_eq!(of(&end(How::Exited(65), "no such user\n"), false), dead);
        let retry = Outcome::retry("exit code 75 (EX_TEMPFAIL)");
        assert_eq!(of(&end(How::Exited(75), ""), false), retry);
        assert_eq!(of(&end(How::Exited(1), "a\nb"), false), Outcome::retry("exit code 1: a\nb"));
        let crash = Outcome::retry("killed by signal 9");
        assert_eq!(of(&end(How::Killed(9), ""), false), crash);
    }

    #[test]
    fn who_was_told_to_stop_has_not_failed_but_may_have_finished() {
        let back = Outcome::release(Duration::ZERO);
        assert_eq!(of(&end(How::Killed(15), ""), true), back);
        assert_eq!(of(&end(How::Exited(143), ""), true), back);
        assert_eq!(of(&end(How::Exited(0), ""), true), Outcome::done());
    }
}
