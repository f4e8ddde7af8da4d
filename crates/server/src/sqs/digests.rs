//! The MD5s that clients compare with their own.

use md5::{Digest, Md5};

use super::md5s;
use super::message::{Attributes, Value};
use super::shapes::Hex;

const TRANSPORT_TEXT: u8 = 1;
const TRANSPORT_BINARY: u8 = 2;

/// The MD5 of each body, in order.
pub(crate) fn of_bodies(bodies: &[&[u8]]) -> Vec<Hex<32>> {
    md5s::of_all(bodies).into_iter().map(Hex::from).collect()
}

/// The MD5 of message attributes, or of system attributes: sorted by name, each part with its length
/// before it. `None` of none.
pub(crate) fn of_attributes(attributes: &Attributes) -> Option<Hex<32>> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        sized(&mut digest, name.as_bytes());
        sized(&mut digest, attribute.data_type.as_bytes());
        let (transport, value) = match &attribute.value {
            Value::Text(text) => (TRANSPORT_TEXT, text.as_bytes()),
            Value::Binary(bytes) => (TRANSPORT_BINARY, bytes.as_slice()),
        };
        digest.update([transport]);
        sized(&mut digest, value);
    }
    Some(Hex::from(<[u8; 16]>::from(digest.finalize())))
}

fn sized(digest: &mut Md5, bytes: &[u8]) {
    digest.update((bytes.len() as u32).to_be_bytes());
    digest.update(bytes);
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit =
        |number: u8| char::from(if number < 10 { b'0' + number } else { b'a' + number - 10 });
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs::message::Attribute;

    fn text(data_type: &str, value: &str) -> Attribute {
        Attribute { data_type: data_type.into(), value: Value::Text(value.into()) }
    }

    #[test]
    fn bodies_and_attributes_have_the_digests_that_aws_gives_them() {
        assert_eq!(of_bodies(&[b"hello"])[0].as_str(), "5d41402abc4b2a76b9719d911017c592");
        let one = Attributes::from([("test-key".into(), text("String", "test-value"))]);
        assert_eq!(of_attributes(&one).unwrap().as_str(), "befa18540a897f7d022bf07057754a03");
        let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let trace = Attributes::from([("AWSTraceHeader".into(), text("String", trace))]);
        assert_eq!(of_attributes(&trace).unwrap().as_str(), "5ae4d5d7636402d80f4eb6d213245a88");
        assert_eq!(of_attributes(&Attributes::new()), None);
    }

    #[test]
    fn a_binary_value_has_another_digest_than_the_same_text() {
        let binary = Attribute { data_type: "Binary".into(), value: Value::Binary(b"x".to_vec()) };
        let binary = Attributes::from([("a".into(), binary)]);
        let as_text = Attributes::from([("a".into(), text("Binary", "x"))]);
        assert_ne!(of_attributes(&binary), of_attributes(&as_text));
    }
}
