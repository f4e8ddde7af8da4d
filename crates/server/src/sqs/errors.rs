//! What goes wrong, in the words of the protocol: each error's type, query code and HTTP status.

use tidegate_core::{Error, ErrorKind};

/// An error as a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub code: Code,
    /// What is wrong, for people.
    pub message: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident: $namespace:ident $type:literal, $query:literal, $status:literal;)*) => {
        /// Every error that the protocol knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The type in AWS JSON, with its namespace.
            pub const fn json_type(self) -> &'static str {
                match self { $(Self::$name => codes!(@type $namespace $type),)* }
            }

            /// The code in the Query protocol.
            pub const fn query_code(self) -> &'static str {
                match self { $(Self::$name => $query,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
    (@type sqs $type:literal) => { concat!("com.amazonaws.sqs#", $type) };
    (@type coral $type:literal) => { concat!("com.amazon.coral.service#", $type) };
}

codes! {
    /// The queue is not there.
    QueueDoesNotExist: sqs "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400;
    /// A queue of this name has other attributes.
    QueueNameExists: sqs "QueueNameExists", "QueueAlreadyExists", 400;
    /// A queue of this name was deleted within the last minute.
    QueueDeletedRecently: sqs "QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently", 400;
    /// The queue was purged within the last minute.
    PurgeQueueInProgress: sqs "PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403;
    /// More than the queue allows.
    OverLimit: sqs "OverLimit", "OverLimit", 403;
    /// The receipt handle is none of this queue's.
    ReceiptHandleIsInvalid: sqs "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 400;
    /// The message is in nobody's hands.
    MessageNotInflight: sqs "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400;
    /// A parameter's value is wrong.
    InvalidParameterValue: coral "InvalidParameterValueException", "InvalidParameterValue", 400;
    /// A parameter is missing.
    MissingParameter: coral "MissingRequiredParameterException", "MissingParameter", 400;
    /// There is no such attribute.
    InvalidAttributeName: sqs "InvalidAttributeName", "InvalidAttributeName", 400;
    /// An attribute's value is wrong.
    InvalidAttributeValue: sqs "InvalidAttributeValue", "InvalidAttributeValue", 400;
    /// The body has characters that are not allowed.
    InvalidMessageContents: sqs "InvalidMessageContents", "InvalidMessageContents", 400;
    /// The receipt handle belongs to another version.
    InvalidIdFormat: sqs "InvalidIdFormat", "InvalidIdFormat", 400;
    /// A batch without entries.
    EmptyBatchRequest: sqs "EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400;
    /// A batch of more than ten.
    TooManyEntriesInBatchRequest: sqs "TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400;
    /// Two entries of a batch have one id.
    BatchEntryIdsNotDistinct: sqs "BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400;
    /// The messages of a batch are too long together.
    BatchRequestTooLong: sqs "BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400;
    /// The id of an entry breaks the rules of ids.
    InvalidBatchEntryId: sqs "InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400;
    /// Not possible.
    UnsupportedOperation: sqs "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", 400;
    /// The queue of a move, or the move, is not there.
    ResourceNotFound: sqs "ResourceNotFoundException", "ResourceNotFoundException", 404;
    /// Too many requests.
    RequestThrottled: sqs "RequestThrottled", "RequestThrottled", 403;
    /// What is given as a queue's address is none.
    InvalidAddress: sqs "InvalidAddress", "InvalidAddress", 404;
    /// The request is not signed as it must be.
    InvalidSecurity: sqs "InvalidSecurity", "InvalidSecurity", 403;
    /// The key may not be used.
    KmsAccessDenied: sqs "KmsAccessDenied", "KMS.AccessDeniedException", 400;
    /// The key is disabled.
    KmsDisabled: sqs "KmsDisabled", "KMS.DisabledException", 400;
    /// The key is for another use.
    KmsInvalidKeyUsage: sqs "KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException", 400;
    /// The key is in a state that does not allow it.
    KmsInvalidState: sqs "KmsInvalidState", "KMS.InvalidStateException", 400;
    /// There is no such key.
    KmsNotFound: sqs "KmsNotFound", "KMS.NotFoundException", 400;
    /// The key needs a subscription.
    KmsOptInRequired: sqs "KmsOptInRequired", "KMS.OptInRequired", 403;
    /// Too many uses of the key.
    KmsThrottled: sqs "KmsThrottled", "KMS.ThrottlingException", 400;
    /// There is no such action, or not at this address.
    InvalidAction: coral "UnknownOperationException", "InvalidAction", 400;
    /// The body cannot be read.
    Serialization: coral "SerializationException", "MalformedInput", 400;
    /// The body is longer than any.
    RequestTooLong: coral "RequestEntityTooLargeException", "RequestEntityTooLarge", 413;
    /// The request is not signed at all.
    MissingAuthenticationToken: coral "MissingAuthenticationTokenException", "MissingAuthenticationToken", 403;
    /// How the request is signed cannot be read, or leaves out what must be signed.
    IncompleteSignature: coral "IncompleteSignatureException", "IncompleteSignature", 400;
    /// There is no such access key.
    InvalidClientTokenId: coral "UnrecognizedClientException", "InvalidClientTokenId", 403;
    /// The signature is another one, or of another time or service.
    SignatureDoesNotMatch: coral "InvalidSignatureException", "SignatureDoesNotMatch", 403;
    /// They may not do this.
    AccessDenied: coral "AccessDeniedException", "AccessDenied", 403;
    /// The broker cannot be reached, or the server ends. Try again.
    ServiceUnavailable: coral "ServiceUnavailableException", "ServiceUnavailable", 503;
    /// A bug, or a broker that is broken.
    InternalFailure: coral "InternalFailure", "InternalFailure", 500;
}

impl Code {
    /// Whose fault it is: `Sender` or `Receiver`.
    pub const fn fault(self) -> &'static str {
        if self.is_senders() { "Sender" } else { "Receiver" }
    }

    /// Whether it is the client's fault.
    pub const fn is_senders(self) -> bool {
        self.status() < 500
    }

    /// The error with these words.
    pub fn because(self, message: impl Into<String>) -> Failure {
        Failure { code: self, message: message.into() }
    }
}

impl Failure {
    /// The queue is not there.
    pub(crate) fn no_queue() -> Self {
        Code::QueueDoesNotExist.because("The specified queue does not exist.")
    }

    /// `Value X for parameter P is invalid. Reason: R`.
    pub(crate) fn value(
        value: impl std::fmt::Display,
        parameter: &str,
        reason: impl std::fmt::Display,
    ) -> Self {
        let why = format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}");
        Code::InvalidParameterValue.because(why)
    }

    /// A parameter is missing.
    pub(crate) fn missing(parameter: &str) -> Self {
        let why = format!("The request must contain the parameter {parameter}.");
        Code::MissingParameter.because(why)
    }

    /// What the Query protocol says of it. The same as in JSON, but for one.
    pub(crate) fn query_message(&self) -> &str {
        match self.code {
            Code::QueueDoesNotExist if self.message == "The specified queue does not exist." => {
                "The specified queue does not exist for this wsdl version."
            }
            _ => &self.message,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => return Self::no_queue(),
            ErrorKind::Unsupported => Code::UnsupportedOperation,
            ErrorKind::Invalid => Code::InvalidParameterValue,
            ErrorKind::QueueFull => Code::OverLimit,
            ErrorKind::Denied => Code::AccessDenied,
            ErrorKind::Unavailable | ErrorKind::DiskFull | ErrorKind::Closed => {
                Code::ServiceUnavailable
            }
            _ => Code::InternalFailure,
        };
        if !code.is_senders() {
            tracing::warn!(%error, "a request failed");
        }
        code.because(format!("Failed to {error}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_wire_forms_name_an_error_once() {
        for (n, code) in Code::ALL.iter().enumerate() {
            for other in &Code::ALL[n + 1..] {
                assert_ne!(code.json_type(), other.json_type());
                assert_ne!(code.query_code(), other.query_code());
            }
        }
    }
}
