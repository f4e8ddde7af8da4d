//! Errors keep their kind, operation, subject and causes; a status of others is read as well as can be.

use std::fmt;

use prost::Message;
use tidegate_core::{Error, ErrorKind, Operation};
use tonic::{Code, Status};
use tonic_types::pb;

use crate::proto;

/// The name of this protocol's error among the details of a status.
const TYPE_URL: &str = "type.googleapis.com/tidegate.v1.Error";
/// Causes that are told at most.
const CAUSES_MAX: usize = 8;

/// Kinds, as the protocol and as gRPC know them.
const KINDS: [(ErrorKind, proto::ErrorKind, Code); 14] = [
    (ErrorKind::Unexpected, proto::ErrorKind::Unexpected, Code::Internal),
    (ErrorKind::Unsupported, proto::ErrorKind::Unsupported, Code::Unimplemented),
    (ErrorKind::Invalid, proto::ErrorKind::Invalid, Code::InvalidArgument),
    (ErrorKind::NotFound, proto::ErrorKind::NotFound, Code::NotFound),
    (ErrorKind::Conflict, proto::ErrorKind::Conflict, Code::FailedPrecondition),
    (ErrorKind::QueueFull, proto::ErrorKind::QueueFull, Code::ResourceExhausted),
    (ErrorKind::DiskFull, proto::ErrorKind::DiskFull, Code::ResourceExhausted),
    (ErrorKind::Locked, proto::ErrorKind::Locked, Code::FailedPrecondition),
    (ErrorKind::Unavailable, proto::ErrorKind::Unavailable, Code::Unavailable),
    (ErrorKind::Closed, proto::ErrorKind::Closed, Code::FailedPrecondition),
    (ErrorKind::Corrupt, proto::ErrorKind::Corrupt, Code::DataLoss),
    (ErrorKind::Poisoned, proto::ErrorKind::Poisoned, Code::FailedPrecondition),
    (ErrorKind::Format, proto::ErrorKind::Format, Code::Internal),
    (ErrorKind::Denied, proto::ErrorKind::Denied, Code::PermissionDenied),
];

const OPERATIONS: [(Operation, proto::Operation); 10] = [
    (Operation::Open, proto::Operation::Open),
    (Operation::Declare, proto::Operation::Declare),
    (Operation::Enqueue, proto::Operation::Enqueue),
    (Operation::OpenSession, proto::Operation::OpenSession),
    (Operation::Receive, proto::Operation::Receive),
    (Operation::Settle, proto::Operation::Settle),
    (Operation::Extend, proto::Operation::Extend),
    (Operation::Close, proto::Operation::Close),
    (Operation::Inspect, proto::Operation::Inspect),
    (Operation::Administer, proto::Operation::Administer),
];

pub(crate) fn error_to(error: &Error) -> proto::Error {
    let kind = KINDS.iter().find(|(kind, _, _)| *kind == error.kind());
    let operation = OPERATIONS.iter().find(|(operation, _)| *operation == error.operation());
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause.filter(|_| causes.len() < CAUSES_MAX) {
        causes.push(next.to_string());
        cause = next.source();
    }
    proto::Error {
        kind: kind.map_or(proto::ErrorKind::Unexpected, |(_, kind, _)| *kind).into(),
        operation: operation.map_or(proto::Operation::Open, |(_, operation)| *operation).into(),
        subject: error.subject().map(Into::into),
        message: error.message().into(),
        retryable: error.is_retryable(),
        causes,
    }
}

pub(crate) fn error_from(error: proto::Error) -> Error {
    let (kind, operation) = (error.kind(), error.operation());
    let proto::Error { kind: number, operation: _, subject, message, retryable, causes } = error;
    let known = proto::ErrorKind::try_from(number).is_ok();
    let kind = match KINDS.iter().find(|(_, wire, _)| known && *wire == kind) {
        Some((kind, _, _)) => *kind,
        // WHY: a kind of a newer server; whether trying again helps is all that can be known of it.
        None if retryable => ErrorKind::Unavailable,
        None => ErrorKind::Unexpected,
    };
    let operation = OPERATIONS.iter().find(|(_, wire)| *wire == operation);
    let operation = operation.map_or(Operation::Open, |(operation, _)| *operation);
    let mut error = Error::new(kind, operation, message);
    if let Some(subject) = subject {
        error = error.about(subject);
    }
    match Cause::chain(causes) {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

pub(crate) fn status_to(error: &Error) -> Status {
    let code = KINDS.iter().find(|(kind, _, _)| *kind == error.kind());
    let code = code.map_or(Code::Internal, |(_, _, code)| *code);
    let value = error_to(error).encode_to_vec();
    let detail = prost_types::Any { type_url: TYPE_URL.into(), value };
    let message = error.to_string();
    let details = pb::Status { code: code.into(), message: message.clone(), details: vec![detail] };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// The error that a status carries; one that is not of this protocol says what the connection met.
pub(crate) fn status_from(status: Status, doing: Operation) -> Error {
    let details = pb::Status::decode(status.details()).unwrap_or_default().details;
    let ours = details.into_iter().find(|detail| detail.type_url == TYPE_URL);
    if let Some(error) = ours.and_then(|ours| proto::Error::decode(&*ours.value).ok()) {
        return error_from(error);
    }
    let kind = match status.code() {
        // WHY: what fails in the connection itself is `Unknown` or `Internal` with a source.
        Code::Unknown | Code::Internal if std::error::Error::source(&status).is_some() => {
            ErrorKind::Unavailable
        }
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Unavailable,
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Denied,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::ResourceExhausted | Code::OutOfRange | Code::InvalidArgument => ErrorKind::Invalid,
        _ => ErrorKind::Unexpected,
    };
    let why = match status.message() {
        "" => "the connection to the server failed".to_owned(),
        said => said.to_owned(),
    };
    Error::new(kind, doing, why).caused_by(status)
}

/// What led to an error at the other end.
#[derive(Debug)]
struct Cause {
    text: String,
    next: Option<Box<Cause>>,
}

impl Cause {
    fn chain(texts: Vec<String>) -> Option<Self> {
        let link = |next: Option<Self>, text| Some(Self { text, next: next.map(Box::new) });
        texts.into_iter().take(CAUSES_MAX).rev().fold(None, link)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_deref().map(|next| next as _)
    }
}
