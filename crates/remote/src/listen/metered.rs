//! Requests whose bytes are read as long as their connection has room for them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::connection::Client;
use crate::service::{Call, Wait};

/// Gives each call its part of the room of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeteredLayer;

impl<S> Layer<S> for MeteredLayer {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Metered<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Metered<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        let room = request.extensions().get::<Client>().map(|client| client.room.clone());
        let Some(room) = room else { return self.inner.call(request) };
        let call = room.call();
        request.extensions_mut().insert(call.clone());
        self.inner
            .call(request.map(|body| Body::new(MeteredBody { body, call, wait: Wait::default() })))
    }
}

struct MeteredBody {
    body: Body,
    call: Call,
    wait: Wait,
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, call, wait } = self.get_mut();
        if let Err(status) = ready!(call.poll_room(cx, wait)) {
            return Poll::Ready(Some(Err(status)));
        }
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            call.read(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
