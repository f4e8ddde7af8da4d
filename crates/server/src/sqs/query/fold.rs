//! From a form to the JSON of the same request.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::members::{Kind, Member, of};
use crate::sqs::action::Action;
use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::FIELDS_MAX;

/// A form: its fields by name. Of fields with one name the last counts.
#[derive(Debug, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads the address's query and the body.
    pub(crate) fn read(query: Option<&str>, body: &[u8]) -> Result<Self, Failure> {
        let mut fields = BTreeMap::new();
        for source in [query.unwrap_or_default().as_bytes(), body] {
            for (name, value) in form_urlencoded::parse(source) {
                fields.insert(name.into_owned(), value.into_owned());
                if fields.len() > FIELDS_MAX {
                    let why = format!("The request has more than {FIELDS_MAX} parameters.");
                    return Err(Code::Serialization.because(why));
                }
            }
        }
        Ok(Self(fields))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The part behind `NAME.`, and its fields, for each number there is, in the order of the numbers.
    fn numbered(&self, name: &str) -> Vec<(u32, Form)> {
        let beginning = format!("{name}.");
        let mut parts: BTreeMap<u32, Form> = BTreeMap::new();
        let from = self.0.range(beginning.clone()..);
        for (field, value) in from.take_while(|(field, _)| field.starts_with(&beginning)) {
            let rest = field.get(beginning.len()..).unwrap_or_default();
            let (number, rest) = rest.split_once('.').unwrap_or((rest, ""));
            if let Ok(number) = number.parse() {
                parts.entry(number).or_default().0.insert(rest.to_owned(), value.clone());
            }
        }
        parts.into_iter().collect()
    }
}

/// The JSON of a request.
pub(crate) fn fold(action: Action, form: &Form) -> Result<Value, Failure> {
    structure(of(action), form).map(Value::Object)
}

fn structure(members: &[Member], form: &Form) -> Result<Map<String, Value>, Failure> {
    let mut folded = Map::new();
    for Member { name, kind } in members {
        if let Some(value) = member(name, kind, form)? {
            folded.insert((*name).to_owned(), value);
        }
    }
    Ok(folded)
}

fn member(name: &str, kind: &Kind, form: &Form) -> Result<Option<Value>, Failure> {
    Ok(match kind {
        Kind::Text => form.get(name).map(Value::from),
        Kind::Number => form.get(name).map(|text| number(name, text)).transpose()?,
        Kind::Texts(wire) => {
            let texts = form.numbered(wire).into_iter();
            some(texts.filter_map(|(_, part)| part.get("").map(Value::from)).collect())
        }
        Kind::Pairs { names, key, value } => {
            let parts = names.iter().flat_map(|name| form.numbered(name));
            let pair = |(_, part): (u32, Form)| {
                let (key, value) = (part.get(key)?, part.get(value).unwrap_or_default());
                Some((key.to_owned(), Value::from(value)))
            };
            some_map(parts.filter_map(pair).collect())
        }
        Kind::Attributes(wire) => {
            let attribute = |(_, part): (u32, Form)| {
                let members = ["DataType", "StringValue", "BinaryValue"];
                let member = |name: &str| {
                    let value = part.get(&format!("Value.{name}"))?;
                    Some((name.to_owned(), Value::from(value)))
                };
                let value: Map<String, Value> = members.into_iter().filter_map(member).collect();
                Some((part.get("Name")?.to_owned(), Value::Object(value)))
            };
            some_map(form.numbered(wire).into_iter().filter_map(attribute).collect())
        }
        Kind::Entries(wire, members) => {
            let parts = form.numbered(wire).into_iter();
            let entries = parts.map(|(_, part)| structure(members, &part).map(Value::Object));
            some(entries.collect::<Result<_, _>>()?)
        }
    })
}

fn some(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Array(values))
}

fn some_map(values: Map<String, Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Object(values))
}

fn number(name: &str, text: &str) -> Result<Value, Failure> {
    let number = text.trim().parse::<i64>();
    number.map(Value::from).map_err(|_| Failure::value(text, name, "Must be an integer."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn folded(action: Action, form: &str) -> Value {
        fold(action, &Form::read(None, form.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_send_is_folded_with_all_its_parts() {
        let form = "Action=SendMessage&QueueUrl=http%3A%2F%2Fh%2F1%2Fq&MessageBody=a+b%26c&DelaySeconds=5\
                    &MessageAttribute.1.Name=n&MessageAttribute.1.Value.DataType=Number\
                    &MessageAttribute.1.Value.StringValue=7&MessageAttribute.2.Name=b\
                    &MessageAttribute.2.Value.DataType=Binary&MessageAttribute.2.Value.BinaryValue=eA%3D%3D";
        let expected = json!({
            "QueueUrl": "http://h/1/q", "MessageBody": "a b&c", "DelaySeconds": 5,
            "MessageAttributes": {
                "n": { "DataType": "Number", "StringValue": "7" },
                "b": { "DataType": "Binary", "BinaryValue": "eA==" },
            },
        });
        assert_eq!(folded(Action::SendMessage, form), expected);
    }

    #[test]
    fn entries_keep_the_order_of_their_numbers() {
        let entry = |n: u32| {
            format!(
                "&DeleteMessageBatchRequestEntry.{n}.Id=id{n}&DeleteMessageBatchRequestEntry.{n}.ReceiptHandle=h"
            )
        };
        let form = format!("QueueUrl=q{}{}{}", entry(10), entry(2), entry(1));
        let folded = folded(Action::DeleteMessageBatch, &form);
        let ids: Vec<&str> = folded["Entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["Id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["id1", "id2", "id10"]);
    }

    #[test]
    fn pairs_and_lists_are_folded_and_tags_have_two_names() {
        let form = "QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=1&Tag.1.Key=a&Tag.1.Value=b";
        let expected = json!({ "QueueName": "q", "Attributes": { "DelaySeconds": "1" }, "tags": { "a": "b" } });
        assert_eq!(folded(Action::CreateQueue, form), expected);
        let form = "QueueUrl=q&Tags.1.Key=a&Tags.1.Value=";
        assert_eq!(folded(Action::TagQueue, form), json!({ "QueueUrl": "q", "Tags": { "a": "" } }));
        let form = "QueueUrl=q&AttributeName.1=All&AttributeName.2=Policy";
        let expected = json!({ "QueueUrl": "q", "AttributeNames": ["All", "Policy"] });
        assert_eq!(folded(Action::GetQueueAttributes, form), expected);
    }

    #[test]
    fn what_is_no_number_and_too_many_fields_are_refused() {
        let form = Form::read(None, b"MaxResults=many").unwrap();
        let failure = fold(Action::ListQueues, &form).unwrap_err();
        assert_eq!(failure, Failure::value("many", "MaxResults", "Must be an integer."));
        let bomb: String = (0..2 * FIELDS_MAX).map(|n| format!("a.{n}=&")).collect();
        assert_eq!(Form::read(None, bomb.as_bytes()).unwrap_err().code, Code::Serialization);
    }
}
