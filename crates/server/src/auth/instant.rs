//! Moments as a signature writes them: `20150830T123600Z`.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use tidegate_core::Timestamp;

/// Reads 8 digits, `T`, 6 digits and `Z`, which are a moment since 1970.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let is_digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(date, 8) || !is_digits(time, 6) {
        return None;
    }
    let part = |text: &str, at| text.get(at..at + 2)?.parse::<i8>().ok();
    let year: i16 = date.get(..4)?.parse().ok()?;
    let (month, day) = (part(date, 4)?, part(date, 6)?);
    let (hour, minute, second) = (part(time, 0)?, part(time, 2)?, part(time, 4)?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let millis = Offset::UTC.to_timestamp(civil).ok()?.as_millisecond();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Writes it, for people: what is beyond the last moment of the calendar is that.
pub(super) fn show(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).ok();
    let at = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    let civil = Offset::UTC.to_datetime(at.unwrap_or(jiff::Timestamp::MAX));
    let (date, time) = (civil.date(), civil.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        // By `date -u -d "2015-08-30 12:36:00" +%s`.
        assert_eq!(parse("20150830T123600Z"), Some(Timestamp::from_millis(1_440_938_160_000)));
        assert_eq!(parse("19700101T000000Z"), Some(Timestamp::from_millis(0)));
        for text in ["20150830T123600Z", "20240229T235959Z", "99991230T000000Z"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
        assert_eq!(show(Timestamp::MAX), "99991230T220000Z");
    }

    #[test]
    fn what_is_no_moment_is_not_read() {
        for text in [
            "",
            "20150830",
            "20150830T123600",
            "20150830T123600z",
            "20150830t123600Z",
            "20150830T1236000Z",
            "2015083T0123600Z",
            "+0150830T123600Z",
            "20150830T+23600Z",
            "20150230T123600Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "19691231T235959Z",
            "2015-08-30T12:36:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
