//! Both wire forms: which one a request is in, and its answer in the same.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::Action;
use super::errors::{Code, Failure};
use super::json::{self, Json};
use super::query::{self, Form as Fields};
use super::room::Taken;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const TARGET_PREFIX: &str = "AmazonSQS.";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const XML: HeaderValue = HeaderValue::from_static("text/xml");

/// A form of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Query,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Asked<'a> {
    Action(Request<'a>),
    /// STS's question who asks.
    CallerIdentity,
    /// Nothing at all.
    Nothing,
}

/// An action and what it is asked with.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) action: Action,
    members: Members<'a>,
}

#[derive(Debug)]
enum Members<'a> {
    Json(&'a [u8]),
    Query(Value),
}

/// What an action answers: nothing, or a shape that is written in the request's form.
#[derive(Debug)]
pub(crate) struct Answer {
    written: Option<Written>,
    /// The room that making it took.
    pub(crate) taken: Option<Taken>,
}

#[derive(Debug)]
enum Written {
    Json(Vec<u8>),
    Query(Value),
}

impl<'a> Request<'a> {
    pub(crate) fn form(&self) -> Form {
        match self.members {
            Members::Json(_) => Form::Json,
            Members::Query(_) => Form::Query,
        }
    }

    /// The members as the action's shape.
    pub(crate) fn parse<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Failure> {
        let parsed = match &self.members {
            Members::Json(body) => match std::str::from_utf8(body) {
                // WHY: to look at all of it once takes less time than at each text on its own.
                Ok(body) => serde_json::from_str(body),
                Err(_) => serde_json::from_slice(body),
            },
            Members::Query(folded) => T::deserialize(folded),
        };
        parsed.map_err(|error| {
            Code::Serialization.because(format!("The request cannot be read: {error}"))
        })
    }

    /// The JSON that a form stands for.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn folded(&self) -> Option<&Value> {
        match &self.members {
            Members::Json(_) => None,
            Members::Query(folded) => Some(folded),
        }
    }

    /// An answer with this shape.
    pub(crate) fn answer(&self, shape: &impl Serialize) -> Result<Answer, Failure> {
        self.answer_as(shape, |shape| serde_json::to_vec(shape))
    }

    /// The same of a shape that is answered often.
    pub(crate) fn answer_often(&self, shape: &impl Json) -> Result<Answer, Failure> {
        self.answer_as(shape, json::written)
    }

    fn answer_as<T: Serialize>(
        &self,
        shape: &T,
        json: impl FnOnce(&T) -> serde_json::Result<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        let written = match self.members {
            Members::Json(_) => json(shape).map(Written::Json),
            Members::Query(_) => serde_json::to_value(shape).map(Written::Query),
        };
        let unwritten = |error| {
            tracing::error!(%error, action = self.action.name(), "an answer cannot be written");
            Code::InternalFailure.because("The answer cannot be written.")
        };
        written.map(|written| Answer { written: Some(written), taken: None }).map_err(unwritten)
    }
}

impl Answer {
    pub(crate) const NOTHING: Self = Self { written: None, taken: None };

    /// The same, in room that was taken.
    pub(crate) fn within(self, taken: Option<Taken>) -> Self {
        Self { taken, ..self }
    }
}

/// The form that a request is in.
pub(crate) fn form(parts: &Parts) -> Form {
    if parts.headers.contains_key(TARGET) { Form::Json } else { Form::Query }
}

/// Reads which action is asked for. The error is told in the form that comes with it.
pub(crate) fn read<'a>(parts: &Parts, body: &'a Bytes) -> Result<Asked<'a>, (Form, Failure)> {
    match parts.headers.get(TARGET) {
        Some(target) => read_json(parts, target, body).map_err(|failure| (Form::Json, failure)),
        None => read_query(parts, body).map_err(|failure| (Form::Query, failure)),
    }
}

fn read_json<'a>(
    parts: &Parts,
    target: &HeaderValue,
    body: &'a Bytes,
) -> Result<Asked<'a>, Failure> {
    let name = target.to_str().ok().and_then(|target| target.strip_prefix(TARGET_PREFIX));
    let action = name.and_then(Action::of).filter(|_| parts.method == Method::POST);
    let unknown = || Code::InvalidAction.because("The requested operation is not known.");
    let action = action.ok_or_else(unknown)?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    Ok(Asked::Action(Request { action, members: Members::Json(body) }))
}

fn read_query<'a>(parts: &Parts, body: &Bytes) -> Result<Asked<'a>, Failure> {
    let is_form = match parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        None => true,
        Some(kind) => kind.starts_with(b"application/x-www-form-urlencoded"),
    };
    let body: &[u8] = if is_form { body } else { b"" };
    let fields = Fields::read(parts.uri.query(), body)?;
    let Some(name) = fields.get("Action") else { return Ok(Asked::Nothing) };
    if name == "GetCallerIdentity" {
        return Ok(Asked::CallerIdentity);
    }
    let invalid = || {
        Code::InvalidAction.because(format!("The action {name} is not valid for this endpoint."))
    };
    let action = Action::of(name).ok_or_else(invalid)?;
    let path = parts.uri.path().trim_matches('/');
    if action.is_about_all() && !path.is_empty() {
        return Err(invalid());
    }
    let mut folded = query::fold(action, &fields)?;
    if let Value::Object(members) = &mut folded
        && !path.is_empty()
    {
        members.entry("QueueUrl").or_insert_with(|| Value::from(format!("/{path}")));
    }
    Ok(Asked::Action(Request { action, members: Members::Query(folded) }))
}

/// Where the client reached the server.
pub(crate) fn origin(parts: &Parts, scheme: &str) -> String {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// An id for a request, new with each.
pub(crate) fn request_id() -> String {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid().to_string()
}

/// The answer to an action.
pub(crate) fn answer(
    form: Form,
    action: Action,
    done: Result<Answer, Failure>,
    request_id: &str,
) -> Response<Bytes> {
    let ok = |kind, body: Vec<u8>| response(StatusCode::OK, kind, body, request_id);
    match (form, done) {
        (_, Err(failure)) => error(form, &failure, request_id),
        (Form::Json, Ok(Answer { written: Some(Written::Json(body)), .. })) => ok(JSON, body),
        (Form::Json, Ok(_)) => ok(JSON, Vec::new()),
        (Form::Query, Ok(Answer { written, .. })) => {
            let result = match &written {
                Some(Written::Query(result)) => Some(result),
                _ => None,
            };
            ok(XML, query::answer(action, result, request_id).into_bytes())
        }
    }
}

/// An error.
pub(crate) fn error(form: Form, failure: &Failure, request_id: &str) -> Response<Bytes> {
    let Failure { code, message } = failure;
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if form == Form::Query {
        return response(status, XML, query::error(failure, request_id).into_bytes(), request_id);
    }
    let body = serde_json::json!({ "__type": code.json_type(), "message": message });
    let mut response = response(status, JSON, body.to_string().into_bytes(), request_id);
    let told = format!("{};{}", code.query_code(), code.fault());
    if let Ok(told) = HeaderValue::try_from(told) {
        response.headers_mut().insert(QUERY_ERROR, told);
    }
    response
}

/// What is answered to a request for nothing.
pub(crate) fn nothing(request_id: &str) -> Response<Bytes> {
    response(StatusCode::NOT_FOUND, XML, query::unknown_operation().into_bytes(), request_id)
}

/// Who asks.
pub(crate) fn caller_identity(account: &str, request_id: &str) -> Response<Bytes> {
    let body = query::caller_identity(account, request_id).into_bytes();
    response(StatusCode::OK, XML, body, request_id)
}

fn response(
    status: StatusCode,
    kind: HeaderValue,
    body: Vec<u8>,
    request_id: &str,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(fitting(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if let Ok(request_id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, request_id);
    }
    response
}

/// WHY: it may wait for long, and what it grew into is up to twice as large.
fn fitting(mut body: Vec<u8>) -> Vec<u8> {
    if body.capacity() > body.len() + body.len() / 4 {
        body.shrink_to_fit();
    }
    body
}
