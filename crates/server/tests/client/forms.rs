//! The Query protocol as a client writes and reads it.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

use super::Failed;

/// A request as a form.
pub(crate) fn form(action: &str, members: &Value) -> String {
    let mut fields = form_urlencoded::Serializer::new(String::new());
    fields.append_pair("Action", action).append_pair("Version", "2012-11-05");
    let mut flat = Vec::new();
    flatten(action, "", members, &mut flat);
    for (name, value) in flat {
        fields.append_pair(&name, &value);
    }
    fields.finish()
}

fn flatten(action: &str, before: &str, members: &Value, flat: &mut Vec<(String, String)>) {
    for (name, value) in members.as_object().unwrap() {
        let called = |name: &str| format!("{before}{name}");
        match value {
            Value::Array(elements) => {
                let one = match name.as_str() {
                    "AttributeNames" => "AttributeName".into(),
                    "MessageAttributeNames" => "MessageAttributeName".into(),
                    "MessageSystemAttributeNames" => "MessageSystemAttributeName".into(),
                    "AWSAccountIds" => "AWSAccountId".into(),
                    "Actions" => "ActionName".into(),
                    "TagKeys" => "TagKey".into(),
                    "Entries" => format!("{action}RequestEntry"),
                    other => panic!("{other}"),
                };
                for (n, element) in elements.iter().enumerate() {
                    let one = called(&format!("{one}.{}", n + 1));
                    match element {
                        Value::Object(_) => flatten(action, &format!("{one}."), element, flat),
                        element => flat.push((one, text(element))),
                    }
                }
            }
            Value::Object(pairs) => {
                let (one, key) = match name.as_str() {
                    "tags" | "Tags" => ("Tag", "Key"),
                    "Attributes" => ("Attribute", "Name"),
                    "MessageAttributes" => ("MessageAttribute", "Name"),
                    "MessageSystemAttributes" => ("MessageSystemAttribute", "Name"),
                    other => panic!("{other}"),
                };
                for (n, (name, value)) in pairs.iter().enumerate() {
                    let one = called(&format!("{one}.{}", n + 1));
                    flat.push((format!("{one}.{key}"), name.clone()));
                    match value {
                        Value::Object(_) => flatten(action, &format!("{one}.Value."), value, flat),
                        value => flat.push((format!("{one}.Value"), text(value))),
                    }
                }
            }
            value => flat.push((called(name), text(value))),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An answer, as the JSON of the same.
pub(crate) fn answer(action: &str, status: u16, xml: &str) -> Result<Value, Failed> {
    let mut reader = Reader::from_str(xml);
    let root = element(&mut reader);
    let (name, parts) = root.only();
    if name == "ErrorResponse" {
        let error = parts.get("Error");
        assert_eq!(error.get("Type").text, if status < 500 { "Sender" } else { "Receiver" });
        let (code, message) = (error.get("Code").text.clone(), error.get("Message").text.clone());
        return Err(Failed { status, code, message });
    }
    assert_eq!((status, name), (200, format!("{action}Response").as_str()));
    assert_eq!(parts.get("ResponseMetadata").get("RequestId").text.len(), 36);
    let result = parts.children.iter().find(|(name, _)| *name == format!("{action}Result"));
    Ok(result.map_or(Value::Null, |(_, result)| structure(action, result)))
}

#[derive(Debug, Default)]
struct Node {
    text: String,
    children: Vec<(String, Node)>,
}

impl Node {
    fn get(&self, name: &str) -> &Node {
        let found = self.children.iter().find(|(it, _)| it == name);
        &found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    fn only(&self) -> (&str, &Node) {
        let [(name, node)] = self.children.as_slice() else { panic!("{self:?}") };
        (name, node)
    }
}

/// Reads until the end of the element that has begun, or of everything.
fn element(reader: &mut Reader<&[u8]>) -> Node {
    let mut node = Node::default();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
                node.children.push((name, element(reader)));
            }
            Event::Empty(start) => {
                let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
                node.children.push((name, Node::default()));
            }
            Event::Text(text) => node.text.push_str(&text.decode().unwrap()),
            Event::GeneralRef(named) => {
                let character = named.resolve_char_ref().unwrap();
                node.text.push(character.unwrap_or_else(|| match &*named.decode().unwrap() {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "quot" => '"',
                    "apos" => '\'',
                    other => panic!("{other}"),
                }));
            }
            Event::End(_) | Event::Eof => return node,
            _ => {}
        }
    }
}

fn structure(action: &str, node: &Node) -> Value {
    let mut members = Map::new();
    for (name, child) in &node.children {
        match list_of(action, name) {
            Some(list) => {
                let list = members.entry(list).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().unwrap().push(value(action, name, child));
            }
            None => match map_of(name) {
                Some((map, key)) => {
                    let map = members.entry(map).or_insert_with(|| Value::Object(Map::new()));
                    let value = value(action, "Value", child.get("Value"));
                    map.as_object_mut().unwrap().insert(child.get(key).text.clone(), value);
                }
                None => drop(members.insert(name.clone(), value(action, name, child))),
            },
        }
    }
    Value::Object(members)
}

fn value(action: &str, name: &str, node: &Node) -> Value {
    if !node.children.is_empty() {
        return structure(action, node);
    }
    let is_number = name.starts_with("ApproximateNumberOf")
        || ["MaxNumberOfMessagesPerSecond", "StartedTimestamp"].contains(&name);
    match name {
        "SenderFault" => Value::Bool(node.text == "true"),
        _ if is_number => Value::from(node.text.parse::<u64>().unwrap()),
        _ => Value::from(node.text.clone()),
    }
}

fn list_of(action: &str, name: &str) -> Option<&'static str> {
    match (action, name) {
        ("ListQueues", "QueueUrl") => Some("QueueUrls"),
        ("ListDeadLetterSourceQueues", "QueueUrl") => Some("queueUrls"),
        (_, "Message") if action == "ReceiveMessage" => Some("Messages"),
        (_, "ListMessageMoveTasksResultEntry") => Some("Results"),
        (_, "BatchResultErrorEntry") => Some("Failed"),
        (action, name) if name == format!("{action}ResultEntry") => Some("Successful"),
        _ => None,
    }
}

fn map_of(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "Attribute" => Some(("Attributes", "Name")),
        "MessageAttribute" => Some(("MessageAttributes", "Name")),
        "Tag" => Some(("Tags", "Key")),
        _ => None,
    }
}
