//! Times and sizes as people write them: `30s`, `1m30s`, `256KB`.

use std::time::Duration;

/// Units of time, in milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size, in bytes. 1 KB is 1,024 bytes.
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1 << 10),
    ("KiB", 1 << 10),
    ("MB", 1 << 20),
    ("MiB", 1 << 20),
    ("GB", 1 << 30),
    ("GiB", 1 << 30),
];

/// Reads a time such as `250ms`, `30s`, `1.5h` or `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a time; write one such as `250ms`, `30s`, `5m` or `1h`");
    let mut rest = text.trim();
    let mut millis = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, unit, after) = amount(rest).ok_or_else(wrong)?;
        let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        millis += number * *factor as f64;
        rest = after;
    }
    // WHY: beyond a million years the sum of two times overflows somewhere.
    if millis > 3.2e16 {
        return Err(wrong());
    }
    Ok(Duration::from_micros((millis * 1_000.0).round() as u64))
}

/// Reads a size in bytes such as `262144`, `256KB` or `1MB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is not a size; write bytes, or one such as `256KB` or `1MB` (1 KB is 1,024 bytes)"
        )
    };
    let text = text.trim();
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    let (number, unit, after) = amount(text).ok_or_else(wrong)?;
    let found = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, factor) = found.filter(|_| after.is_empty()).ok_or_else(wrong)?;
    let bytes = number * *factor as f64;
    if bytes > 9e15 { Err(wrong()) } else { Ok(bytes.round() as u64) }
}

/// A number at the start, the letters behind it, and what follows them.
fn amount(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, after.trim_start()))
}

/// A time in the largest unit or two that say it: `30 s`, `2 min 5 s`, `14 d`.
pub(crate) fn show(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (s, rest) = (ms / 1_000, ms % 1_000);
    match s {
        0 => format!("{ms} ms"),
        1..60 if rest == 0 => format!("{s} s"),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{large} {large_unit}");
    }
    format!("{large} {large_unit} {small} {small_unit}")
}

/// A number with its thousands set apart: `2,699`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `2,699 tasks`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = |text| duration(text).unwrap().as_millis();
        assert_eq!(read("250ms"), 250);
        assert_eq!(read("30s"), 30_000);
        assert_eq!(read("1m30s"), 90_000);
        assert_eq!(read("1.5h"), 5_400_000);
        assert_eq!(read("14 d"), 1_209_600_000);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "30", "s", "30 parsecs", "-1s", "1s2", "9999999999999999999d"] {
            assert!(duration(text).unwrap_err().contains("`30s`"), "{text}");
        }
    }

    #[test]
    fn a_kilobyte_is_1024_bytes() {
        assert_eq!(size("262144"), Ok(262_144));
        assert_eq!(size("256KB"), Ok(262_144));
        assert_eq!(size("256kb"), Ok(262_144));
        assert_eq!(size("1.5 MB"), Ok(1_572_864));
        for text in ["", "KB", "1XB", "1KB2", "-1"] {
            assert!(size(text).unwrap_err().contains("256KB"), "{text}");
        }
    }

    #[test]
    fn numbers_and_times_are_shown_for_people() {
        assert_eq!(grouped(2_699), "2,699");
        assert_eq!(grouped(999), "999");
        assert_eq!(count(1, "task"), "1 task");
        assert_eq!(count(1_000_000, "task"), "1,000,000 tasks");
        assert_eq!(show(Duration::from_millis(90)), "90 ms");
        assert_eq!(show(Duration::from_millis(1_500)), "1.5 s");
        assert_eq!(show(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(show(Duration::from_secs(14 * 86_400)), "14 d");
    }
}
