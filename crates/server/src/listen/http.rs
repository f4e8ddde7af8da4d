//! A connection: requests are read within the limits, one after the other, and answered.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{SemaphorePermit, watch};

use super::patience::Patience;
use super::timer::HeadTimer;
use super::{Bodies, Limits, Phase, cut, ending};
use crate::sqs::Service;

/// Longest body that is copied.
const COPIED_MAX: usize = 2 * 1024;

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) service: Service,
    pub(super) limits: Limits,
    pub(super) bodies: Arc<Bodies>,
    pub(super) scheme: &'static str,
}

/// Why a body is not read.
enum Unread {
    TooLong,
    TooSlow,
    NoRoom,
    Broken,
}

impl Connection {
    /// Until the client goes, or the server ends.
    pub(super) async fn serve<IO>(self, io: IO, mut phase: watch::Receiver<Phase>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.limits;
        let service = service_fn(move |request| {
            let connection = self.clone();
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(HeadTimer::default())
            .header_read_timeout(limits.head_within)
            .max_buf_size(limits.head_bytes_max)
            .max_headers(limits.headers_max)
            .keep_alive(true)
            // WHY: an answer must not wait for the next one, which may wait for the room that it has.
            .pipeline_flush(false);
        let mut connection = pin!(
            http.serve_connection(TokioIo::new(Patience::new(io, limits.answer_within)), service)
        );
        let ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = ending(&mut phase) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = cut(&mut phase) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection has ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let response = match self.read(body).await {
            Ok((body, permit)) => {
                let answer = self.service.answer(parts, body, self.scheme).await;
                drop(permit);
                answer
            }
            Err(unread) => refusal(&unread),
        };
        response.map(Full::new)
    }

    /// The whole body, and the room it takes.
    async fn read(&self, mut body: Incoming) -> Result<(Bytes, SemaphorePermit<'_>), Unread> {
        let most = self.limits.body_bytes_max as u64;
        let hint = body.size_hint();
        if hint.lower() > most {
            return Err(Unread::TooLong);
        }
        // WHY: of a body that does not say how long it is, room for the longest is taken.
        let room = hint.upper().unwrap_or(most).min(most) as u32;
        let within = self.limits.body_within;
        let bodies = self.bodies.of(room);
        let permit = soon(within, bodies.acquire_many(room)).await;
        let permit = permit.ok_or(Unread::NoRoom)?.map_err(|_| Unread::Broken)?;
        if body.is_end_stream() {
            return Ok((Bytes::new(), permit));
        }
        let whole = soon(within, collect(&mut body, most as usize)).await;
        Ok(fitting(whole.ok_or(Unread::TooSlow)??, permit))
    }
}

/// What comes within a time. WHY: nearly always it is there, and no clock is asked then.
async fn soon<F: Future>(within: Duration, coming: F) -> Option<F::Output> {
    let mut coming = pin!(coming);
    match poll_fn(|context| Poll::Ready(coming.as_mut().poll(context))).await {
        Poll::Ready(there) => Some(there),
        Poll::Pending => tokio::time::timeout(within, coming).await.ok(),
    }
}

/// A body with no more room than it has bytes. WHY: it may wait for long, and a short one that came with
/// its head would hold all that the connection reads into.
fn fitting(body: Bytes, mut permit: SemaphorePermit<'_>) -> (Bytes, SemaphorePermit<'_>) {
    let fitting = permit.split(body.len()).unwrap_or(permit);
    let body = if body.len() <= COPIED_MAX { Bytes::copy_from_slice(&body) } else { body };
    (body, fitting)
}

/// WHY: a body that came in one piece, as nearly all do, is not copied.
async fn collect(body: &mut Incoming, most: usize) -> Result<Bytes, Unread> {
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > most {
            return Err(Unread::TooLong);
        }
        if whole.is_empty() && first.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The connection ends with it: what is left of the body is not read.
fn refusal(unread: &Unread) -> Response<Bytes> {
    let status = match unread {
        Unread::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Unread::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        Unread::Broken => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}
