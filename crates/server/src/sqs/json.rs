//! The JSON of the answers that are given most often: what serde_json writes of the same shapes, in less
//! time. WHY: most of their text cannot have anything to escape, and how long they become is known before.

use serde::Serialize;

use super::shapes::{
    BatchResult, IdOnly, Message, ReceiveMessageResult, SendMessageBatchResultEntry,
    SendMessageResult,
};

type Result = serde_json::Result<()>;

/// Bytes of names, and of values that are always as long, in an answer or a message. Enough for nearly all.
const BESIDE: usize = 256;
/// So many bytes are looked through before any is written.
const BLOCK: usize = 64;

/// A shape that writes itself.
pub(crate) trait Json: Serialize {
    /// About how long it is, in bytes.
    fn bytes(&self) -> usize;

    /// Appends it to what is written. It fails as serde_json does.
    fn write(&self, into: &mut Vec<u8>) -> Result;
}

/// A shape's JSON.
pub(crate) fn written(shape: &impl Json) -> serde_json::Result<Vec<u8>> {
    let mut written = Vec::with_capacity(shape.bytes());
    shape.write(&mut written)?;
    Ok(written)
}

/// A member's name with all that stands between it and its value.
macro_rules! name {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}

/// An object that is written, member by member.
struct Object<'a> {
    into: &'a mut Vec<u8>,
    /// What stands before the next member.
    before: u8,
}

impl<'a> Object<'a> {
    fn begin(into: &'a mut Vec<u8>) -> Self {
        Self { into, before: b'{' }
    }

    /// The name of the next member, as [`name!`] has it.
    fn name(&mut self, name: &str) {
        self.into.push(self.before);
        self.into.extend_from_slice(name.as_bytes());
        self.before = b',';
    }

    /// A member whose text has nothing that is escaped.
    fn plain(&mut self, name: &str, text: &str) {
        self.name(name);
        self.into.push(b'"');
        self.into.extend_from_slice(text.as_bytes());
        self.into.push(b'"');
    }

    fn text(&mut self, name: &str, text: &str) -> Result {
        if is_plain(text) {
            self.plain(name, text);
            return Ok(());
        }
        self.value(name, text)
    }

    fn value(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result {
        self.name(name);
        serde_json::to_writer(&mut *self.into, value)
    }

    fn list<T: Json>(&mut self, name: &str, list: &[T]) -> Result {
        self.name(name);
        self.into.push(b'[');
        for (n, element) in list.iter().enumerate() {
            if n > 0 {
                self.into.push(b',');
            }
            element.write(self.into)?;
        }
        self.into.push(b']');
        Ok(())
    }

    fn end(self) {
        if self.before == b'{' {
            self.into.push(b'{');
        }
        self.into.push(b'}');
    }
}

/// Whether nothing of a text is escaped in JSON.
fn is_plain(text: &str) -> bool {
    let is_escaped = |b: u8| b < 0x20 || b == b'"' || b == b'\\';
    // WHY: a block to its end, so that many bytes are compared at once.
    let any = |block: &[u8]| block.iter().fold(false, |any, b| any | is_escaped(*b));
    !text.as_bytes().chunks(BLOCK).any(any)
}

fn bytes_of<T: Json>(list: &[T]) -> usize {
    list.iter().map(Json::bytes).sum()
}

impl Json for ReceiveMessageResult<'_> {
    fn bytes(&self) -> usize {
        BESIDE + bytes_of(&self.messages)
    }

    fn write(&self, into: &mut Vec<u8>) -> Result {
        let Self { messages } = self;
        let mut object = Object::begin(into);
        if !messages.is_empty() {
            object.list(name!("Messages"), messages)?;
        }
        object.end();
        Ok(())
    }
}

impl Json for Message<'_> {
    fn bytes(&self) -> usize {
        BESIDE + self.receipt_handle.len() + self.body.len()
    }

    fn write(&self, into: &mut Vec<u8>) -> Result {
        let Self {
            message_id,
            receipt_handle,
            md5_of_body,
            body,
            attributes,
            md5_of_message_attributes,
            message_attributes,
        } = self;
        let mut object = Object::begin(into);
        object.plain(name!("MessageId"), message_id.as_str());
        object.plain(name!("ReceiptHandle"), receipt_handle);
        object.plain(name!("MD5OfBody"), md5_of_body.as_str());
        object.text(name!("Body"), body)?;
        if !attributes.is_empty() {
            object.value(name!("Attributes"), attributes)?;
        }
        if let Some(md5) = md5_of_message_attributes {
            object.plain(name!("MD5OfMessageAttributes"), md5.as_str());
        }
        if !message_attributes.is_empty() {
            object.value(name!("MessageAttributes"), message_attributes)?;
        }
        object.end();
        Ok(())
    }
}

impl SendMessageResult {
    fn write_members(&self, object: &mut Object<'_>) {
        let Self {
            md5_of_message_body,
            md5_of_message_attributes,
            md5_of_message_system_attributes,
            message_id,
            sequence_number,
        } = self;
        object.plain(name!("MD5OfMessageBody"), md5_of_message_body.as_str());
        if let Some(md5) = md5_of_message_attributes {
            object.plain(name!("MD5OfMessageAttributes"), md5.as_str());
        }
        if let Some(md5) = md5_of_message_system_attributes {
            object.plain(name!("MD5OfMessageSystemAttributes"), md5.as_str());
        }
        object.plain(name!("MessageId"), message_id.as_str());
        if let Some(number) = sequence_number {
            object.plain(name!("SequenceNumber"), number);
        }
    }
}

impl Json for SendMessageResult {
    fn bytes(&self) -> usize {
        BESIDE
    }

    fn write(&self, into: &mut Vec<u8>) -> Result {
        let mut object = Object::begin(into);
        self.write_members(&mut object);
        object.end();
        Ok(())
    }
}

impl Json for SendMessageBatchResultEntry<'_> {
    fn bytes(&self) -> usize {
        BESIDE
    }

    fn write(&self, into: &mut Vec<u8>) -> Result {
        let Self { id, sent } = self;
        let mut object = Object::begin(into);
        object.text(name!("Id"), id)?;
        sent.write_members(&mut object);
        object.end();
        Ok(())
    }
}

impl Json for IdOnly<'_> {
    fn bytes(&self) -> usize {
        self.id.len() + 16
    }

    fn write(&self, into: &mut Vec<u8>) -> Result {
        let Self { id } = self;
        let mut object = Object::begin(into);
        object.text(name!("Id"), id)?;
        object.end();
        Ok(())
    }
}

impl<T: Json> Json for BatchResult<T> {
    fn bytes(&self) -> usize {
        BESIDE + bytes_of(&self.successful)
    }

    fn write(&self, into: &mut Vec<u8>) -> Result {
        let Self { successful, failed } = self;
        let mut object = Object::begin(into);
        object.list(name!("Successful"), successful)?;
        if !failed.is_empty() {
            object.value(name!("Failed"), failed)?;
        }
        object.end();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::TaskId;

    use super::*;
    use crate::sqs::shapes::{
        AttributeValues, BatchResultErrorEntry, Hex, MessageAttributeValue, Pairs, Text,
    };

    /// Texts with every character that is escaped, at every place of a block, and without.
    fn texts() -> Vec<String> {
        let mut texts = vec![String::new(), "x".repeat(300), "é\u{7f}\u{2028}😀".to_owned()];
        for escaped in ('\0'..' ').chain(['"', '\\']) {
            texts.push(escaped.to_string());
        }
        for at in 0..2 * BLOCK + 1 {
            texts.push(format!("{}\"{}", "x".repeat(at), "y".repeat(BLOCK)));
        }
        texts
    }

    fn as_serde_writes_it(shape: &impl Json) {
        let written = written(shape).unwrap();
        let expected = serde_json::to_string(shape).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    fn messages() -> Vec<Message<'static>> {
        let message = |text: String| Message {
            message_id: TaskId::from_bytes([7; 16]).into(),
            receipt_handle: "AQAA+/=".to_owned(),
            md5_of_body: Hex::from([0xa5; 16]),
            body: Text::from(text),
            ..Message::default()
        };
        let mut messages: Vec<_> = texts().into_iter().map(message).collect();
        let one = || Pairs::from([("a\"".to_owned(), "b\n".to_owned())]);
        let value = MessageAttributeValue {
            string_value: Some("\"".to_owned()),
            ..MessageAttributeValue::default()
        };
        let values = || AttributeValues::from([("n\t".to_owned(), value.clone())]);
        messages.push(Message { attributes: one(), ..Message::default() });
        messages.push(Message { message_attributes: values(), ..Message::default() });
        let md5 = Some(Hex::from([0x5a; 16]));
        messages.push(Message { md5_of_message_attributes: md5, ..Message::default() });
        messages.push(Message {
            attributes: one(),
            md5_of_message_attributes: md5,
            message_attributes: values(),
            ..Message::default()
        });
        messages
    }

    #[test]
    fn messages_are_written_as_serde_writes_them() {
        for message in messages() {
            as_serde_writes_it(&message);
            as_serde_writes_it(&ReceiveMessageResult { messages: vec![message] });
        }
        as_serde_writes_it(&ReceiveMessageResult { messages: messages() });
        as_serde_writes_it(&ReceiveMessageResult { messages: vec![] });
    }

    #[test]
    fn what_is_answered_to_sends_and_batches_is_written_as_serde_writes_it() {
        let md5 = |is_there: bool| is_there.then(|| Hex::from([0x0f; 16]));
        for n in 0..8 {
            let sent = SendMessageResult {
                md5_of_message_body: Hex::from([0xf0; 16]),
                md5_of_message_attributes: md5(n & 1 > 0),
                md5_of_message_system_attributes: md5(n & 2 > 0),
                message_id: TaskId::from_bytes([n; 16]).into(),
                sequence_number: (n & 4 > 0).then(|| "00000000000000000001".to_owned()),
            };
            as_serde_writes_it(&sent);
            let entry =
                |id: String| SendMessageBatchResultEntry { id: id.into(), sent: sent.clone() };
            let successful = texts().into_iter().map(entry).collect();
            as_serde_writes_it(&BatchResult { successful, failed: vec![] });
        }
        let failed = BatchResultErrorEntry { id: "1".into(), ..BatchResultErrorEntry::default() };
        let ids = || texts().into_iter().map(|id| IdOnly { id: id.into() });
        for (successful, failed) in
            [(vec![], vec![]), (ids().collect(), vec![failed.clone()]), (vec![], vec![failed; 2])]
        {
            as_serde_writes_it(&BatchResult { successful, failed });
        }
    }

    #[test]
    fn an_answer_is_about_as_long_as_it_was_said_to_be() {
        for message in messages().into_iter().filter(|it| it.message_attributes.is_empty()) {
            let answer = ReceiveMessageResult { messages: vec![message; 10] };
            let (said, length) = (answer.bytes(), written(&answer).unwrap().len());
            assert!(length <= said + said / 4, "{said} for {length}");
        }
    }
}
