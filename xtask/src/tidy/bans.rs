//! Words and calls that are banned, with what to use instead.

use super::Complaint;
use super::sources::Source;

struct Ban {
    text: &'static str,
    instead: &'static str,
    /// Whether it is banned in a file.
    applies: fn(&Source) -> bool,
    /// Whether unit tests at the end of a file are free of it.
    free_in_unit_tests: bool,
}

/// The clock is read there and nowhere else.
const CLOCK: &str = "crates/core/src/clock.rs";
/// Measuring and driving processes takes the machine's time.
const MAY_READ_TIME: [&str; 4] = ["xtask/", "bench/", "crates/cli/", CLOCK];

fn reads_no_time(source: &Source) -> bool {
    let free = MAY_READ_TIME.iter().any(|path| source.path.starts_with(path));
    source.is_rust() && !free && !source.is_test()
}

fn is_rust(source: &Source) -> bool {
    source.is_rust()
}

const BANS: &[Ban] = &[
    Ban {
        text: "SystemTime::now",
        instead: "the `Clock` that was handed in: time is an argument",
        applies: reads_no_time,
        free_in_unit_tests: true,
    },
    Ban {
        text: "Instant::now",
        instead: "the `Clock` that was handed in: time is an argument",
        applies: reads_no_time,
        free_in_unit_tests: true,
    },
    Ban {
        text: "FIXME",
        instead: "the fix, or a sentence that says what is known to be wrong and why it stays",
        applies: |_| true,
        free_in_unit_tests: false,
    },
    Ban {
        text: "todo!(",
        instead: "the code, or `Unsupported` with a test that asserts the refusal",
        applies: is_rust,
        free_in_unit_tests: false,
    },
    Ban {
        text: "dbg!(",
        instead: "`tracing`, or nothing",
        applies: is_rust,
        free_in_unit_tests: false,
    },
    Ban {
        text: "#[allow(",
        instead: "`#[expect(.., reason = \"..\")]`, which complains when it is not needed",
        applies: is_rust,
        free_in_unit_tests: false,
    },
    Ban {
        text: "thread::sleep",
        instead: "a manual clock, or a wait for a condition: a test never sleeps and hopes",
        applies: |source| source.is_rust() && !source.path.starts_with("xtask/"),
        free_in_unit_tests: false,
    },
    Ban {
        text: "/work/",
        instead: "a path inside the repository: nobody else has this one",
        applies: |_| true,
        free_in_unit_tests: false,
    },
];

/// Where a ban does not hold, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "brokers/postgres/src/clock.rs",
        "Instant::now",
        "a clock: it follows the server's from when it was told, in microseconds that `Clock` has not",
    ),
    (
        "crates/tidegate/src/worker/executor.rs",
        "Instant::now",
        "a stopwatch: it measures how long a handler kept its thread, and decides nothing about tasks",
    ),
    (
        "crates/tidegate/tests/suite/worker_lease.rs",
        "thread::sleep",
        "the handler under test blocks its thread for four leases: that is the case",
    ),
];

/// Finds banned texts, and exceptions that are not needed any more.
pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    // WHY: the rules themselves must name what they ban.
    let checked = sources.iter().filter(|source| !source.path.starts_with("xtask/src/tidy/"));
    let found = checked.flat_map(|source| BANS.iter().flat_map(|ban| find(source, ban)));
    found.chain(sources.iter().flat_map(idle_exceptions)).collect()
}

fn is_exception(source: &Source, text: &str) -> bool {
    EXCEPTIONS.iter().any(|(path, banned, _)| source.path == *path && text == *banned)
}

fn idle_exceptions(source: &Source) -> Vec<Complaint> {
    let of_file = EXCEPTIONS.iter().filter(|(path, _, _)| source.path == *path);
    let idle = of_file.filter(|(_, text, _)| !source.text.contains(text));
    let complaint = |(path, text, _): &(&str, &str, &str)| {
        Complaint::new(*path, format!("the exception for `{text}` is not needed: take it off"))
    };
    idle.map(complaint).collect()
}

fn find(source: &Source, ban: &Ban) -> Vec<Complaint> {
    if !(ban.applies)(source) || is_exception(source, ban.text) {
        return Vec::new();
    }
    let text = if ban.free_in_unit_tests { source.without_unit_tests() } else { &source.text };
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(ban.text));
    let complaint = |(number, _)| {
        let place = format!("{}:{}", source.path, number + 1);
        Complaint::new(place, format!("`{}` is banned; use {}", ban.text, ban.instead))
    };
    lines.map(complaint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&[Source { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn time_is_read_by_the_clock_alone() {
        let text = "let now = Instant::now();\n";
        assert_eq!(complaints("crates/engine/src/log/mod.rs", text), 1);
        assert_eq!(complaints(CLOCK, text), 0);
        assert_eq!(complaints("crates/engine/tests/model.rs", text), 0);
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
        assert_eq!(complaints("crates/engine/src/log/mod.rs", &in_tests), 0);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_named() {
        let (path, text, _) = EXCEPTIONS[0];
        assert_eq!(complaints(path, &format!("{text}();\n")), 0);
        assert_eq!(complaints(path, "nothing();\n"), 1);
    }

    #[test]
    fn a_ban_holds_in_every_place_it_names() {
        assert_eq!(complaints("docs/a.md", "FIXME\nFIXME\n"), 2);
        assert_eq!(
            complaints("crates/core/src/a.rs", "todo!()\n#[allow(dead_code)]\ndbg!(1)\n"),
            3
        );
        assert_eq!(complaints("crates/core/tests/a.rs", "std::thread::sleep(second)\n"), 1);
        assert_eq!(complaints("README.md", "cd /work/tidegate\n"), 1);
    }
}
