//! From a request to its answer, whatever it came over.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tidegate_core::capabilities::{Capabilities, DeliveryCount, Fencing, LeaseSupport};
use tidegate_core::{Broker, Error, ErrorKind, Operation, QueueName, Timestamp};
use tokio::sync::watch;

use super::account::{Namespace, QueuePath};
use super::action::Action;
use super::actions;
use super::errors::{Code, Failure};
use super::limits::{MESSAGE_BYTES_MAX, POLLS_PER_KEY_MAX};
use super::polls::Polls;
use super::queues::{Queue, Queues};
use super::room::{Room, Taken};
use super::wire::{self, Answer, Asked, Request};
use crate::auth::{Anybody, Gate, Identity, SignedFor, policy};

/// How often moves are looked for that nobody goes on with.
const RESUME_EVERY: Duration = Duration::from_secs(60);

/// How the protocol is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The account and region whose queues have plain names in the broker. Also those of requests that
    /// name none.
    pub own: Namespace,
    /// Longest message in bytes, 1 to [`MESSAGE_BYTES_MAX`]; queues can be told less.
    pub message_bytes_max: usize,
    /// Most messages of a queue in receivers' hands. Beyond it a standard queue answers `OverLimit`, and a
    /// FIFO queue hands nothing out. Other servers' receives are seen late, so it may be passed by as many.
    pub in_flight_max: u64,
    /// Most receives of one access key that may wait at the same time, of those that name none together.
    /// One more is answered `RequestThrottled`.
    pub polls_per_key_max: usize,
    /// Whether a second purge, and making a queue that was just deleted, is refused for 60 seconds, as
    /// AWS does.
    pub sixty_second_rules: bool,
    /// Who is let in.
    pub gate: Arc<dyn Gate>,
}

impl Default for Options {
    /// AWS's limits, none of the 60-second rules, and everybody is let in.
    fn default() -> Self {
        Self {
            own: Namespace::default(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            in_flight_max: super::limits::IN_FLIGHT_MAX,
            polls_per_key_max: POLLS_PER_KEY_MAX,
            sixty_second_rules: false,
            gate: Arc::new(Anybody),
        }
    }
}

/// The protocol over a broker. Clones are the same service.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Broker,
    options: Options,
    queues: Queues,
    room: Room,
    polls: Polls,
    /// Queues that were deleted here, for the rule of 60 seconds.
    deleted: Mutex<HashMap<QueueName, Timestamp>>,
    is_ending: watch::Sender<bool>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.inner.broker).finish()
    }
}

/// A request that is answered: who asks, and for what.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    service: &'a Service,
    pub(crate) action: Action,
    pub(crate) identity: Identity,
    /// Whose queues are meant.
    pub(crate) namespace: Namespace,
    /// How the client reached the server, such as `http://localhost:9324`. Empty where the action is about
    /// messages alone.
    origin: String,
}

impl Service {
    /// Over `broker`, on the runtime of the caller.
    ///
    /// # Errors
    /// `Unsupported` for a broker that lacks what the protocol promises, by name; `Invalid` for options
    /// beyond their limits.
    pub fn new(broker: Broker, options: Options) -> Result<Self, Error> {
        check(&broker)?;
        if !(1..=MESSAGE_BYTES_MAX).contains(&options.message_bytes_max) {
            let why = format!("the longest message must have 1 to {MESSAGE_BYTES_MAX} bytes");
            return Err(
                Error::new(ErrorKind::Invalid, Operation::Open, why).about("the SQS server")
            );
        }
        let queues = Queues::new(broker.clone(), options.own.clone(), options.in_flight_max);
        let (deleted, is_ending) = (Mutex::default(), watch::Sender::new(false));
        let (room, polls) = (Room::new(), Polls::new(options.polls_per_key_max));
        let inner = Inner { broker, options, queues, room, polls, deleted, is_ending };
        let inner = Arc::new(inner);
        Ok(Self { inner })
    }

    /// Takes up moves that other servers have left unfinished, until the service ends: now, and then once
    /// a minute.
    pub async fn resume(&self) {
        while !self.is_ending() {
            actions::moves::resume(self).await;
            let next = self.now().plus(RESUME_EVERY);
            tokio::select! {
                () = self.broker().clock().sleep_until(next) => {}
                () = self.ending() => {}
            }
        }
    }

    /// Receives wait no longer from now on, and moves stop where they are.
    pub fn end(&self) {
        self.inner.is_ending.send_replace(true);
    }

    /// Answers a request. `scheme` is what the client used, `http` or `https`. Dropping the future leaves
    /// what a receive has taken in nobody's hands until its lease ends.
    pub async fn answer(&self, parts: Parts, body: Bytes, scheme: &str) -> http::Response<Bytes> {
        let (response, taken) = self.made(parts, body, scheme).await;
        let (mut parts, body) = response.into_parts();
        let body = self.room().keep(body, taken).await;
        if body.is_none() {
            parts.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        if parts.status == StatusCode::SERVICE_UNAVAILABLE {
            // WHY: whoever asks again may come to another server, and who takes no answers comes to an end.
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        http::Response::from_parts(parts, body.unwrap_or_default())
    }

    /// The answer, and the room it was made in.
    async fn made(
        &self,
        parts: Parts,
        body: Bytes,
        scheme: &str,
    ) -> (http::Response<Bytes>, Option<Taken>) {
        let request_id = wire::request_id();
        let identity = match self.inner.options.gate.identify(&parts, &body, self.now()) {
            Ok(identity) => identity,
            Err(failure) => {
                return (wire::error(wire::form(&parts), &failure, &request_id), None);
            }
        };
        let response = match wire::read(&parts, &body) {
            Ok(Asked::Action(request)) => {
                let (action, form) = (request.action, request.form());
                let origin = (!action.is_about_messages()).then(|| wire::origin(&parts, scheme));
                // WHY: what waits holds no more than it needs. Head and body are parts of what the connection
                // reads into, which is larger.
                drop(parts);
                let mut done = self.perform(identity, origin.unwrap_or_default(), &request).await;
                let taken = done.as_mut().ok().and_then(|answer| answer.taken.take());
                return (wire::answer(form, action, done, &request_id), taken);
            }
            Ok(Asked::CallerIdentity) => {
                let account = Namespace::of(&identity, &self.inner.options.own).account;
                wire::caller_identity(&account, &request_id)
            }
            Ok(Asked::Nothing) => wire::nothing(&request_id),
            Err((form, failure)) => wire::error(form, &failure, &request_id),
        };
        (response, None)
    }

    async fn perform(
        &self,
        identity: Identity,
        origin: String,
        request: &Request<'_>,
    ) -> Result<Answer, Failure> {
        if identity.service == Some(SignedFor::Sts) {
            let why = "Credential should be scoped to correct service: 'sqs'.";
            return Err(Code::SignatureDoesNotMatch.because(why));
        }
        let namespace = Namespace::of(&identity, &self.inner.options.own);
        let (service, action) = (self, request.action);
        actions::perform(&Call { service, action, identity, namespace, origin }, request).await
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.inner.broker
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The receives that may wait.
    pub(crate) fn polls(&self) -> &Polls {
        &self.inner.polls
    }

    /// The room that answers share.
    pub(crate) fn room(&self) -> &Room {
        &self.inner.room
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.inner.queues
    }

    pub(crate) fn deleted(&self) -> MutexGuard<'_, HashMap<QueueName, Timestamp>> {
        self.inner.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.broker.clock().now()
    }

    /// Ends once the service is ending.
    pub(crate) async fn ending(&self) {
        // An error is the end of the service.
        let _ = self.inner.is_ending.subscribe().wait_for(|ending| *ending).await;
    }

    pub(crate) fn is_ending(&self) -> bool {
        *self.inner.is_ending.borrow()
    }
}

impl Call<'_> {
    pub(crate) fn service(&self) -> &Service {
        self.service
    }

    /// The queue that an address means, if they may do what they ask for there.
    pub(crate) fn path(&self, url: Option<&str>) -> Result<QueuePath, Failure> {
        let path = self.namespace.queue_at(said(url)?)?;
        self.admit(&path)?;
        Ok(path)
    }

    /// Whether they may do what they ask for there.
    pub(crate) fn admit(&self, path: &QueuePath) -> Result<(), Failure> {
        policy::admit(&self.identity.access, &self.namespace, self.action, path)
    }

    /// Whether they may know of the queue.
    pub(crate) fn sees(&self, path: &QueuePath) -> bool {
        policy::sees(&self.identity.access, &self.namespace, path)
    }

    /// The queue at an address.
    pub(crate) async fn queue(&self, url: Option<&str>) -> Result<Arc<Queue>, Failure> {
        let (queues, region) = (self.service.queues(), &self.namespace.region);
        let (account, name) = self.namespace.account_and_name(said(url)?)?;
        match queues.at_hand(account, region, name) {
            Some(queue) => self.admit(&queue.path).map(|()| queue),
            None => queues.get(&self.path(url)?).await,
        }
    }

    /// The address of a queue.
    pub(crate) fn url(&self, path: &QueuePath) -> String {
        path.url(&self.origin)
    }
}

/// The address of a queue, which must be said.
fn said(url: Option<&str>) -> Result<&str, Failure> {
    url.filter(|url| !url.is_empty()).ok_or_else(|| Failure::missing("QueueUrl"))
}

/// Refuses brokers that cannot keep what the protocol promises.
fn check(broker: &Broker) -> Result<(), Error> {
    let Capabilities { lease, fencing, lease_per_receive, deliveries, .. } = broker.capabilities();
    let lacks = if !matches!(lease, LeaseSupport::Timed(_)) {
        Some("leases that end by time")
    } else if *fencing != Fencing::Enforced {
        Some("fencing that is enforced")
    } else if !lease_per_receive {
        Some("a lease per receive")
    } else if *deliveries != DeliveryCount::Counted {
        Some("deliveries that are counted")
    } else if broker.inspect().is_err() {
        Some("a way to look at its queues")
    } else if broker.admin().is_err() {
        Some("a way to change its queues")
    } else {
        None
    };
    lacks.map_or(Ok(()), |what| {
        let why = format!("{} has not {what}, which the SQS protocol needs", broker.label());
        Err(Error::new(ErrorKind::Unsupported, Operation::Open, why).about("the SQS server"))
    })
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use tidegate_core::{ManualClock, memory};
    use tokio::time::Instant;

    use super::super::limits::{ANSWERS_BYTES_MAX, ANSWERS_WITHIN, SMALL_ANSWER_BYTES_MAX};
    use super::*;

    const URL: &str = "http://localhost/000000000000/mail";

    struct Stand(Service);

    impl Stand {
        /// A server with one queue, in which one message waits.
        async fn new() -> Self {
            let broker = memory::broker(Arc::new(ManualClock::new()));
            let stand = Self(Service::new(broker, Options::default()).unwrap());
            stand.ask("CreateQueue", r#"{"QueueName":"mail"}"#.to_owned()).await;
            let send = format!(r#"{{"QueueUrl":"{URL}","MessageBody":"hello"}}"#);
            assert_eq!(stand.ask("SendMessage", send).await.status(), StatusCode::OK);
            stand
        }

        async fn ask(&self, action: &str, body: String) -> http::Response<Bytes> {
            self.ask_as("k/20260101/us-east-1", action, body).await
        }

        /// The same with an access key and a region, as `KEY/DATE/REGION`.
        async fn ask_as(
            &self,
            who: &str,
            action: &str,
            body: impl Into<Bytes>,
        ) -> http::Response<Bytes> {
            let request = http::Request::post("/")
                .header("host", "localhost")
                .header(
                    "authorization",
                    format!("AWS4-HMAC-SHA256 Credential={who}/sqs/aws4_request"),
                )
                .header("content-type", "application/x-amz-json-1.0")
                .header("x-amz-target", format!("AmazonSQS.{action}"));
            let (parts, ()) = request.body(()).unwrap().into_parts();
            self.0.answer(parts, body.into(), "http").await
        }

        async fn receive(&self) -> http::Response<Bytes> {
            self.ask("ReceiveMessage", format!(r#"{{"QueueUrl":"{URL}"}}"#)).await
        }

        async fn all_room_for_small_answers(&self) -> Vec<Taken> {
            let mut taken = Vec::new();
            for _ in 0..ANSWERS_BYTES_MAX / SMALL_ANSWER_BYTES_MAX {
                taken.push(self.0.room().take(SMALL_ANSWER_BYTES_MAX).await.unwrap());
            }
            taken
        }
    }

    fn ends_its_connection(answer: &http::Response<Bytes>) -> bool {
        answer.headers().get(CONNECTION).is_some_and(|value| value == "close")
    }

    #[tokio::test]
    async fn a_request_that_is_no_text_cannot_be_read_and_where_is_said() {
        let stand = Stand::new().await;
        let mut body = format!(r#"{{"QueueUrl":"{URL}","MessageBody":"."}}"#).into_bytes();
        let at = body.iter().rposition(|b| *b == b'.').unwrap();
        body[at] = 0xff;
        let answer = stand.ask_as("k/20260101/us-east-1", "SendMessage", body).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let text = String::from_utf8_lossy(answer.body());
        assert!(text.contains("cannot be read") && text.contains("column"), "{text}");
    }

    #[tokio::test]
    async fn the_md5_of_a_body_is_that_of_all_its_bytes() {
        let stand = Stand::new().await;
        for (escaped, body) in [(" ", " "), (r"a\n", "a\n"), (r"\tb ", "\tb ")] {
            let md5 = crate::sqs::digests::hex(&Md5::digest(body));
            let one = format!(r#"{{"QueueUrl":"{URL}","MessageBody":"{escaped}"}}"#);
            let entry = format!(r#"{{"Id":"1","MessageBody":"{escaped}"}}"#);
            let batch = format!(r#"{{"QueueUrl":"{URL}","Entries":[{entry}]}}"#);
            for (action, request) in [("SendMessage", one), ("SendMessageBatch", batch)] {
                let answer = stand.ask(action, request).await;
                let text = String::from_utf8_lossy(answer.body());
                assert!(text.contains(&md5), "{body:?}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn a_queue_that_is_at_hand_is_that_of_its_account_and_region_alone() {
        let stand = Stand::new().await;
        let receive = |who: &'static str, url: &str| {
            stand.ask_as(who, "ReceiveMessage", format!(r#"{{"QueueUrl":"{url}"}}"#))
        };
        for (who, url) in [
            ("111122223333/20260101/us-east-1", "mail"),
            ("k/20260101/us-east-1", "http://localhost/111122223333/mail"),
            ("k/20260101/eu-west-1", URL),
        ] {
            let answer = receive(who, url).await;
            let text = String::from_utf8_lossy(answer.body());
            assert!(text.contains("QueueDoesNotExist"), "{who} {url}: {text}");
        }
        let own = receive("k/20260101/us-east-1", "mail").await;
        assert!(String::from_utf8_lossy(own.body()).contains("hello"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_receive_that_finds_no_room_is_told_to_come_again_and_takes_nothing() {
        let stand = Stand::new().await;
        let taken = stand.all_room_for_small_answers().await;
        let begun = Instant::now();
        let refused = stand.receive().await;
        assert_eq!(begun.elapsed(), ANSWERS_WITHIN);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(ends_its_connection(&refused));
        let text = String::from_utf8_lossy(refused.body());
        assert!(text.contains("ServiceUnavailable") && text.contains("try again"), "{text}");
        drop(taken);
        let received = stand.receive().await;
        assert_eq!(received.status(), StatusCode::OK);
        assert!(!ends_its_connection(&received));
        assert!(String::from_utf8_lossy(received.body()).contains("hello"));
    }

    /// The answer is made, and there is no room for it to wait in.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_finds_no_room_is_not_given_and_its_connection_ends() {
        let stand = Stand::new().await;
        for n in 0..100 {
            let name = format!("{n:03}{}", "q".repeat(77));
            stand.ask("CreateQueue", format!(r#"{{"QueueName":"{name}"}}"#)).await;
        }
        let list = || stand.ask("ListQueues", "{}".to_owned());
        assert_eq!(list().await.status(), StatusCode::OK);
        let _taken = stand.all_room_for_small_answers().await;
        let refused = list().await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(ends_its_connection(&refused) && refused.body().is_empty());
    }
}
