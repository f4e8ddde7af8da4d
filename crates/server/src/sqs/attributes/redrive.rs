//! Redrive policies: where messages go that were received too often, and who may send them here.

use serde_json::{Map, Value, json};

use crate::sqs::account::QueuePath;
use crate::sqs::errors::{Code, Failure};

const RECEIVE_COUNT_MAX: u64 = 1_000;
const SOURCES_MAX: usize = 10;

/// The dead-letter queue of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedrivePolicy {
    pub(crate) target: QueuePath,
    pub(crate) max_receive_count: u32,
}

impl RedrivePolicy {
    /// Reads the attribute's value.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        let wrong = |reason: String| Failure::value(text, "RedrivePolicy", reason);
        let policy: Map<String, Value> = serde_json::from_str(text)
            .map_err(|_| wrong("Redrive policy is not a valid JSON map.".into()))?;
        let member = |name: &str| {
            let lacks =
                || wrong(format!("Redrive policy does not contain mandatory attribute: {name}."));
            policy.get(name).filter(|it| !it.is_null()).ok_or_else(lacks)
        };
        let arn = member("deadLetterTargetArn")?.as_str().unwrap_or_default();
        let count = member("maxReceiveCount")?;
        let number = count.as_u64().or_else(|| count.as_str()?.parse().ok());
        let number = number.filter(|it| (1..=RECEIVE_COUNT_MAX).contains(it)).ok_or_else(|| {
            let told = count.as_str().map_or_else(|| count.to_string(), str::to_owned);
            wrong(format!(
                "Invalid value for maxReceiveCount: {told}, valid values are from 1 to 1000 both \
                 inclusive."
            ))
        })?;
        let target = QueuePath::of_arn(arn)
            .ok_or_else(|| wrong("Invalid value for deadLetterTargetArn.".into()))?;
        Ok(Self { target, max_receive_count: number as u32 })
    }

    /// The attribute's value.
    pub(crate) fn to_json(&self) -> String {
        let Self { target, max_receive_count } = self;
        json!({ "deadLetterTargetArn": target.arn(), "maxReceiveCount": max_receive_count })
            .to_string()
    }
}

/// Which queues may name this one as their dead-letter queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RedriveAllowPolicy {
    #[default]
    All,
    None,
    Only(Vec<String>),
}

impl RedriveAllowPolicy {
    /// Reads the attribute's value.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            let why =
                format!("Value {text} for parameter RedriveAllowPolicy is invalid. Reason: {why}");
            Code::InvalidParameterValue.because(why)
        };
        let policy: Map<String, Value> = serde_json::from_str(text)
            .map_err(|_| wrong("Amazon SQS can't create the redrive allow policy, as it's in an unsupported format."))?;
        let sources = policy.get("sourceQueueArns").and_then(Value::as_array);
        let sources: Option<Vec<String>> = sources
            .map(|arns| arns.iter().filter_map(|arn| arn.as_str().map(str::to_owned)).collect());
        match (policy.get("redrivePermission").and_then(Value::as_str), sources) {
            (Some("allowAll"), None) => Ok(Self::All),
            (Some("denyAll"), None) => Ok(Self::None),
            (Some("allowAll" | "denyAll"), Some(_)) => {
                Err(wrong("sourceQueueArns can only be given with redrivePermission byQueue."))
            }
            (Some("byQueue"), Some(arns)) if (1..=SOURCES_MAX).contains(&arns.len()) => {
                Ok(Self::Only(arns))
            }
            (Some("byQueue"), _) => Err(wrong("byQueue needs 1 to 10 sourceQueueArns.")),
            _ => Err(wrong("redrivePermission must be allowAll, denyAll or byQueue.")),
        }
    }

    /// Whether the queue may.
    pub(crate) fn allows(&self, source: &QueuePath) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(arns) => arns.contains(&source.arn()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::account::Namespace;

    const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:d";

    #[test]
    fn a_policy_that_is_wrong_says_what_is() {
        let long = format!("{{\"deadLetterTargetArn\":\"{ARN}\",\"maxReceiveCount\":1001}}");
        for (text, reason) in [
            ("x", "Redrive policy is not a valid JSON map."),
            ("{}", "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."),
            (
                &long,
                "Invalid value for maxReceiveCount: 1001, valid values are from 1 to 1000 both inclusive.",
            ),
        ] {
            let failure = RedrivePolicy::read(text).unwrap_err();
            assert_eq!(failure, Failure::value(text, "RedrivePolicy", reason));
        }
    }

    #[test]
    fn sources_are_allowed_as_the_policy_says() {
        let source = Namespace::default().queue("s").unwrap();
        let only = format!(
            "{{\"redrivePermission\":\"byQueue\",\"sourceQueueArns\":[\"{}\"]}}",
            source.arn()
        );
        let other = only.replace(":s\"", ":t\"");
        for (text, allows) in [
            ("{\"redrivePermission\":\"allowAll\"}", true),
            ("{\"redrivePermission\":\"denyAll\"}", false),
            (&only, true),
            (&other, false),
        ] {
            assert_eq!(RedriveAllowPolicy::read(text).unwrap().allows(&source), allows, "{text}");
        }
        assert!(RedriveAllowPolicy::read("{\"redrivePermission\":\"byQueue\"}").is_err());
    }
}
