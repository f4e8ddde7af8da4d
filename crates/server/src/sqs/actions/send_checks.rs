//! What a message may be, part by part.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::{ATTRIBUTE_CHARS_MAX, ATTRIBUTES_MAX, GROUP_CHARS_MAX};
use crate::sqs::lists::SentAttributes;
use crate::sqs::message::{self, Attribute, Attributes, Value};
use crate::sqs::shapes::MessageAttributeValue;

/// The one system attribute that can be sent.
const TRACE: &str = "AWSTraceHeader";

pub(super) fn body(body: &str) -> Result<(), Failure> {
    if message::is_allowed(body) {
        return Ok(());
    }
    let why = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF \
               | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Err(Code::InvalidMessageContents.because(why))
}

/// Bytes that attributes add to a message.
pub(super) fn bytes_of(attributes: &Attributes) -> usize {
    let bytes = |(name, attribute): (&String, &Attribute)| {
        name.len() + attribute.data_type.len() + attribute.value.len()
    };
    attributes.iter().map(bytes).sum()
}

pub(super) fn attributes(values: &SentAttributes) -> Result<Attributes, Failure> {
    let SentAttributes { first: values, sent: count } = values;
    if *count > ATTRIBUTES_MAX {
        return Err(invalid(format!(
            "Number of message attributes [{count}] exceeds the allowed maximum [{ATTRIBUTES_MAX}]."
        )));
    }
    let checked = values.iter().map(|(name, value)| {
        attribute_name(name)?;
        Ok((name.clone(), attribute(name, value)?))
    });
    checked.collect()
}

pub(super) fn system_attributes(values: &SentAttributes) -> Result<Attributes, Failure> {
    let checked = values.first.iter().map(|(name, value)| {
        let attribute = attribute(name, value)?;
        if name != TRACE {
            return Err(invalid(format!(
                "Message system attribute name '{name}' is invalid. Valid values are: {TRACE}."
            )));
        }
        if attribute.data_type != "String" {
            return Err(invalid(format!(
                "Message system attribute '{TRACE}' must be of the type String."
            )));
        }
        Ok((name.clone(), attribute))
    });
    checked.collect()
}

fn attribute_name(name: &str) -> Result<(), Failure> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let lower = name.to_ascii_lowercase();
    let is_reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
    let has_lone_dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    if name.is_empty() || name.len() > ATTRIBUTE_CHARS_MAX {
        return Err(invalid("Length of message attribute name must be between 1 and 256 bytes."));
    }
    if is_reserved || has_lone_dots || !name.bytes().all(allowed) {
        return Err(invalid("Invalid attribute name."));
    }
    Ok(())
}

fn attribute(name: &str, value: &MessageAttributeValue) -> Result<Attribute, Failure> {
    let MessageAttributeValue {
        string_value,
        binary_value,
        string_list_values,
        binary_list_values,
        data_type,
    } = value;
    if [string_list_values, binary_list_values].into_iter().flatten().any(|list| list.sent > 0) {
        let why = "Message attribute list values in SendMessage operation are not supported.";
        return Err(Code::UnsupportedOperation.because(why));
    }
    let data_type = data_type.as_deref().filter(|it| !it.is_empty()).ok_or_else(|| {
        invalid(format!(
            "The message attribute '{name}' must contain a non-empty message attribute type."
        ))
    })?;
    let (base, custom) = data_type.split_once('.').unwrap_or((data_type, "x"));
    let is_type = matches!(base, "String" | "Number" | "Binary");
    if !is_type
        || custom.is_empty()
        || data_type.len() > ATTRIBUTE_CHARS_MAX
        || !message::is_allowed(data_type)
    {
        return Err(invalid(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported \
             type prefixes is Binary, Number, and String."
        )));
    }
    let no_value = || {
        invalid(format!(
            "The message attribute '{name}' must contain a non-empty message attribute value for message \
             attribute type '{base}'."
        ))
    };
    let value = match base {
        "Binary" => {
            let text = binary_value.as_deref().ok_or_else(no_value)?;
            let wrong = |_| Code::Serialization.because("A binary value must be base64.");
            Value::Binary(STANDARD.decode(text).map_err(wrong)?)
        }
        _ => Value::Text(string_value.clone().ok_or_else(no_value)?),
    };
    if value.len() == 0 {
        return Err(no_value());
    }
    if let Value::Text(text) = &value {
        body(text)?;
        if base == "Number" && text.trim().parse::<f64>().is_err() {
            return Err(invalid(format!(
                "Can't cast the value of message (user) attribute '{name}' to a number."
            )));
        }
    }
    Ok(Attribute { data_type: data_type.to_owned(), value })
}

/// The group of a message.
pub(super) fn group(is_fifo: bool, id: Option<String>) -> Result<Option<String>, Failure> {
    match id {
        Some(id) if is_id(&id) => Ok(Some(id)),
        Some(id) => Err(wrong_id("MessageGroupId", &id)),
        None if is_fifo => Err(Failure::missing("MessageGroupId")),
        None => Ok(None),
    }
}

/// The id that a message is deduplicated by, if it has one.
pub(super) fn deduplication_id(
    is_fifo: bool,
    id: Option<String>,
) -> Result<Option<String>, Failure> {
    const NAME: &str = "MessageDeduplicationId";
    match id {
        None => Ok(None),
        Some(id) if !is_fifo => {
            let why = "The request include parameter that is not valid for this queue type.";
            Err(Failure::value(id, NAME, why))
        }
        Some(id) if is_id(&id) => Ok(Some(id)),
        Some(id) => Err(wrong_id(NAME, &id)),
    }
}

/// Whether it is the id of a group, a deduplication or an attempt.
pub(super) fn is_id(id: &str) -> bool {
    (1..=GROUP_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

pub(super) fn wrong_id(name: &str, id: &str) -> Failure {
    let why = format!(
        "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    );
    Failure::value(id, name, why)
}

fn invalid(why: impl Into<String>) -> Failure {
    Code::InvalidParameterValue.because(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::lists::Entries;

    fn value(data_type: &str, text: &str) -> MessageAttributeValue {
        MessageAttributeValue {
            data_type: Some(data_type.into()),
            string_value: Some(text.into()),
            ..MessageAttributeValue::default()
        }
    }

    fn named(name: &str) -> Result<Attributes, Failure> {
        attributes(&SentAttributes::from_iter([(name.to_owned(), value("String", "x"))]))
    }

    #[test]
    fn names_of_attributes_at_the_edges() {
        for name in ["a", "a.b", "a-b_c", "awsome", &"x".repeat(256)] {
            assert!(named(name).is_ok(), "{name}");
        }
        for name in ["", ".a", "a.", "a..b", "a b", "AWS.x", "amazon.x", "é", &"x".repeat(257)] {
            assert!(named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn types_of_attributes_at_the_edges() {
        let typed = |data_type: &str, text: &str| attribute("a", &value(data_type, text));
        for (data_type, text) in
            [("String", "x"), ("String.json", "x"), ("Number", "-1.5e3"), ("Number.int", "7")]
        {
            assert!(typed(data_type, text).is_ok(), "{data_type}");
        }
        for (data_type, text) in
            [("", "x"), ("string", "x"), ("String.", "x"), ("Number", "x"), ("String", "")]
        {
            assert!(typed(data_type, text).is_err(), "{data_type}");
        }
        assert_eq!(typed("Binary", "x").unwrap_err().code, Code::InvalidParameterValue);
    }

    #[test]
    fn eleven_attributes_are_too_many() {
        let of = |count: usize| {
            attributes(&(0..count).map(|n| (format!("a{n}"), value("String", "x"))).collect())
        };
        assert!(of(10).is_ok());
        let why = "Number of message attributes [11] exceeds the allowed maximum [10].";
        assert_eq!(of(11).unwrap_err().message, why);
    }

    #[test]
    fn lists_and_other_system_attributes_are_refused() {
        let list = MessageAttributeValue {
            string_list_values: Some(Entries { first: vec!["x".into()], sent: 1 }),
            ..value("String", "x")
        };
        assert_eq!(attribute("a", &list).unwrap_err().code, Code::UnsupportedOperation);
        let system = |name: &str| {
            system_attributes(&SentAttributes::from_iter([(name.to_owned(), value("String", "x"))]))
        };
        assert!(system("AWSTraceHeader").is_ok());
        assert!(system("SenderId").is_err());
    }

    #[test]
    fn ids_are_punctuation_letters_and_digits() {
        assert!(is_id("a!~#") && is_id(&"x".repeat(128)));
        assert!(!is_id("") && !is_id("a b") && !is_id("é") && !is_id(&"x".repeat(129)));
    }
}
