//! The attributes' names, and what values each takes.

use super::redrive::{RedriveAllowPolicy, RedrivePolicy};
use crate::sqs::errors::{Code, Failure};

/// An attribute that clients set.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    kind: Kind,
    /// What it is unless it is set; `None` is not told.
    default: Option<&'static str>,
    is_fifos: bool,
}

#[derive(Debug)]
enum Kind {
    Number(u64, u64),
    Flag,
    OneOf(&'static [&'static str]),
    Text,
    Json,
    Redrive,
    RedriveAllow,
}

const fn of_all(name: &'static str, kind: Kind, default: Option<&'static str>) -> Setting {
    Setting { name, kind, default, is_fifos: false }
}

const fn of_fifo(name: &'static str, kind: Kind, default: Option<&'static str>) -> Setting {
    Setting { name, kind, default, is_fifos: true }
}

/// All that are set.
pub(crate) const SETTINGS: &[Setting] = &[
    of_all("DelaySeconds", Kind::Number(0, 900), Some("0")),
    of_all("MaximumMessageSize", Kind::Number(1_024, 1_048_576), Some("1048576")),
    of_all("MessageRetentionPeriod", Kind::Number(60, 1_209_600), Some("345600")),
    of_all("ReceiveMessageWaitTimeSeconds", Kind::Number(0, 20), Some("0")),
    of_all("VisibilityTimeout", Kind::Number(0, 43_200), Some("30")),
    of_all("Policy", Kind::Json, None),
    of_all("RedrivePolicy", Kind::Redrive, None),
    of_all("RedriveAllowPolicy", Kind::RedriveAllow, None),
    of_all("KmsMasterKeyId", Kind::Text, None),
    of_all("KmsDataKeyReusePeriodSeconds", Kind::Number(60, 86_400), None),
    of_all("SqsManagedSseEnabled", Kind::Flag, Some("true")),
    of_fifo("FifoQueue", Kind::Flag, Some("true")),
    of_fifo("ContentBasedDeduplication", Kind::Flag, Some("false")),
    of_fifo("DeduplicationScope", Kind::OneOf(&["queue", "messageGroup"]), Some("queue")),
    of_fifo(
        "FifoThroughputLimit",
        Kind::OneOf(&["perQueue", "perMessageGroupId"]),
        Some("perQueue"),
    ),
];

/// Those that are only read, beside the counters.
pub(crate) const READ_ONLY: &[&str] = &["CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"];

/// How much is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Visible,
    NotVisible,
    Delayed,
}

impl Counter {
    pub(crate) const ALL: [Self; 3] = [Self::Visible, Self::NotVisible, Self::Delayed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Visible => "ApproximateNumberOfMessages",
            Self::NotVisible => "ApproximateNumberOfMessagesNotVisible",
            Self::Delayed => "ApproximateNumberOfMessagesDelayed",
        }
    }
}

/// What an attribute is that was not set.
pub(super) fn default_of(name: &str, is_fifo: bool) -> Option<&'static str> {
    let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
    setting.default.filter(|_| is_fifo || !setting.is_fifos)
}

/// The value of an attribute in its one form, `None` if it is to be taken out.
pub(super) fn check(
    name: &str,
    value: &str,
    is_fifo: bool,
) -> Result<(&'static str, Option<String>), Failure> {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let setting = setting.ok_or_else(|| unknown(name))?;
    if setting.is_fifos && !is_fifo {
        return Err(match setting.kind {
            Kind::OneOf(_) => {
                let why = format!("You can specify the {name} only when FifoQueue is set to true.");
                Code::InvalidAttributeValue.because(why)
            }
            _ => unknown(name),
        });
    }
    if value.is_empty() && setting.default.is_none() {
        return Ok((setting.name, None));
    }
    Ok((setting.name, Some(setting.canonical(value)?)))
}

pub(crate) fn unknown(name: &str) -> Failure {
    Code::InvalidAttributeName.because(format!("Unknown Attribute {name}."))
}

impl Setting {
    fn canonical(&self, value: &str) -> Result<String, Failure> {
        let name = self.name;
        let wrong = || {
            let why = format!("Invalid value for the parameter {name}.");
            Code::InvalidAttributeValue.because(why)
        };
        match &self.kind {
            Kind::Number(least, most) => {
                let number = value.parse::<u64>().ok().filter(|it| (*least..=*most).contains(it));
                number.map(|number| number.to_string()).ok_or_else(wrong)
            }
            Kind::Flag => {
                let flag = value.to_ascii_lowercase();
                let is_one = matches!(flag.as_str(), "true" | "false");
                is_one.then_some(flag).ok_or_else(wrong)
            }
            Kind::OneOf(values) => {
                values.contains(&value).then(|| value.to_owned()).ok_or_else(wrong)
            }
            Kind::Text => Ok(value.to_owned()),
            Kind::Json => {
                let is_map =
                    serde_json::from_str::<serde_json::Value>(value).is_ok_and(|it| it.is_object());
                is_map.then(|| value.to_owned()).ok_or_else(wrong)
            }
            Kind::Redrive => RedrivePolicy::read(value).map(|policy| policy.to_json()),
            Kind::RedriveAllow => RedriveAllowPolicy::read(value).map(|_| value.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_their_bounds() {
        for setting in SETTINGS {
            let Kind::Number(least, most) = setting.kind else { continue };
            for (value, is_right) in [
                (least.to_string(), true),
                (most.to_string(), true),
                ((most + 1).to_string(), false),
                (least.checked_sub(1).map_or("-1".into(), |it| it.to_string()), false),
                ("x".into(), false),
                (String::new(), setting.default.is_none()),
            ] {
                let checked = check(setting.name, &value, false);
                assert_eq!(checked.is_ok(), is_right, "{} = {value:?}", setting.name);
            }
        }
    }

    #[test]
    fn a_standard_queue_has_nothing_of_a_fifo_queue() {
        let refused = |name, value| check(name, value, false).unwrap_err();
        assert_eq!(refused("FifoQueue", "true"), unknown("FifoQueue"));
        let why = "You can specify the DeduplicationScope only when FifoQueue is set to true.";
        let scope = refused("DeduplicationScope", "queue");
        assert_eq!(scope, Code::InvalidAttributeValue.because(why));
        assert_eq!(refused("Nothing", "1").message, "Unknown Attribute Nothing.");
    }
}
