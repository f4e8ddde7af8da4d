//! The end of a call that takes too long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

/// Ends calls whose answer has not begun in time, the server's or the client's, with
/// `DEADLINE_EXCEEDED`. What a stream answers after its beginning takes as long as it takes.
///
/// WHY: not the transport's own, which ends them as `CANCELLED`: a client takes that for its own doing.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineLayer(pub(super) Duration);

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, longest: self.0 }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    inner: S,
    longest: Duration,
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = grpc_timeout(request.headers());
        let within = asked.map_or(self.longest, |asked| asked.min(self.longest));
        // WHY: its time begins here, before that of the transport, which goes by the client's header too.
        let late = tokio::time::sleep(within);
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = answer => answer,
                () = late => {
                    let why = format!("the call was not answered within {within:?}");
                    Ok(Status::deadline_exceeded(why).into_http())
                }
            }
        })
    }
}

/// What the client has set: at most eight digits and a unit. None for anything else, as for none.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 60 * 60)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;

    use super::*;

    fn with(timeout: &str) -> HeaderMap {
        HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), timeout.parse().unwrap())])
    }

    /// How the call of a client that set `timeout` ends, and when, where it would take a minute and
    /// the server's time is ten seconds.
    async fn ended(timeout: &str) -> (Code, Duration) {
        let minute = tower::service_fn(async |_: Request<()>| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let mut deadline = DeadlineLayer(Duration::from_secs(10)).layer(minute);
        let mut request = Request::new(());
        *request.headers_mut() = with(timeout);
        let began = tokio::time::Instant::now();
        let answer = deadline.call(request).await.unwrap();
        (Status::from_header_map(answer.headers()).unwrap().code(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_shorter_time_ends_a_call() {
        assert_eq!(ended("3S").await, (Code::DeadlineExceeded, Duration::from_secs(3)));
        assert_eq!(ended("3H").await, (Code::DeadlineExceeded, Duration::from_secs(10)));
        assert_eq!(ended("soon").await, (Code::DeadlineExceeded, Duration::from_secs(10)));
    }

    #[test]
    fn a_time_is_digits_and_a_unit() {
        assert_eq!(grpc_timeout(&with("99999999H")), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(grpc_timeout(&with("2M")), Some(Duration::from_secs(120)));
        assert_eq!(grpc_timeout(&with("7m")), Some(Duration::from_millis(7)));
        assert_eq!(grpc_timeout(&with("7u")), Some(Duration::from_micros(7)));
        assert_eq!(grpc_timeout(&with("7n")), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "7", "-7S", "+7S", "7 S", "123456789S", "7s", "7\u{e9}"] {
            let mut headers = HeaderMap::new();
            headers.insert(
                "grpc-timeout",
                tonic::codegen::http::HeaderValue::from_bytes(wrong.as_bytes()).unwrap(),
            );
            assert_eq!(grpc_timeout(&headers), None, "{wrong}");
        }
    }
}
